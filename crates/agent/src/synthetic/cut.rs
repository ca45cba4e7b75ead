//! A filing cut into the chunks that benchmarks show: text between tables, each table by itself, and of
//! a call each speaker's line and each speech.
//!
//! Coarser than the index's passages and without their token limit. Cells are parted by `##` and lines of
//! text by blank lines, as public records have them, so that a ranker trained here meets the same marks
//! there.

use footnote_filings::{Block, BlockKind, Filing, Passage, PassageId, PassageKind, Span};

/// Cuts a filing. Spans count in the filing's text; the texts are set as benchmarks set them.
pub fn benchmark_chunks(filing: &Filing) -> Vec<Passage> {
    if !filing.pages.is_empty() {
        let pages = filing.pages.iter();
        return pages
            .map(|page| {
                let text = page.span.of(&filing.text).unwrap_or_default();
                chunk(filing, page.span, PassageKind::Page, text.to_owned())
            })
            .collect();
    }
    if !filing.turns.is_empty() {
        return of_turns(filing);
    }
    let mut chunks = Vec::new();
    let mut run: Vec<&Block> = Vec::new();
    for block in &filing.blocks {
        match block.kind {
            BlockKind::Table => {
                chunks.extend(of_run(filing, &std::mem::take(&mut run)));
                let text = block.span.of(&filing.text).unwrap_or_default();
                chunks.push(chunk(
                    filing,
                    block.span,
                    PassageKind::Table,
                    text.replace(" | ", "##"),
                ));
            }
            _ => run.push(block),
        }
    }
    chunks.extend(of_run(filing, &run));
    chunks
}

/// Blocks of text between two tables as one chunk.
fn of_run(filing: &Filing, run: &[&Block]) -> Option<Passage> {
    let (first, last) = (run.first()?, run.last()?);
    let lines: Vec<&str> = run
        .iter()
        .filter_map(|block| Some(block.span.of(&filing.text)?.trim()))
        .filter(|line| !line.is_empty())
        .collect();
    let span = Span::new(first.span.start, last.span.end);
    (!lines.is_empty()).then(|| chunk(filing, span, PassageKind::Prose, lines.join("\n\n")))
}

/// Turns of a call: who speaks, then what is said.
fn of_turns(filing: &Filing) -> Vec<Passage> {
    let mut chunks = Vec::new();
    for turn in &filing.turns {
        let head = Span::new(turn.span.start, turn.span.start);
        if let Some(speaker) = &turn.speaker {
            let line = match &turn.role {
                Some(role) => format!("{speaker} - {role}"),
                None => speaker.clone(),
            };
            chunks.push(chunk(filing, head, PassageKind::Speech, line));
        }
        let text = turn.span.of(&filing.text).unwrap_or_default();
        chunks.push(chunk(
            filing,
            turn.span,
            PassageKind::Speech,
            text.to_owned(),
        ));
    }
    chunks
}

fn chunk(filing: &Filing, span: Span, kind: PassageKind, text: String) -> Passage {
    Passage {
        id: PassageId::new(&filing.meta.accession, span),
        accession: filing.meta.accession.clone(),
        section_path: Vec::new(),
        span,
        kind,
        page: None,
        lead: String::new(),
        text,
    }
}
