//! Tokens' bytes in, text out: whole characters only, and nothing from a stop text on.
//!
//! Knows bytes and strings; must not know tokens or models.

/// Joins byte pieces to text. A character cut between two pieces waits for its end; bytes that can
/// never become a character come out as U+FFFD, exactly as [`String::from_utf8_lossy`] would write them.
#[derive(Debug, Default)]
pub struct CharacterStream {
    /// At most three bytes: the start of a character whose end has not come.
    waiting: Vec<u8>,
}

impl CharacterStream {
    /// Adds bytes and gives the characters they complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.waiting.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    // The standard library has just said that these bytes are valid.
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    match error.error_len() {
                        Some(length) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &rest[length..];
                        }
                        None => break,
                    }
                }
            }
        }
        self.waiting = rest.to_vec();
        text
    }

    /// The end: what still waited for its rest, as U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.waiting).into_owned();
        self.waiting.clear();
        text
    }
}

/// Holds text back until it is certain that no stop text begins in it.
#[derive(Debug)]
pub struct StopStream {
    stops: Vec<String>,
    held: String,
}

/// What [`StopStream::push`] lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Text in which no stop text begins.
    Text(String),
    /// The text before a stop text; the output ends here.
    Stopped(String),
}

impl StopStream {
    /// Stops before the first of `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> StopStream {
        StopStream {
            stops: stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .cloned()
                .collect(),
            held: String::new(),
        }
    }

    /// Adds text and gives what may be shown.
    pub fn push(&mut self, text: &str) -> Passed {
        if self.stops.is_empty() {
            return Passed::Text(text.to_string());
        }
        self.held.push_str(text);
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(first) = first {
            let mut shown = std::mem::take(&mut self.held);
            shown.truncate(first);
            return Passed::Stopped(shown);
        }
        let keep = self.longest_start_of_a_stop();
        let rest = self.held.split_off(self.held.len() - keep);
        Passed::Text(std::mem::replace(&mut self.held, rest))
    }

    /// The end: what was held back is no stop text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that a stop text could begin with.
    fn longest_start_of_a_stop(&self) -> usize {
        self.stops
            .iter()
            .flat_map(|stop| {
                stop.char_indices()
                    .map(|(at, _)| at)
                    .filter(|at| self.held.ends_with(&stop[..*at]))
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_wait_for_their_end() {
        let mut stream = CharacterStream::default();
        assert_eq!(stream.push(b"caf\xC3"), "caf");
        assert_eq!(stream.push(b"\xA9 \xF0\x9F"), "é ");
        assert_eq!(stream.push(b"\x92\xB0!"), "💰!");
        assert_eq!(stream.push(b"\xE2\x82"), "");
        assert_eq!(stream.finish(), "\u{FFFD}");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn stops_across_pieces() {
        let stops = ["\nQ:".to_string(), "END".to_string(), String::new()];
        let mut stream = StopStream::new(&stops);
        assert_eq!(stream.push("yes\n"), Passed::Text("yes".into()));
        assert_eq!(stream.push("E"), Passed::Text("\n".into()));
        assert_eq!(stream.push("N"), Passed::Text(String::new()));
        assert_eq!(stream.push("T EN"), Passed::Text("ENT ".into()));
        assert_eq!(stream.push("D\nQ:"), Passed::Stopped(String::new()));
    }

    proptest! {
        /// However bytes are cut into pieces, the text is that of all bytes at once.
        #[test]
        fn pieces_join_to_the_whole(
            parts in prop::collection::vec(
                prop_oneof![
                    any::<char>().prop_map(|c| c.to_string().into_bytes()),
                    prop::collection::vec(any::<u8>(), 1..4),
                ],
                0..30,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes: Vec<u8> = parts.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = CharacterStream::default();
            let mut text = String::new();
            for pair in cuts.windows(2) {
                text.push_str(&stream.push(&bytes[pair[0]..pair[1]]));
            }
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        /// What passes is the text before the first stop text, however it arrives.
        #[test]
        fn stop_is_where_it_is_in_the_whole(
            text in "[abé]{0,24}",
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
            step in 1usize..5,
        ) {
            let expected = match stops.iter().filter_map(|stop| text.find(stop.as_str())).min() {
                Some(first) => &text[..first],
                None => text.as_str(),
            };
            let mut stream = StopStream::new(&stops);
            let mut shown = String::new();
            let characters: Vec<char> = text.chars().collect();
            let mut stopped = false;
            for piece in characters.chunks(step) {
                match stream.push(&piece.iter().collect::<String>()) {
                    Passed::Text(more) => shown.push_str(&more),
                    Passed::Stopped(more) => {
                        shown.push_str(&more);
                        stopped = true;
                        break;
                    }
                }
            }
            if !stopped {
                shown.push_str(&stream.finish());
            }
            // A later piece may hold an earlier start of a stop text than the piece that completes
            // another: only the first completed one can end the output.
            prop_assert!(expected.len() <= shown.len() && shown.starts_with(expected));
            prop_assert!(stops.iter().all(|stop| !shown.contains(stop.as_str())));
        }
    }
}
