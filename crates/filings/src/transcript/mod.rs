//! Earnings-call transcripts: plain text in any of the publishers' layouts in, turns and sections out.
//!
//! Four layouts name speakers (`Name: speech` paragraphs; `Name--Title` lines; participant lists with
//! name and title lines; the same with names run into the sentence before), one names nobody. They are
//! told apart line by line, not file by file, because real transcripts mix them. Every turn comes out
//! as a speaker line with the speech below it. Must not know how speech is cut into passages.

mod header;
mod sections;
mod speakers;

use crate::input::clean::clean;
use crate::types::{Block, BlockKind, Section, Span, Style, Turn};
use crate::{Warning, WarningCode};

pub(crate) use header::Header;
use speakers::{Cast, Said};

/// A transcript read.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) sections: Vec<Section>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) header: Header,
    pub(crate) warnings: Vec<Warning>,
}

/// What a line of a transcript is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Title, date, image credits.
    Front,
    /// A list of who takes part.
    Participants,
    /// The publisher's own summary.
    Summary,
    /// Management speaks.
    Prepared,
    /// Analysts ask.
    Questions,
    /// The publisher's notices.
    Notices,
}

/// Reads a transcript.
pub(crate) fn read(raw: &str) -> Call {
    let cleaned = clean(raw);
    let lines: Vec<&str> = cleaned.lines().collect();
    let body_end = sections::notices_start(&lines);
    let cast = Cast::gather(&lines);
    let mut writer = Writer::default();
    let mut part = Part::Front;
    for (index, line) in lines.iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        if index >= body_end {
            if part != Part::Notices {
                part = Part::Notices;
                writer.begin(Part::Notices, None);
            }
            writer.paragraph(line);
            continue;
        }
        if let Some(marked) = sections::marker(line) {
            // A heading with another heading right below it is a table of contents or an empty part.
            let below = lines[index + 1..].iter().find(|l| !l.is_empty());
            if below.is_some_and(|l| sections::marker(l).is_none()) {
                part = marked;
                writer.begin(marked, Some(line));
            } else {
                writer.paragraph(line);
            }
            continue;
        }
        if part == Part::Participants && cast.is_listed(line) {
            writer.paragraph(line);
            continue;
        }
        let next = lines.get(index + 1).copied().unwrap_or_default();
        let previous = if index == 0 { "" } else { lines[index - 1] };
        for said in cast.parse(line, previous, next) {
            match said {
                Said::Speaker { name, role } => writer.speaker(name, role),
                Said::Speech(speech) => writer.paragraph(speech),
                Said::TitleLine => {}
            }
        }
    }
    let mut call = writer.finish();
    call.header = header::read(&cleaned);
    if call.text.is_empty() {
        return call;
    }
    sections::assign(&mut call);
    call
}

/// Builds the normalised text with its blocks and turns.
#[derive(Default)]
struct Writer {
    call: Call,
    /// Where parts begin in the text, with whether the transcript has a line for it.
    parts: Vec<(Part, usize, bool)>,
    open_turn: Option<Turn>,
}

impl Writer {
    fn push(&mut self, kind: BlockKind, text: &str) -> Span {
        let out = &mut self.call.text;
        if !out.is_empty() {
            let apart = matches!(kind, BlockKind::Speaker | BlockKind::Heading);
            out.push_str(if apart { "\n\n" } else { "\n" });
        }
        let start = out.len();
        out.push_str(text);
        let span = Span::new(start, out.len());
        self.call.blocks.push(Block {
            kind,
            span,
            style: Style::default(),
        });
        span
    }

    fn begin(&mut self, part: Part, heading: Option<&str>) {
        self.close_turn();
        let start = match heading {
            Some(line) => self.push(BlockKind::Heading, line).start,
            None => {
                // Notices have no heading; they begin with their first line.
                let gap = if self.call.text.is_empty() { 0 } else { 1 };
                self.call.text.len() + gap
            }
        };
        self.parts.push((part, start, heading.is_some()));
    }

    fn speaker(&mut self, name: &str, role: Option<&str>) {
        self.close_turn();
        let line = match role {
            Some(role) => format!("{name} - {role}"),
            None => name.to_owned(),
        };
        let span = self.push(BlockKind::Speaker, &line);
        self.open_turn = Some(Turn {
            speaker: Some(name.to_owned()),
            role: role.map(str::to_owned),
            span: Span::new(span.end, span.end),
        });
    }

    fn paragraph(&mut self, text: &str) {
        let span = self.push(BlockKind::Paragraph, text);
        if let Some(turn) = self.open_turn.as_mut() {
            if turn.span.is_empty() {
                turn.span.start = span.start;
            }
            turn.span.end = span.end;
        }
    }

    fn close_turn(&mut self) {
        // A speaker line without speech (an operator's "[Operator signoff]" removed) is no turn.
        if let Some(turn) = self.open_turn.take().filter(|turn| !turn.span.is_empty()) {
            self.call.turns.push(turn);
        }
    }

    fn finish(mut self) -> Call {
        self.close_turn();
        let parts = std::mem::take(&mut self.parts);
        let mut call = self.call;
        if call.turns.is_empty() && !call.text.is_empty() {
            let end = parts
                .iter()
                .find(|(part, _, _)| *part == Part::Notices)
                .map_or(call.text.len(), |(_, start, _)| start.saturating_sub(1));
            call.turns.push(Turn {
                speaker: None,
                role: None,
                span: Span::new(0, end.min(call.text.len())),
            });
            call.warnings.push(Warning::new(
                WarningCode::MetaMissing,
                "the transcript names no speakers",
            ));
        }
        call.sections = sections::from_marks(&parts, call.text.len());
        call
    }
}
