//! The parts of a call: participants, summary, prepared remarks, questions, notices.

use crate::input::clean::ceil_boundary;
use std::sync::LazyLock;

use regex::Regex;

use super::{Call, Part};
use crate::types::{Section, Span};

static FIRST_QUESTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:first|1st)\s+(?:question|caller)\b|question\s+(?:today\s+)?(?:will\s+)?(?:come|be)s?\s+from",
    )
    .expect("a valid pattern")
});
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:open|begin|start|take|go|turn|move|jump|proceed|ready)\b[^.?!]{0,80}\b(?:questions|q&a|question[- ]and[- ]answer)")
        .expect("a valid pattern")
});
static NOTICE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:this article is a transcript|duration:\s*\d+ minutes|more .{1,12} analysis$|all earnings call transcripts|the motley fool (?:has|owns|recommends)|stocks mentioned|\*average returns|copyright\b|©|disclaimer:|read more|this transcript (?:is|was|may)|the information contained in (?:event )?transcripts)",
    )
    .expect("a valid pattern")
});

/// The part that a heading line begins, if it is one.
pub(super) fn marker(line: &str) -> Option<Part> {
    let key = line.trim_end_matches(':').trim().to_lowercase();
    match key.as_str() {
        "presentation"
        | "prepared remarks"
        | "management discussion section"
        | "full conference call transcript"
        | "management discussion" => Some(Part::Prepared),
        "questions and answers"
        | "questions & answers"
        | "question-and-answer session"
        | "question and answer session"
        | "question and answer"
        | "q&a"
        | "q&a session"
        | "questions and answers session"
        | "question-and-answer" => Some(Part::Questions),
        "company participants"
        | "conference call participants"
        | "call participants"
        | "corporate participants"
        | "participants"
        | "executives"
        | "analysts" => Some(Part::Participants),
        "summary" | "takeaways" | "risks" | "industry glossary" => Some(Part::Summary),
        "contents" | "date" => Some(Part::Front),
        _ => None,
    }
}

/// The index of the first line of the publisher's notices, or the number of lines.
pub(super) fn notices_start(lines: &[&str]) -> usize {
    let after = lines.len() / 2;
    lines
        .iter()
        .enumerate()
        .skip(after)
        .find(|(_, line)| NOTICE.is_match(line) && !line.to_lowercase().starts_with("duration"))
        .map_or(lines.len(), |(index, _)| index)
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Front => "Front Matter",
        Part::Participants => "Participants",
        Part::Summary => "Summary",
        Part::Prepared => "Prepared Remarks",
        Part::Questions => "Questions and Answers",
        Part::Notices => "Publisher's Notices",
    }
}

fn section(part: Part, span: Span, confidence: f32) -> Section {
    Section {
        id: title(part).to_owned(),
        title: title(part).to_owned(),
        level: 1,
        path: vec![title(part).to_owned()],
        span,
        confidence,
    }
}

/// The sections that the transcript's own headings make; neighbours of one part are one section.
pub(super) fn from_marks(parts: &[(Part, usize, bool)], end: usize) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut last = None;
    for (index, (part, start, stated)) in parts.iter().enumerate() {
        let span_end = parts.get(index + 1).map_or(end, |(_, next, _)| *next);
        let span = Span::new((*start).min(span_end), span_end);
        if last == Some(*part)
            && let Some(open) = sections.last_mut()
        {
            open.span.end = span_end;
        } else if *part != Part::Front && !span.is_empty() {
            sections.push(section(*part, span, if *stated { 0.98 } else { 0.9 }));
        }
        last = Some(*part);
    }
    sections
}

/// Adds the parts that have no heading of their own: remarks and questions are told from the words
/// with which a question period is opened.
pub(super) fn assign(call: &mut Call) {
    let has = |call: &Call, part: Part| call.sections.iter().any(|s| s.id == title(part));
    if has(call, Part::Questions) {
        return;
    }
    let Some(first) = call.turns.first().map(|turn| turn.span.start) else {
        return;
    };
    let speaks_from = call
        .blocks
        .iter()
        .rfind(|b| b.span.end <= first && b.kind == crate::types::BlockKind::Speaker)
        .map_or(first, |b| b.span.start);
    let end = call
        .sections
        .iter()
        .map(|s| s.span.start)
        .filter(|start| *start > first)
        .min()
        .unwrap_or(call.text.len());
    let prepared_at = call
        .sections
        .iter()
        .position(|s| s.id == title(Part::Prepared));
    let start = prepared_at.map_or(speaks_from, |at| call.sections[at].span.start);
    let questions = question_start(call).filter(|at| *at > start && *at < end);
    let prepared = Span::new(start, questions.unwrap_or(end));
    let confidence = if questions.is_some() { 0.8 } else { 0.5 };
    match prepared_at {
        Some(at) => call.sections[at].span = prepared,
        None => call
            .sections
            .push(section(Part::Prepared, prepared, confidence)),
    }
    if let Some(at) = questions {
        call.sections
            .push(section(Part::Questions, Span::new(at, end), 0.8));
    }
    call.sections.sort_by_key(|s| s.span.start);
}

/// Where the question period begins, in a call with speakers.
fn question_start(call: &Call) -> Option<usize> {
    if call.turns.len() < 4 {
        return None;
    }
    let line_of = |turn: usize| {
        let start = call.turns[turn].span.start;
        call.blocks
            .iter()
            .rfind(|b| b.span.end <= start)
            .map_or(start, |b| b.span.start)
    };
    let text = |turn: usize| call.turns[turn].span.of(&call.text).unwrap_or_default();
    for turn in 1..call.turns.len() {
        if FIRST_QUESTION.is_match(text(turn)) {
            return Some(line_of(turn));
        }
        let tail = text(turn);
        let tail = &tail[ceil_boundary(tail, tail.len().saturating_sub(400))..];
        if tail.len() >= 100 && OPENING.is_match(tail) && turn + 1 < call.turns.len() {
            return Some(line_of(turn + 1));
        }
    }
    None
}
