//! What was read of the passages, and which of them the question attends to, by which heads: for people who want to know
//! why an answer says what it says. Costs a reading of its own and changes nothing.

use footnote_engine::{Attention, AttentionRequest, EngineError};

use super::Work;
use super::excerpts::{Line, one_line};
use super::reading::{Reading, listed};
use crate::{AgentError, AttendedPassage, HeadShare, LineRead, Step};

/// Heads named of a passage.
const HEADS_SHOWN: usize = 3;
/// What a question without content is.
const NO_QUESTION: &str = "N/A";
/// Deviations below the mean at which a token's share counts as noise.
const OUTLIER: f32 = 2.0;

/// Tells which lines were kept of `all`, and what each passage is paid.
pub(super) fn explain(
    work: &mut Work<'_, '_>,
    reading: &Reading,
    all: &[Line],
) -> Result<(), AgentError> {
    // The passages of which anything was weighed, in the order of the listing.
    let mut shown: Vec<usize> = all.iter().map(|line| line.region).collect();
    shown.dedup();
    let texts: Vec<String> = shown
        .iter()
        .map(|region| {
            let lines: Vec<Line> = all
                .iter()
                .filter(|l| l.region == *region)
                .cloned()
                .collect();
            listed(&lines, &reading.regions).0
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let heads = work.draft.and_then(|draft| draft.heads()).map(|known| {
        let heads = known.heads.iter();
        heads.map(|head| (head.layer, head.head)).collect()
    });
    let asked = request(&one_line(work.question), &texts, heads);
    let (model, seen) = match attended(work, &asked) {
        Ok(seen) => seen,
        Err(EngineError::Request(why)) => {
            work.recorder.step(Step::Explained {
                by: None,
                why_not: Some(why),
                passages: passages(reading, all, &shown, &[]),
            });
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let shares = shares(&seen);
    work.recorder.step(Step::Explained {
        by: Some(model),
        why_not: None,
        passages: passages(reading, all, &shown, &shares),
    });
    Ok(())
}

/// The passages as they stand together, with the question last, so that it sees all of them.
fn request(question: &str, texts: &[&str], heads: Option<Vec<(usize, usize)>>) -> AttentionRequest {
    let mut parts = vec!["Here are passages of a company's filings.\n\n".to_owned()];
    for (at, text) in texts.iter().enumerate() {
        parts.push(format!("[{}] {}\n\n", at + 1, text.trim()));
    }
    let end = |question: &str| {
        format!("Find the passages that help to answer the question.\n\nQuestion: {question}")
    };
    AttentionRequest {
        parts,
        ends: vec![end(question), end(NO_QUESTION)],
        heads,
        per_head: true,
    }
}

/// What a row of heads pays each passage: the question's shares less those of no question, over its tokens without outliers
/// (in-context re-ranking, arXiv:2410.02642). The first part is the instruction and no passage.
fn relevance(seen: &Attention, row: usize) -> Vec<f32> {
    let (asked, not_asked) = (&seen.shares[0][row], &seen.shares[1][row]);
    let of = |range: &std::ops::Range<usize>| {
        let both = asked[range.clone()].iter().zip(&not_asked[range.clone()]);
        let paid: Vec<f32> = both.map(|(asked, not_asked)| asked - not_asked).collect();
        let count = paid.len().max(1) as f32;
        let mean = paid.iter().sum::<f32>() / count;
        let deviation = (paid.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
        paid.iter()
            .filter(|x| **x >= mean - OUTLIER * deviation)
            .sum()
    };
    seen.parts.iter().skip(1).map(of).collect()
}

/// The draft's attention, where there is a draft, else that of the model that answers.
fn attended(
    work: &Work<'_, '_>,
    request: &AttentionRequest,
) -> Result<(String, Attention), EngineError> {
    match work.draft {
        Some(draft) => Ok((draft.name().to_owned(), draft.attend(request)?)),
        None => Ok((work.model.name().to_owned(), work.model.attend(request)?)),
    }
}

/// Of each passage, what each head pays it of all that the head pays passages: heads in the order of the attention.
fn shares(seen: &Attention) -> Vec<Vec<HeadShare>> {
    let count = seen.parts.len().saturating_sub(1);
    let mut by_passage: Vec<Vec<HeadShare>> = vec![Vec::new(); count];
    for (row, (layer, head)) in seen.heads.iter().enumerate() {
        let paid = relevance(seen, row);
        let total: f32 = paid.iter().map(|paid| paid.max(0.0)).sum();
        if total <= 0.0 {
            continue;
        }
        for (shares, paid) in by_passage.iter_mut().zip(paid) {
            shares.push(HeadShare {
                layer: *layer,
                head: *head,
                share: paid.max(0.0) / total,
            });
        }
    }
    by_passage
}

fn passages(
    reading: &Reading,
    all: &[Line],
    shown: &[usize],
    shares: &[Vec<HeadShare>],
) -> Vec<AttendedPassage> {
    shown
        .iter()
        .enumerate()
        .map(|(at, region)| {
            let mut heads = shares.get(at).cloned().unwrap_or_default();
            let share = match heads.len() {
                0 => None,
                count => Some(heads.iter().map(|head| head.share).sum::<f32>() / count as f32),
            };
            heads.sort_by(|a, b| b.share.total_cmp(&a.share));
            heads.truncate(HEADS_SHOWN);
            let of = &reading.regions[*region];
            AttendedPassage {
                accession: of.meta.accession.clone(),
                page: of.page,
                section_path: of.section_path.clone(),
                share,
                heads,
                lines: all
                    .iter()
                    .filter(|line| line.region == *region)
                    .map(|line| LineRead {
                        text: line.quote.clone(),
                        span: line.span,
                        kept: reading.lines.iter().any(|kept| kept.id == line.id),
                    })
                    .collect(),
            }
        })
        .collect()
}
