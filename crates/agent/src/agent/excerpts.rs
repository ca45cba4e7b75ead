//! Numbered lines for the model to choose from: rows and sentences of the best passages, the ones
//! nearest to the question, within a budget. Filing text stands in a prompt only here, one line an
//! item, without line ends or control characters of its own.

use std::collections::{HashMap, HashSet};

use footnote_filings::Span;

use crate::Scale;
use crate::sheet::{Cell, Column, Region, Row, rows};

/// The longest line shown, in bytes; longer sentences are parted.
const MAX_LINE: usize = 420;

/// A line that can be cited.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// Its name in the prompt: passage letter and number.
    pub id: String,
    /// Index of the region.
    pub region: usize,
    /// Where it stands in the filing's text.
    pub span: Span,
    /// The words there.
    pub quote: String,
    /// The line as shown, figures with their periods.
    pub shown: String,
    /// The scale stated above it.
    pub scale: Scale,
    /// The row it is, where it is one.
    pub row: Option<Row>,
}

struct Piece {
    region: usize,
    span: Span,
    quote: String,
    shown: String,
    scale: Scale,
    row: Option<Row>,
    score: f32,
}

/// The lines nearest to the question, in reading order by passage rank, at most `budget` bytes.
pub(super) fn lines(question: &str, regions: &[Region], budget: usize) -> Vec<Line> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, region) in regions.iter().enumerate() {
        pieces.extend(pieces_of(region, at));
    }
    score(question, &mut pieces);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| pieces[b].score.total_cmp(&pieces[a].score).then(a.cmp(&b)));
    let mut left = budget;
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        let cost = pieces[at].shown.len() + 6;
        if pieces[at].score > 0.0 && cost <= left {
            left -= cost;
            kept.push(at);
        }
    }
    kept.sort_unstable();
    let mut counts: HashMap<usize, usize> = HashMap::new();
    kept.into_iter()
        .map(|at| {
            let piece = &pieces[at];
            let count = counts.entry(piece.region).or_default();
            *count += 1;
            Line {
                id: format!("{}{count}", letter(piece.region)),
                region: piece.region,
                span: piece.span,
                quote: piece.quote.clone(),
                shown: piece.shown.clone(),
                scale: piece.scale,
                row: piece.row.clone(),
            }
        })
        .collect()
}

/// `A`, `B`, … `Z`, `AA`, ….
pub(super) fn letter(mut index: usize) -> String {
    let mut out = String::new();
    loop {
        out.insert(0, char::from(b'A' + (index % 26) as u8));
        if index < 26 {
            return out;
        }
        index = index / 26 - 1;
    }
}

fn pieces_of(region: &Region, at: usize) -> Vec<Piece> {
    let rows: Vec<Row> = rows(region, at)
        .into_iter()
        .map(|row| row.quoted(region))
        .collect();
    // A line of prose with a number at its end reads like a row of one figure; it is none.
    let is_row = |row: &Row| {
        row.cells.len() > 1 || row.quote.contains(" | ") || row.label.split(' ').count() <= 8
    };
    let mut pieces: Vec<Piece> = rows
        .iter()
        .filter(|row| is_row(row))
        .map(|row| Piece {
            region: at,
            span: row.span,
            quote: row.quote.clone(),
            shown: row_shown(row),
            scale: row.scale.unwrap_or_default(),
            row: Some(row.clone()),
            score: 0.0,
        })
        .collect();
    let taken: Vec<Span> = pieces.iter().map(|piece| piece.span).collect();
    let mut prose: Option<Span> = None;
    let mut runs: Vec<Span> = Vec::new();
    let mut start = region.start;
    for line in region.text.split_inclusive('\n') {
        let shown = line.trim_end();
        let span = Span::new(start, start + shown.len());
        start += line.len();
        let in_row = taken
            .iter()
            .any(|row| row.start < span.end && span.start < row.end);
        if shown.trim().is_empty() || in_row {
            runs.extend(prose.take());
            continue;
        }
        prose = Some(match prose {
            Some(run) => Span::new(run.start, span.end),
            None => span,
        });
    }
    runs.extend(prose);
    for run in runs {
        let from = run.start - region.start;
        let Some(text) = region.text.get(from..run.end - region.start) else {
            continue;
        };
        for (start, end) in sentences(text) {
            let quote = &text[start..end];
            pieces.push(Piece {
                region: at,
                span: Span::new(run.start + start, run.start + end),
                quote: quote.to_owned(),
                shown: one_line(quote),
                scale: Scale::One,
                row: None,
                score: 0.0,
            });
        }
    }
    pieces.sort_by_key(|piece| piece.span);
    pieces
}

/// A row with the period before each figure.
fn row_shown(row: &Row) -> String {
    let mut shown = one_line(&row.label);
    if !row.group.is_empty() && row.group.len() < 60 && !row.label.contains(&row.group) {
        shown = format!("{} > {shown}", one_line(&row.group));
    }
    for cell in &row.cells {
        shown.push_str(" | ");
        shown.push_str(&cell_shown(cell));
    }
    if let Some(scale) = row.scale
        && scale != Scale::One
    {
        shown.push_str(&format!(" | in {scale}"));
    }
    shown
}

/// A figure as a line shows it: `2023: 1,234`, `2023, 3 months: 310`, or `1,234` in a column that
/// could not be told.
pub(super) fn cell_shown(cell: &Cell) -> String {
    let written = one_line(&cell.written);
    match cell.column {
        Some(Column {
            year,
            months: Some(months),
        }) if months != 12 => format!("{year}, {months} months: {written}"),
        Some(Column { year, .. }) => format!("{year}: {written}"),
        None => written,
    }
}

/// Text on one line, without control characters.
pub(super) fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Parts running text into sentences of bounded length, as byte ranges.
fn sentences(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let next = chars.peek().map(|(_, c)| *c);
        let stop = matches!(c, '.' | '?' | '!' | ';' | '•') && next.is_none_or(char::is_whitespace);
        let full = stop && (end - start > 40 || next.is_none());
        let too_long = end - start >= MAX_LINE && c.is_whitespace();
        if full || too_long {
            push_trimmed(text, start, end, &mut out);
            start = end;
        }
    }
    push_trimmed(text, start, text.len(), &mut out);
    out
}

fn push_trimmed(text: &str, start: usize, end: usize, out: &mut Vec<(usize, usize)>) {
    let piece = &text[start..end];
    let front = piece.len() - piece.trim_start().len();
    let trimmed = piece.trim();
    if trimmed.chars().filter(|c| c.is_alphabetic()).count() >= 3 {
        out.push((start + front, start + front + trimmed.len()));
    }
}

/// Shared words weighted by rarity, longer lines discounted, better passages and lines beside good
/// ones preferred.
fn score(question: &str, pieces: &mut [Piece]) {
    let asked = stems(question);
    let sets: Vec<HashSet<String>> = pieces.iter().map(|piece| stems(&piece.shown)).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for set in &sets {
        for stem in set {
            *seen.entry(stem.as_str()).or_default() += 1;
        }
    }
    let total = pieces.len() as f32;
    let rarity = |stem: &str| {
        let n = seen.get(stem).copied().unwrap_or(0) as f32;
        ((total + 1.0) / (n + 0.5)).ln().max(0.1)
    };
    let own: Vec<f32> = sets
        .iter()
        .zip(pieces.iter())
        .map(|(set, piece)| {
            let shared: f32 = asked
                .iter()
                .filter(|s| set.contains(*s))
                .map(|s| rarity(s))
                .sum();
            let long = 1.0 + (piece.shown.len() as f32 / 300.0);
            let rank = 1.0 + 1.5 / (1.0 + piece.region as f32);
            shared / long.sqrt() * rank
        })
        .collect();
    for at in 0..pieces.len() {
        let beside = |other: Option<usize>| {
            other
                .filter(|&o| o < own.len() && pieces[o].region == pieces[at].region)
                .map_or(0.0, |o| own[o])
        };
        let around = beside(at.checked_sub(1)).max(beside(Some(at + 1)));
        pieces[at].score = own[at] + 0.35 * around;
    }
}

/// Words of three letters and more and years, cut to five characters.
fn stems(text: &str) -> HashSet<String> {
    const COMMON: [&str; 28] = [
        "the", "and", "for", "what", "which", "was", "were", "are", "has", "have", "had", "does",
        "did", "from", "with", "that", "this", "its", "how", "much", "many", "any", "than",
        "there", "who", "why", "you", "our",
    ];
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .map(|word| word.strip_prefix("fy").map_or(word.clone(), str::to_owned))
        .filter(|word| word.chars().count() >= 3 && !COMMON.contains(&word.as_str()))
        .map(|word| word.chars().take(5).collect())
        .collect()
}
