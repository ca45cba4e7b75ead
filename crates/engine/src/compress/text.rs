//! What stays of a prompt, as text for people and for models that read text: whole words, in order, with a mark where
//! something was left out.
//!
//! Must not know models or policies.

use std::ops::Range;

/// Stands where something was left out.
pub const GAP: &str = "[…]";

/// The stretches of `text` of which every byte stays, cut back to whole words: a figure of which only some digits stayed is
/// gone, never another figure. Rising, none touching the next.
pub fn whole_words(text: &str, stays: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    // Whether the word before the present one stayed.
    let mut running = false;
    for word in words(text) {
        let kept = word.clone().all(&stays);
        match spans.last_mut() {
            Some(last) if kept && running => last.end = word.end,
            _ if kept => spans.push(word),
            _ => {}
        }
        running = kept;
    }
    spans
}

/// The stretches one after another, with a mark for each that is left out before, between and after them.
pub fn joined(text: &str, spans: &[Range<usize>]) -> String {
    let mut out = String::new();
    let mut from = 0;
    for span in spans {
        leave_out(&text[from..span.start], &mut out);
        out.push_str(&text[span.clone()]);
        from = span.end;
    }
    leave_out(&text[from..], &mut out);
    out
}

/// A mark for what is left out, on a line of its own where a line ended in it; what has no words needs none.
fn leave_out(text: &str, out: &mut String) {
    let Some(first) = text.find(|c: char| !c.is_whitespace()) else {
        out.push_str(text);
        return;
    };
    let last = text.trim_end().len();
    let side = |space: &str| match space {
        space if space.contains('\n') => "\n",
        "" => "",
        _ => " ",
    };
    out.push_str(side(&text[..first]));
    out.push_str(GAP);
    out.push_str(side(&text[last..]));
}

/// The words of a text: what stands between white space.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let start = text.as_ptr() as usize;
    text.split_whitespace().map(move |word| {
        let at = word.as_ptr() as usize - start;
        at..at + word.len()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_figure_cut_in_half_is_left_out_whole() {
        let text = "Net sales were 1,234 in 2023\nand less before.";
        let stays = |at: usize| !(17..30).contains(&at);
        let spans = whole_words(text, stays);
        assert_eq!(joined(text, &spans), "Net sales were […] less before.");
        let spans = whole_words(text, |at| at < 20);
        assert_eq!(joined(text, &spans), "Net sales were 1,234 […]");
        let spans = whole_words(text, |at| at > 28);
        assert_eq!(joined(text, &spans), "[…]\nand less before.");
        assert_eq!(joined(text, &whole_words(text, |_| false)), GAP);
    }

    proptest! {
        #[test]
        fn spans_are_whole_words_that_stay(text in "[a-zé0-9,.𝄞 \n]{0,60}", kept in prop::collection::vec(any::<bool>(), 256)) {
            let spans = whole_words(&text, |at| kept[at]);
            let mut end = None;
            for span in &spans {
                prop_assert!(span.start < span.end && end.is_none_or(|end| end < span.start));
                prop_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
                let before = text[..span.start].chars().next_back();
                let after = text[span.end..].chars().next();
                prop_assert!(before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace));
                for word in words(&text[span.clone()]) {
                    prop_assert!(word.clone().all(|at| kept[span.start + at]));
                }
                end = Some(span.end);
            }
            // No whole word that stays is lost.
            for word in words(&text).filter(|word| word.clone().all(|at| kept[at])) {
                prop_assert!(spans.iter().any(|span| span.start <= word.start && word.end <= span.end));
            }
            if spans.len() == 1 && spans[0] == (0..text.len()) {
                prop_assert_eq!(joined(&text, &spans), text);
            }
        }
    }
}
