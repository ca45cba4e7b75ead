//! Cuts a filing into passages: pieces of at most 512 tokens that can be found and read alone.
//!
//! Cuts fall on block and section boundaries first, then on rows, lines and sentences, and inside a
//! word only when nothing else is left. Every non-blank byte of the text lies in exactly one passage.
//! Tokens are counted once per line, so the work grows with the text and not with the number of ways
//! to cut it. Must not know of search or of any single filing form.

mod cut;
mod pack;
mod page;
mod table;

use crate::input::clean::ceil_boundary;
use crate::tokens::{self, PASSAGE_TOKENS};
use crate::types::{Filing, Passage, PassageId, PassageKind, Section, Span};

/// The passages of `filing`, in order.
pub fn passages(filing: &Filing) -> Vec<Passage> {
    let drafts = if filing.pages.is_empty() {
        pack::drafts(filing)
    } else {
        page::drafts(filing)
    };
    let mut sections = SectionPaths::new(&filing.sections);
    drafts
        .into_iter()
        .flat_map(|draft| enforce(draft, &filing.text))
        .filter_map(|draft| {
            let text = draft.span.of(&filing.text)?;
            Some(Passage {
                id: PassageId::new(&filing.meta.accession, draft.span),
                accession: filing.meta.accession.clone(),
                section_path: sections.path(draft.span),
                span: draft.span,
                kind: draft.kind,
                page: draft.page,
                lead: draft.lead,
                text: text.to_owned(),
            })
        })
        .collect()
}

/// A passage before it has a name.
#[derive(Clone, Debug, PartialEq)]
struct Draft {
    span: Span,
    kind: PassageKind,
    page: Option<u32>,
    lead: String,
    /// Whether the sum of its parts' tokens bounds its own, which holds when it was cut at line ends.
    exact: bool,
}

/// Trims blanks off the ends of a draft and, where a cut inside a line left its size uncertain, measures
/// it and cuts it again until it fits.
fn enforce(mut draft: Draft, text: &str) -> Vec<Draft> {
    draft.span = trimmed(text, draft.span);
    if draft.span.is_empty() {
        return Vec::new();
    }
    if draft.exact {
        return vec![draft];
    }
    let body = draft.span.of(text).unwrap_or_default();
    if fits(&draft.lead, body) {
        draft.exact = true;
        return vec![draft];
    }
    let lead_tokens = tokens::count(&draft.lead) + 1;
    if lead_tokens * 2 > PASSAGE_TOKENS {
        draft.lead.clear();
        return enforce(draft, text);
    }
    let limit = (PASSAGE_TOKENS - lead_tokens) * 3 / 4;
    let pieces = cut::cut(text, draft.span, limit.max(1));
    if pieces.len() < 2 {
        draft.lead.clear();
        let half = ceil_boundary(text, draft.span.start + draft.span.len() / 2);
        if half >= draft.span.end {
            return vec![draft];
        }
        let mut second = draft.clone();
        second.span.start = half;
        draft.span.end = half;
        return [enforce(draft, text), enforce(second, text)].concat();
    }
    pieces
        .into_iter()
        .flat_map(|span| {
            let piece = Draft {
                span,
                ..draft.clone()
            };
            enforce(piece, text)
        })
        .collect()
}

/// Whether lead and body together keep the limit, as they are shown to a model: one below the other.
fn fits(lead: &str, body: &str) -> bool {
    if lead.is_empty() {
        return tokens::count(body) <= PASSAGE_TOKENS;
    }
    tokens::count(&format!("{lead}\n{body}")) <= PASSAGE_TOKENS
}

/// `span` without the blanks at its ends.
fn trimmed(text: &str, span: Span) -> Span {
    let Some(inside) = span.of(text) else {
        return Span::new(span.start, span.start);
    };
    let start = span.start + (inside.len() - inside.trim_start().len());
    let end = start + inside.trim().len();
    Span::new(start, end)
}

/// Finds the innermost section around each passage; passages come in order.
struct SectionPaths<'a> {
    sections: &'a [Section],
    /// Sections that end before this passage and every later one need no second look.
    first: usize,
}

impl<'a> SectionPaths<'a> {
    fn new(sections: &'a [Section]) -> Self {
        SectionPaths { sections, first: 0 }
    }

    fn path(&mut self, span: Span) -> Vec<String> {
        while self
            .sections
            .get(self.first)
            .is_some_and(|s| s.span.end <= span.start)
        {
            self.first += 1;
        }
        self.sections[self.first..]
            .iter()
            .take_while(|s| s.span.start <= span.start)
            .filter(|s| s.span.contains(span))
            .min_by_key(|s| std::cmp::Reverse((s.path.len(), s.level)))
            .map(|s| s.path.clone())
            .unwrap_or_default()
    }
}
