//! From importance scores to the tokens that stay: SpecPC's selection (arXiv:2506.08373, as released),
//! with its open points decided.
//!
//! Max-pool, best positions first, each with its neighbours, the window before all, cut at the budget,
//! sorted. Decided here: equal scores go by position, protected tokens stay whatever their scores, and
//! a budget too small for window and protected tokens is an error. Must not know models.

use std::ops::Range;

use crate::EngineError;

/// How to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Tokens that stay, at most.
    pub budget: usize,
    /// Last tokens that always stay: the question's.
    pub window: usize,
    /// Width of the max-pool.
    pub kernel: usize,
    /// Tokens claimed around each best position.
    pub neighbours: usize,
}

/// The positions that stay, rising. `protected` ranges always do.
///
/// # Errors
/// [`EngineError::Request`] where the budget does not hold the window and the protected tokens.
pub fn select(
    scores: &[f32],
    selection: &Selection,
    protected: &[Range<usize>],
) -> Result<Vec<usize>, EngineError> {
    let tokens = scores.len();
    if tokens <= selection.budget {
        return Ok((0..tokens).collect());
    }
    let window = selection.window.min(tokens);
    let mut kept = must_stay(tokens, window, protected);
    let mut count = room_for(&kept, selection.budget, window)?;
    let pooled = max_pool(scores, selection.kernel.max(1));
    let mut order: Vec<usize> = (0..tokens).collect();
    order.sort_by(|a, b| pooled[*b].total_cmp(&pooled[*a]).then(a.cmp(b)));
    order.truncate(selection.budget);
    let reach = selection.neighbours.max(1) as isize;
    let before = (reach - 1) / 2;
    let mut offsets: Vec<isize> = (-before..reach - before).collect();
    offsets.sort_by_key(|offset| (offset.abs(), *offset));
    'fill: for position in order {
        for offset in &offsets {
            if count == selection.budget {
                break 'fill;
            }
            let at = (position as isize + offset).clamp(0, tokens as isize - 1) as usize;
            if !kept[at] {
                kept[at] = true;
                count += 1;
            }
        }
    }
    Ok((0..tokens).filter(|at| kept[*at]).collect())
}

/// The positions that stay, rising, where whole pieces are chosen: those of the best scores, better ones first; of the first
/// that does not fit its beginning. `ends` are where pieces end, rising, the last of them the last scored position's; a
/// piece's score is its best token's. Equal scores go by position.
///
/// # Errors
/// [`EngineError::Request`] where the budget does not hold the window and the protected tokens.
pub fn select_pieces(
    scores: &[f32],
    ends: &[usize],
    budget: usize,
    window: usize,
    protected: &[Range<usize>],
) -> Result<Vec<usize>, EngineError> {
    let tokens = scores.len();
    if tokens <= budget {
        return Ok((0..tokens).collect());
    }
    let mut kept = must_stay(tokens, window, protected);
    let mut left = budget - room_for(&kept, budget, window.min(tokens))?;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let mut pieces: Vec<(f32, Range<usize>)> = starts
        .zip(ends.iter().copied())
        .filter(|(start, end)| start < end && *end <= tokens)
        .map(|(start, end)| {
            let best = scores[start..end].iter().copied();
            (best.fold(f32::NEG_INFINITY, f32::max), start..end)
        })
        .collect();
    pieces.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.start.cmp(&b.1.start)));
    for at in pieces.into_iter().flat_map(|(_, piece)| piece) {
        if left == 0 {
            break;
        }
        if !kept[at] {
            kept[at] = true;
            left -= 1;
        }
    }
    Ok((0..tokens).filter(|at| kept[*at]).collect())
}

/// How the pairs of one KV head are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairSelection {
    /// Pairs that stay.
    pub budget: usize,
    /// Last positions that always stay.
    pub window: usize,
    /// Width of the max-pool, odd.
    pub kernel: usize,
}

/// The positions whose pairs stay, rising: the last ones, the protected ones, and those of the best pooled scores;
/// equal scores go by position.
///
/// # Errors
/// [`EngineError::Request`] where the budget does not hold the last and the protected positions.
pub fn choose_pairs(
    scores: &[f32],
    selection: &PairSelection,
    protected: &[Range<usize>],
) -> Result<Vec<usize>, EngineError> {
    let positions = scores.len();
    if positions <= selection.budget {
        return Ok((0..positions).collect());
    }
    let mut kept = must_stay(positions, selection.window, protected);
    let room = selection.budget - room_for(&kept, selection.budget, selection.window)?;
    let pooled = max_pool(scores, selection.kernel.max(1));
    let mut order: Vec<usize> = (0..positions).filter(|at| !kept[*at]).collect();
    order.sort_by(|a, b| pooled[*b].total_cmp(&pooled[*a]).then(a.cmp(b)));
    // Every head keeps as many: a layer's heads stand side by side in blocks.
    for at in order.into_iter().take(room) {
        kept[at] = true;
    }
    Ok((0..positions).filter(|at| kept[*at]).collect())
}

/// The last `window` positions and the protected ones.
fn must_stay(positions: usize, window: usize, protected: &[Range<usize>]) -> Vec<bool> {
    let mut kept = vec![false; positions];
    kept[positions - window.min(positions)..].fill(true);
    for range in protected {
        kept[range.start.min(positions)..range.end.min(positions)].fill(true);
    }
    kept
}

/// How many must stay, where the budget holds them.
fn room_for(kept: &[bool], budget: usize, window: usize) -> Result<usize, EngineError> {
    let count = kept.iter().filter(|kept| **kept).count();
    if count > budget {
        return Err(EngineError::Request(format!(
            "a budget of {budget} tokens does not hold the {window} last tokens and what is protected ({count} in all); \
             ask for more, or protect less"
        )));
    }
    Ok(count)
}

/// The largest of each position's neighbourhood, zeros beyond the ends.
fn max_pool(scores: &[f32], kernel: usize) -> Vec<f32> {
    let (left, right) = ((kernel - 1) / 2, kernel / 2);
    // Positions of a falling queue: the first is the largest of the neighbourhood.
    let mut queue = std::collections::VecDeque::new();
    let mut pooled = Vec::with_capacity(scores.len());
    for at in 0..scores.len() + right {
        if let Some(score) = scores.get(at) {
            while queue
                .back()
                .is_some_and(|last: &usize| scores[*last] <= *score)
            {
                queue.pop_back();
            }
            queue.push_back(at);
        }
        let Some(centre) = at.checked_sub(right) else {
            continue;
        };
        while queue.front().is_some_and(|first| first + left < centre) {
            queue.pop_front();
        }
        let best = queue.front().map_or(0.0, |first| scores[*first]);
        let padded = centre < left || centre + right >= scores.len();
        pooled.push(if padded { best.max(0.0) } else { best });
    }
    pooled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_head_keeps_as_many_pairs_and_the_best() {
        let mut scores = vec![0.0; 100];
        (scores[10], scores[40], scores[97]) = (0.5, 0.9, 0.95);
        let selection = PairSelection {
            budget: 20,
            window: 8,
            kernel: 7,
        };
        let kept = choose_pairs(&scores, &selection, std::slice::from_ref(&(2..4))).unwrap();
        let mut want: Vec<usize> = (92..100).chain(2..4).chain(37..44).collect();
        // The pool of 97 begins at 94, within the window; then comes the peak at 10, from its left.
        want.extend([7, 8, 9]);
        want.sort_unstable();
        assert_eq!(kept, want);
        assert_eq!(
            choose_pairs(&[0.0; 100], &selection, &[]).unwrap().len(),
            20
        );
        assert_eq!(
            choose_pairs(&scores[..20], &selection, &[]).unwrap().len(),
            20
        );
        let error = choose_pairs(&scores, &selection, std::slice::from_ref(&(0..50))).unwrap_err();
        assert!(error.to_string().contains("58 in all"), "{error}");
    }

    proptest! {
        #[test]
        fn pieces_stay_whole_best_first(
            scores in prop::collection::vec(0.0_f32..1.0, 1..120),
            cuts in prop::collection::btree_set(1_usize..120, 0..20),
            budget in 4_usize..60,
        ) {
            let tokens = scores.len();
            let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < tokens).collect();
            ends.push(tokens);
            let kept = select_pieces(&scores, &ends, budget, 3, &[]).unwrap();
            prop_assert_eq!(kept.len(), budget.min(tokens));
            prop_assert!(kept.is_sorted() && (tokens.saturating_sub(3)..tokens).all(|at| kept.contains(&at)));
            let more = select_pieces(&scores, &ends, budget + 5, 3, &[]).unwrap();
            prop_assert!(kept.iter().all(|at| more.contains(at)), "a larger budget keeps the same and more");
            // At most one piece is cut, and the window's; a piece that is left out is no better than one that stays.
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let pieces: Vec<(usize, usize, f32)> = starts
                .zip(ends.iter().copied())
                .filter(|(_, end)| *end + 3 <= tokens)
                .map(|(a, b)| (a, b, scores[a..b].iter().copied().fold(0.0, f32::max)))
                .collect();
            let share = |a: usize, b: usize| (a..b).filter(|at| kept.contains(at)).count();
            let cut = pieces.iter().filter(|(a, b, _)| (1..b - a).contains(&share(*a, *b)));
            prop_assert!(cut.count() <= 1);
            for (a, b, best) in &pieces {
                for (c, d, other) in &pieces {
                    prop_assert!(share(*a, *b) == b - a || share(*c, *d) == 0 || other >= best);
                }
            }
        }
    }

    fn plain_pool(scores: &[f32], kernel: usize) -> Vec<f32> {
        let (left, right) = ((kernel - 1) / 2, kernel / 2);
        (0..scores.len())
            .map(|at| {
                let from = at.saturating_sub(left);
                let to = (at + right + 1).min(scores.len());
                let padded = at < left || at + right >= scores.len();
                let best = scores[from..to]
                    .iter()
                    .copied()
                    .fold(f32::NEG_INFINITY, f32::max);
                if padded { best.max(0.0) } else { best }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_pool_is_the_plain_one(scores in prop::collection::vec(-1.0_f32..1.0, 0..90), kernel in 1_usize..20) {
            prop_assert_eq!(max_pool(&scores, kernel), plain_pool(&scores, kernel));
        }

        /// Exactly the budget, rising, with window and protected tokens.
        #[test]
        fn the_budget_is_kept_and_what_must_stay_stays(
            scores in prop::collection::vec(0.0_f32..1.0, 1..300),
            budget in 20_usize..200,
            protect in 0_usize..250,
        ) {
            let selection = Selection { budget, window: 12, kernel: 8, neighbours: 8 };
            let protected = std::iter::once(protect..protect + 6).collect::<Vec<_>>();
            let kept = select(&scores, &selection, &protected).unwrap();
            prop_assert_eq!(kept.len(), budget.min(scores.len()));
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            for at in (scores.len().saturating_sub(12)..scores.len()).chain(protect..protect + 6) {
                prop_assert!(at >= scores.len() || kept.contains(&at));
            }
        }
    }

    #[test]
    fn selections_are_those_of_the_released_functions() {
        let Some(path) = footnote_testkit::shared("fixtures/specpc/fixtures.json") else {
            footnote_testkit::skip(module_path!(), "no ../shared/fixtures/specpc");
            return;
        };
        let fixtures: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in fixtures["selection"].as_array().unwrap() {
            let count = |name: &str| case[name].as_u64().unwrap() as usize;
            let list = |name: &str| -> Vec<usize> {
                case[name]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_u64().unwrap() as usize)
                    .collect()
            };
            let scores: Vec<f32> = case["scores"]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap() as f32)
                .collect();
            let selection = Selection {
                budget: count("C"),
                window: count("window"),
                kernel: count("kernel"),
                neighbours: count("neighbor"),
            };
            let outcome = select(&scores, &selection, &[]);
            if selection.budget < selection.window && selection.budget < scores.len() {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("budget of 40"), "{error}");
                continue;
            }
            assert_eq!(
                outcome.unwrap(),
                list("deterministic_ref"),
                "{}",
                case["name"]
            );
        }
    }
}
