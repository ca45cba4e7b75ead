//! Packs the blocks of a filing or a transcript into passages.
//!
//! Small neighbours are merged to about 200 to 400 tokens, a heading goes with what it heads, tables
//! stand apart with their captions, and a section's first block begins a passage.

use super::{Draft, cut, table};
use crate::tokens::{self, PASSAGE_TOKENS};
use crate::types::{BlockKind, Filing, PassageKind, Section, Span};

/// Merging stops here.
const GOAL: usize = 400;
/// A heading, a nested section or a speaker begins a new passage once the open one has this much.
const ENOUGH: usize = 180;
/// A table below this is laid-out prose (a bullet, a signature) and is packed as such.
const SMALL_TABLE: usize = 48;
/// Lines before a table that may be its caption.
const CAPTION_UNITS: usize = 3;
const CAPTION_TOKENS: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Heading,
    Prose,
    Table,
    Speaker,
    PageBreak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Boundary {
    None,
    Soft,
    Hard,
}

/// A block, or a part of one where a section begins inside it. Its span runs to the next unit, so the
/// tokens of neighbours add up.
#[derive(Clone, Copy, Debug)]
struct Unit {
    span: Span,
    tokens: usize,
    role: Role,
    boundary: Boundary,
    /// False when it was cut inside a line.
    exact: bool,
}

pub(super) fn drafts(filing: &Filing) -> Vec<Draft> {
    let units = units(filing);
    let mut packer = Packer {
        filing,
        open: Vec::new(),
        drafts: Vec::new(),
    };
    for (index, unit) in units.iter().enumerate() {
        packer.take(*unit, units.get(index + 1));
    }
    packer.flush();
    packer.drafts
}

/// The blocks as units without gaps: text that no block covers becomes prose.
fn units(filing: &Filing) -> Vec<Unit> {
    let text = filing.text.as_str();
    let mut starts: Vec<(usize, Role)> = Vec::with_capacity(filing.blocks.len() * 2);
    let mut covered = 0;
    for block in &filing.blocks {
        if block.span.is_empty() || block.span.start < covered || block.span.of(text).is_none() {
            continue;
        }
        let gap = &text[covered..block.span.start];
        if !gap.trim().is_empty() {
            starts.push((covered, Role::Prose));
        }
        let role = match block.kind {
            BlockKind::Heading => Role::Heading,
            BlockKind::Paragraph | BlockKind::ListItem => Role::Prose,
            BlockKind::Table => Role::Table,
            BlockKind::Speaker => Role::Speaker,
            BlockKind::PageBreak => Role::PageBreak,
        };
        starts.push((block.span.start, role));
        covered = block.span.end;
    }
    if text
        .get(covered..)
        .is_some_and(|rest| !rest.trim().is_empty())
    {
        starts.push((covered, Role::Prose));
    }
    let mut boundaries: Vec<(usize, Boundary)> = filing
        .sections
        .iter()
        .map(|s| (s.span.start, section_boundary(s)))
        .collect();
    boundaries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    boundaries.dedup_by_key(|(at, _)| *at);
    let mut boundaries = boundaries.into_iter().peekable();
    let mut units = Vec::with_capacity(starts.len());
    for (index, (start, role)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(text.len(), |(next, _)| *next);
        let mut at = *start;
        let mut boundary = Boundary::None;
        while let Some((section_at, kind)) = boundaries.next_if(|(section_at, _)| *section_at < end)
        {
            let inside = section_at > at && text.is_char_boundary(section_at);
            if inside && !text[at..section_at].trim().is_empty() {
                push_unit(text, Span::new(at, section_at), *role, boundary, &mut units);
                at = section_at;
                boundary = kind;
            } else {
                boundary = boundary.max(kind);
            }
        }
        push_unit(text, Span::new(at, end), *role, boundary, &mut units);
    }
    units
}

fn section_boundary(section: &Section) -> Boundary {
    if section.level <= 1 || section.id.contains("Item ") || section.id.starts_with("Part ") {
        Boundary::Hard
    } else {
        Boundary::Soft
    }
}

/// Adds a unit, cut into several when it is prose too long for one passage.
fn push_unit(text: &str, span: Span, role: Role, boundary: Boundary, units: &mut Vec<Unit>) {
    let inside = span.of(text).unwrap_or_default();
    if inside.trim().is_empty() {
        return;
    }
    let tokens = tokens::count(inside);
    if tokens <= GOAL || role == Role::Table {
        units.push(Unit {
            span,
            tokens,
            role,
            boundary,
            exact: true,
        });
        return;
    }
    for (index, piece) in cut::cut(text, span, GOAL - 20).into_iter().enumerate() {
        units.push(Unit {
            span: piece,
            tokens: tokens::count(piece.of(text).unwrap_or_default()) + 1,
            role: if index == 0 { role } else { Role::Prose },
            boundary: if index == 0 { boundary } else { Boundary::None },
            exact: false,
        });
    }
}

struct Packer<'a> {
    filing: &'a Filing,
    /// The units of the passage being filled.
    open: Vec<Unit>,
    drafts: Vec<Draft>,
}

impl Packer<'_> {
    fn open_tokens(&self) -> usize {
        self.open.iter().map(|unit| unit.tokens).sum()
    }

    fn is_open_table(&self) -> bool {
        self.open
            .iter()
            .any(|unit| unit.role == Role::Table && unit.tokens >= SMALL_TABLE)
    }

    /// Whether the open passage has only headings, of a section that goes on at `unit`.
    fn heads(&self, unit: &Unit) -> bool {
        let Some(first) = self.open.first() else {
            return false;
        };
        let only_heads = self
            .open
            .iter()
            .all(|u| matches!(u.role, Role::Heading | Role::Speaker | Role::PageBreak));
        only_heads
            && self
                .filing
                .sections
                .iter()
                .filter(|s| {
                    s.span.start <= first.span.end.saturating_sub(1)
                        && s.span.start >= first.span.start
                })
                .all(|s| s.span.end > unit.span.start)
    }

    fn take(&mut self, unit: Unit, next: Option<&Unit>) {
        if self.open.is_empty() {
            self.open_with(unit);
            return;
        }
        let open = self.open_tokens();
        if unit.role == Role::PageBreak && unit.boundary == Boundary::None {
            // A page number says nothing by itself and must not part what belongs together.
            if open + unit.tokens > PASSAGE_TOKENS {
                self.flush();
            }
            self.open.push(unit);
            return;
        }
        match unit.boundary {
            Boundary::Hard if !self.heads(&unit) => {
                self.flush();
                self.open_with(unit);
                return;
            }
            Boundary::Soft if open >= ENOUGH => {
                self.flush();
                self.open_with(unit);
                return;
            }
            _ => {}
        }
        if unit.role == Role::Table && unit.tokens >= SMALL_TABLE {
            self.take_table(unit);
            return;
        }
        if self.is_open_table() {
            self.flush();
            self.open_with(unit);
            return;
        }
        let begins = matches!(unit.role, Role::Heading | Role::Speaker);
        let with_next = next.map_or(0, |n| n.tokens.min(GOAL / 2));
        let starts_anew = begins
            && !self.heads(&unit)
            && (open >= ENOUGH || open + unit.tokens + with_next > GOAL);
        let over_goal = open + unit.tokens > GOAL;
        let over_limit = open + unit.tokens > PASSAGE_TOKENS;
        let too_much = over_limit || (over_goal && open >= ENOUGH / 2 && !self.heads(&unit));
        if starts_anew || too_much {
            self.flush();
        }
        self.open.push(unit);
    }

    fn open_with(&mut self, unit: Unit) {
        if unit.role == Role::Table && unit.tokens >= SMALL_TABLE {
            self.take_table(unit);
        } else {
            self.open.push(unit);
        }
    }

    /// A table takes its caption with it and leaves the prose before it behind.
    fn take_table(&mut self, unit: Unit) {
        let open = self.open_tokens();
        if self.is_open_table() && open + unit.tokens <= GOAL {
            self.open.push(unit);
            return;
        }
        let mut caption_at = self.open.len();
        if !self.is_open_table() {
            let mut tokens = 0;
            while caption_at > 0 && self.open.len() - caption_at < CAPTION_UNITS {
                let candidate = &self.open[caption_at - 1];
                tokens += candidate.tokens;
                if tokens > CAPTION_TOKENS || !is_caption(&self.filing.text, candidate) {
                    break;
                }
                caption_at -= 1;
            }
            // Headings only, or too little prose to stand alone: all of it goes along.
            if self.open.iter().all(|u| u.role != Role::Prose) && open <= CAPTION_TOKENS {
                caption_at = 0;
            }
        }
        let caption = self.open.split_off(caption_at);
        self.flush();
        let caption_tokens: usize = caption.iter().map(|u| u.tokens).sum();
        if caption_tokens + unit.tokens <= PASSAGE_TOKENS {
            self.open = caption;
            self.open.push(unit);
            return;
        }
        let caption_span = caption
            .first()
            .map(|c| Span::new(c.span.start, unit.span.start));
        self.drafts
            .extend(table::drafts(&self.filing.text, caption_span, unit.span));
    }

    fn flush(&mut self) {
        let (Some(first), Some(last)) = (self.open.first(), self.open.last()) else {
            return;
        };
        let span = Span::new(first.span.start, last.span.end);
        let in_tables: usize = self
            .open
            .iter()
            .filter(|unit| unit.role == Role::Table)
            .map(|unit| unit.tokens)
            .sum();
        let kind = if !self.filing.turns.is_empty() {
            PassageKind::Speech
        } else if in_tables * 2 > self.open_tokens() {
            PassageKind::Table
        } else {
            PassageKind::Prose
        };
        let lead = self.speaker_lead(span.start);
        let exact = self.open.iter().all(|unit| unit.exact)
            && lead.is_empty()
            && self.open_tokens() <= PASSAGE_TOKENS;
        self.drafts.push(Draft {
            span,
            kind,
            page: None,
            lead,
            exact,
        });
        self.open.clear();
    }

    /// The speaker's line, for a passage that begins inside a turn.
    fn speaker_lead(&self, start: usize) -> String {
        let turns = &self.filing.turns;
        let index = turns.partition_point(|turn| turn.span.end <= start);
        match turns.get(index) {
            Some(turn) if turn.span.start < start => match (&turn.speaker, &turn.role) {
                (Some(speaker), Some(role)) => format!("{speaker} - {role}"),
                (Some(speaker), None) => speaker.clone(),
                (None, _) => String::new(),
            },
            _ => String::new(),
        }
    }
}

/// A heading, or a short line that leads to a table or states its units.
fn is_caption(text: &str, unit: &Unit) -> bool {
    if matches!(unit.role, Role::Heading | Role::PageBreak) {
        return true;
    }
    let line = unit.span.of(text).unwrap_or_default().trim();
    let lower = line.to_lowercase();
    line.ends_with(':')
        || (unit.tokens <= 40
            && (!line.ends_with('.')
                || ["in millions", "in thousands", "in billions", "unaudited"]
                    .iter()
                    .any(|words| lower.contains(words))))
}
