//! Prompts whose evidence is known: how much of it a compression keeps, and which heads of a draft keep most.
//!
//! The choice is HeadHunter's loop (arXiv:2506.10978, section 4) over retrieval heads: each round scores every head together
//! with those already chosen, by the share of evidence that stays at the real budgets, and takes the best few. Half of the
//! groups choose, the other half measure. Must not know filings or commands.

use std::collections::{BTreeMap, BTreeSet};

use footnote_engine::Tokenizer;
use footnote_engine::compress::{HeadRow, pieces};

/// Heads that a choice is made among: the best by themselves.
const POOL: usize = 64;

/// A prompt as every head of a draft sees it, by its pieces.
#[derive(Clone, Debug)]
pub struct SeenPrompt {
    /// What must not be on both sides: a company, a document.
    pub group: String,
    /// By head, the score of each piece: its best token's.
    scores: Vec<Vec<f32>>,
    /// Tokens of each piece, and of these tokens of evidence.
    sizes: Vec<(usize, usize)>,
    /// Last tokens, which always stay.
    tail: usize,
}

/// How heads are chosen.
#[derive(Clone, Debug)]
pub struct Choosing {
    /// Tokens that stay; the share of evidence is averaged over these.
    pub budgets: Vec<usize>,
    /// Heads taken a round.
    pub a_round: usize,
    /// The most heads.
    pub most: usize,
    /// Only heads of layers before this one, so that the draft stops early.
    pub layers: usize,
}

/// What a choice came to.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Places of the heads, in the order of their rows.
    pub heads: Vec<usize>,
    /// Mean recall by number of heads, on prompts that did not choose them.
    pub held_out: Vec<(usize, f64)>,
    /// Recall by prompt with the number taken, on prompts that did not choose them.
    pub recalls: Vec<f64>,
}

impl SeenPrompt {
    /// A prompt of `tokens`, of which the first `shared` are scored by `rows`; `evidence` are positions among them.
    pub fn new(
        group: String,
        rows: &[HeadRow],
        scales: &[f32],
        tokens: &[u32],
        tokenizer: &Tokenizer,
        evidence: &BTreeSet<usize>,
    ) -> SeenPrompt {
        let shared = rows.first().map_or(0, |(_, row)| row.len());
        let ends = pieces(&tokens[..shared], tokenizer);
        let ranges = || {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(ends.iter().copied())
        };
        let scores = rows
            .iter()
            .zip(scales)
            .map(|((_, row), scale)| {
                let best = |(start, end): (usize, usize)| {
                    let most = row[start..end].iter().copied();
                    most.fold(f32::NEG_INFINITY, f32::max) / scale
                };
                ranges().map(best).collect()
            })
            .collect();
        SeenPrompt {
            group,
            scores,
            sizes: ranges()
                .map(|(start, end)| (end - start, evidence.range(start..end).count()))
                .collect(),
            tail: tokens.len() - shared,
        }
    }

    /// Share of the evidence that stays at `budget` by the sum of the heads.
    pub fn recall(&self, heads: &[usize], budget: usize) -> f64 {
        let score = |piece: usize| -> f32 { heads.iter().map(|h| self.scores[*h][piece]).sum() };
        let mut order: Vec<(f32, usize)> = (0..self.sizes.len()).map(|p| (score(p), p)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left = budget.saturating_sub(self.tail);
        let mut stays = 0;
        for (_, piece) in order {
            let (size, evidence) = self.sizes[piece];
            if size > left {
                break;
            }
            left -= size;
            stays += evidence;
        }
        let all: usize = self.sizes.iter().map(|(_, evidence)| evidence).sum();
        stays as f64 / all.max(1) as f64
    }
}

/// How loud each head is: the mean over prompts of what it pays all tokens, whichever way it differs from no question.
pub fn scales(prompts: &[Vec<HeadRow>]) -> Vec<f32> {
    let heads = prompts.first().map_or(0, Vec::len);
    (0..heads)
        .map(|head| {
            let paid = |rows: &Vec<HeadRow>| rows[head].1.iter().map(|x| x.abs()).sum::<f32>();
            let sum: f32 = prompts.iter().map(paid).sum();
            (sum / prompts.len().max(1) as f32).max(f32::MIN_POSITIVE)
        })
        .collect()
}

/// Chooses heads on halves of the groups to learn how many are worth it, then on all prompts. `names` are the heads of the
/// rows; `bar` is told of every round.
pub fn choose(
    prompts: &[SeenPrompt],
    names: &[(usize, usize)],
    choosing: &Choosing,
    bar: &dyn Fn(),
) -> Chosen {
    let all: Vec<usize> = (0..prompts.len()).collect();
    let halves = halves(prompts);
    let counts: Vec<usize> = (1..=choosing.most.div_ceil(choosing.a_round))
        .map(|round| (round * choosing.a_round).min(choosing.most))
        .collect();
    // By number of heads and prompt.
    let mut held_out: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
    for (train, test) in [(&halves.0, &halves.1), (&halves.1, &halves.0)] {
        let chosen = greedy(prompts, train, names, choosing, choosing.most, bar);
        for count in &counts {
            let heads = &chosen[..chosen.len().min(*count)];
            let recalls = test
                .iter()
                .map(|at| (*at, mean_recall(&prompts[*at], heads, choosing)));
            held_out.entry(*count).or_default().extend(recalls);
        }
    }
    for recalls in held_out.values_mut() {
        recalls.sort_by_key(|(at, _)| *at);
    }
    let mean_of = |recalls: &[(usize, f64)]| mean(recalls.iter().map(|(_, recall)| *recall));
    let means: Vec<(usize, f64)> = held_out.iter().map(|(n, r)| (*n, mean_of(r))).collect();
    let best = means.iter().map(|(_, mean)| *mean).fold(0.0, f64::max);
    let noise = means
        .iter()
        .find(|(_, mean)| *mean == best)
        .map_or(0.0, |(count, _)| standard_error(&held_out[count]));
    // The fewest heads within a standard error of the best: what lies between is noise.
    let count = means
        .iter()
        .find(|(_, mean)| *mean >= best - noise)
        .map_or(choosing.a_round, |(count, _)| *count);
    Chosen {
        heads: greedy(prompts, &all, names, choosing, count, bar),
        recalls: held_out[&count].iter().map(|(_, recall)| *recall).collect(),
        held_out: means,
    }
}

/// Heads that together keep most evidence of the prompts `on`, the best first.
fn greedy(
    prompts: &[SeenPrompt],
    on: &[usize],
    names: &[(usize, usize)],
    choosing: &Choosing,
    most: usize,
    bar: &dyn Fn(),
) -> Vec<usize> {
    let quality = |heads: &[usize]| {
        mean(
            on.iter()
                .map(|at| mean_recall(&prompts[*at], heads, choosing)),
        )
    };
    let best_first = |mut scored: Vec<(f64, usize)>| -> Vec<usize> {
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.into_iter().map(|(_, head)| head).collect()
    };
    let early = (0..names.len()).filter(|head| names[*head].0 < choosing.layers);
    let alone = best_first(early.map(|head| (quality(&[head]), head)).collect());
    let pool: Vec<usize> = alone.iter().take(POOL).copied().collect();
    let mut chosen: Vec<usize> = pool
        .iter()
        .take(choosing.a_round.min(most))
        .copied()
        .collect();
    bar();
    while chosen.len() < most.min(pool.len()) {
        let rest = pool.iter().filter(|head| !chosen.contains(head));
        let with: Vec<(f64, usize)> = rest
            .map(|head| {
                let heads: Vec<usize> = chosen.iter().copied().chain([*head]).collect();
                (quality(&heads), *head)
            })
            .collect();
        let take = choosing.a_round.min(most - chosen.len());
        chosen.extend(best_first(with).into_iter().take(take));
        bar();
    }
    chosen
}

fn mean_recall(prompt: &SeenPrompt, heads: &[usize], choosing: &Choosing) -> f64 {
    mean(
        choosing
            .budgets
            .iter()
            .map(|budget| prompt.recall(heads, *budget)),
    )
}

/// Two halves of the prompts, groups kept together.
pub fn halves(prompts: &[SeenPrompt]) -> (Vec<usize>, Vec<usize>) {
    let groups: BTreeSet<&str> = prompts.iter().map(|prompt| prompt.group.as_str()).collect();
    let side = |group: &str| groups.iter().position(|other| *other == group).unwrap_or(0) % 2;
    (0..prompts.len()).partition(|at| side(&prompts[*at].group) == 0)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), x| (sum + x, count + 1));
    sum / count.max(1) as f64
}

fn standard_error(recalls: &[(usize, f64)]) -> f64 {
    let values = || recalls.iter().map(|(_, recall)| *recall);
    let mean = mean(values());
    let squares: f64 = values().map(|value| (value - mean).powi(2)).sum();
    (squares / (recalls.len().max(2) - 1) as f64 / recalls.len().max(1) as f64).sqrt()
}

/// The lines of `page` that an answer rests on: those with a figure of `key` (three digits and more, no year), or the one
/// that shares most words with it; none where nothing does.
pub fn key_lines<'a>(page: &'a str, key: &str) -> Vec<&'a str> {
    let lines = || page.lines().map(str::trim).filter(|line| !line.is_empty());
    let wanted = figures(key);
    let with_figure: Vec<&str> = lines()
        .filter(|line| figures(line).iter().any(|figure| wanted.contains(figure)))
        .collect();
    if !with_figure.is_empty() {
        return with_figure;
    }
    let asked = words(key);
    let nearest = lines()
        .map(|line| {
            let of = words(line);
            let shared = of.intersection(&asked).count();
            let score = shared as f64 / (of.len() + 1) as f64 * shared.min(4) as f64;
            (score, line)
        })
        .fold(
            (0.0, ""),
            |best, next| if next.0 > best.0 { next } else { best },
        );
    // Less is two common words of a long line.
    if nearest.0 >= 1.0 {
        vec![nearest.1]
    } else {
        Vec::new()
    }
}

/// Numbers of three digits and more as they are written, without separators; no years.
fn figures(text: &str) -> BTreeSet<String> {
    let numeric = |c: char| c.is_ascii_digit() || c == ',' || c == '.';
    text.split(|c| !numeric(c))
        .map(|number| number.trim_matches([',', '.']).replace(',', ""))
        .filter(|number| {
            let digits = number
                .chars()
                .filter(char::is_ascii_digit)
                .collect::<String>();
            let year = number.len() == 4 && (number.starts_with("19") || number.starts_with("20"));
            digits.trim_start_matches('0').len() >= 3 && !year
        })
        .collect()
}

/// Words of three letters and more that say something.
fn words(text: &str) -> BTreeSet<String> {
    const EMPTY: [&str; 22] = [
        "the", "and", "for", "was", "its", "from", "what", "did", "are", "not", "with", "this",
        "that", "has", "have", "which", "were", "year", "years", "fiscal", "company", "been",
    ];
    text.split(|c: char| !c.is_ascii_alphabetic())
        .map(str::to_lowercase)
        .filter(|word| word.len() > 2 && !EMPTY.contains(&word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lines_hold_the_figures_or_the_words() {
        let page = "Cash flows\nNet cash provided by operating activities 7,838 7,230\nOther 12\nIn 2022 it rained";
        assert_eq!(
            key_lines(page, "7838 over 2022"),
            ["Net cash provided by operating activities 7,838 7,230"]
        );
        assert_eq!(
            key_lines(
                page,
                "Cash from operations, called: Net cash provided by operating activities."
            ),
            ["Net cash provided by operating activities 7,838 7,230"]
        );
        assert!(key_lines(page, "Yes, in 2022.").is_empty());
    }

    /// Prompts of twenty pieces, whose evidence is the piece that one head finds in even groups and odd ones alike.
    fn prompts() -> (Vec<SeenPrompt>, Vec<(usize, usize)>) {
        let names: Vec<(usize, usize)> = (0..6).map(|at| (at / 2, at % 2)).collect();
        let prompts = (0..12)
            .map(|at| {
                let evidence = (at * 7) % 20;
                let score = |head: usize, piece: usize| match head {
                    3 => f32::from(u8::from(piece == evidence)),
                    _ => ((piece * 31 + head * 17 + at * 13) % 19) as f32 / 19.0,
                };
                SeenPrompt {
                    group: format!("company {}", at % 4),
                    scores: (0..6)
                        .map(|h| (0..20).map(|p| score(h, p)).collect())
                        .collect(),
                    sizes: (0..20)
                        .map(|p| (10, 10 * usize::from(p == evidence)))
                        .collect(),
                    tail: 5,
                }
            })
            .collect();
        (prompts, names)
    }

    #[test]
    fn the_head_that_finds_is_chosen_and_measured_on_others() {
        let (prompts, names) = prompts();
        let choosing = Choosing {
            budgets: vec![35],
            a_round: 1,
            most: 3,
            layers: 3,
        };
        let chosen = choose(&prompts, &names, &choosing, &|| {});
        assert_eq!(chosen.heads, [3]);
        assert_eq!(chosen.recalls, vec![1.0; 12]);
        // Not among the layers that may be read.
        let early = Choosing {
            layers: 1,
            ..choosing
        };
        let chosen = choose(&prompts, &names, &early, &|| {});
        assert!(chosen.heads.iter().all(|head| *head < 2));
        assert!(chosen.recalls.iter().sum::<f64>() < 8.0);
    }

    #[test]
    fn a_piece_that_does_not_fit_ends_the_choice() {
        let (prompts, _) = prompts();
        assert_eq!(prompts[0].recall(&[3], 14), 0.0, "nine tokens are left");
        assert_eq!(prompts[0].recall(&[3], 15), 1.0);
    }
}
