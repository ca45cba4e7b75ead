//! Who takes part in a call and which lines say that somebody begins to speak.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::Part;
use super::sections;

/// A call never has more people on it; a longer list is no list of participants.
const MAX_PEOPLE: usize = 300;

/// What a line turned out to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Somebody begins to speak.
    Speaker {
        name: &'a str,
        role: Option<&'a str>,
    },
    /// What is said.
    Speech(&'a str),
    /// The title line below a name line, already taken with the name.
    TitleLine,
}

/// The people of a call, and which layout of speaker lines it uses.
#[derive(Debug, Default)]
pub(super) struct Cast {
    /// Title (or firm) by name; empty where none is stated.
    titles: HashMap<String, String>,
    /// The one name that goes with a title.
    by_title: HashMap<String, Option<String>>,
    /// Whether `Name: speech` paragraphs are the layout.
    colon_layout: bool,
    /// Labels seen before a colon, with how often.
    labels: HashMap<String, usize>,
}

static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([\p{Lu}][^:\n|]{0,59}):(?:\s|\p{L}|\[|<|$)").expect("a valid pattern")
});

/// Words before a colon that are no names.
const NOT_NAMES: [&str; 17] = [
    "note",
    "image source",
    "source",
    "date",
    "question",
    "answer",
    "duration",
    "nasdaq",
    "nyse",
    "first",
    "second",
    "third",
    "finally",
    "disclaimer",
    "contact",
    "contacts",
    "time",
];

impl Cast {
    /// Reads the participant lists of a transcript and sees how its speaker lines look.
    pub(super) fn gather(lines: &[&str]) -> Cast {
        let mut cast = Cast::default();
        let mut in_list = false;
        let mut last_name: Option<String> = None;
        let mut pending = String::new();
        let mut paragraphs = 0;
        for line in lines {
            if line.is_empty() {
                continue;
            }
            paragraphs += 1;
            if let Some(part) = sections::marker(line) {
                in_list = part == Part::Participants;
                last_name = None;
                continue;
            }
            if let Some(label) = label_of(line) {
                *cast.labels.entry(label.to_owned()).or_default() += 1;
            }
            if !in_list || cast.titles.len() >= MAX_PEOPLE {
                continue;
            }
            if line.len() > 160 {
                in_list = false;
                continue;
            }
            let joined = if pending.is_empty() {
                (*line).to_owned()
            } else {
                format!("{} {line}", std::mem::take(&mut pending))
            };
            if let Some((name, title)) = split_title(&joined) {
                last_name = Some(name.to_owned());
                cast.add(name, title);
            } else if joined.len() <= 4 && joined.ends_with('.') {
                // An initial on a line of its own.
                pending = joined;
            } else if looks_like_name(&joined) {
                last_name = Some(joined.clone());
                cast.add(&joined, "");
            } else if let Some(name) = &last_name {
                // A title broken over two lines.
                let name = name.clone();
                let title = cast.titles.get(&name).map_or("", String::as_str);
                let title = format!("{title} {joined}");
                cast.add(&name, &title);
            }
        }
        for (name, title) in &cast.titles {
            if !title.is_empty() {
                cast.by_title
                    .entry(title.clone())
                    .and_modify(|known| *known = None)
                    .or_insert_with(|| Some(name.clone()));
                // Firms are also used without their department.
                if let Some((firm, _)) = title.split_once(", Research Division") {
                    cast.by_title
                        .entry(firm.to_owned())
                        .and_modify(|known| *known = None)
                        .or_insert_with(|| Some(name.clone()));
                }
            }
        }
        let labelled: usize = cast.labels.values().sum();
        cast.colon_layout = labelled >= 4 && labelled * 5 >= paragraphs
            || cast.labels.values().any(|count| *count >= 4);
        cast
    }

    fn add(&mut self, name: &str, title: &str) {
        self.titles.insert(name.to_owned(), title.trim().to_owned());
    }

    /// Whether a line belongs to a participant list.
    pub(super) fn is_listed(&self, line: &str) -> bool {
        match split_title(line) {
            Some((name, _)) => self.titles.contains_key(name),
            None => {
                self.titles.contains_key(line) && line != "Operator"
                    || self.titles.values().any(|title| title.ends_with(line))
                    || (line.len() <= 4 && line.ends_with('.'))
            }
        }
    }

    /// What a line says, given the lines around it.
    pub(super) fn parse<'a>(
        &'a self,
        line: &'a str,
        previous: &str,
        next: &'a str,
    ) -> Vec<Said<'a>> {
        if !previous.is_empty() && self.ends_with_titled_name(previous, line).is_some() {
            return vec![Said::TitleLine];
        }
        if let Some((name, role)) = self.ends_with_titled_name(line, next) {
            let before = line[..line.len() - name.len()].trim_end();
            let mut said = Vec::new();
            if !before.is_empty() {
                said.push(Said::Speech(before));
            }
            said.push(Said::Speaker {
                name,
                role: Some(role),
            });
            return said;
        }
        if is_operator(line) || (self.titles.contains_key(line) && previous.is_empty()) {
            let role = self.titles.get(line).map(String::as_str);
            return vec![Said::Speaker {
                name: line,
                role: role.filter(|role| !role.is_empty()),
            }];
        }
        if let Some((name, role)) = split_title(line).filter(|_| line.contains("--"))
            && previous.is_empty()
        {
            return vec![Said::Speaker {
                name,
                role: Some(role),
            }];
        }
        if let Some(said) = self.parse_label(line) {
            return said;
        }
        self.split_inner_names(line)
    }

    /// `Name: speech`, `Name: Title speech`, `Title: speech`.
    fn parse_label<'a>(&'a self, line: &'a str) -> Option<Vec<Said<'a>>> {
        let label = label_of(line)?;
        let speech = line[label.len() + 1..].trim_start();
        let known_title = self.by_title.get(label);
        let known = self.titles.contains_key(label) || known_title.is_some() || is_operator(label);
        let seen = self.labels.get(label).copied().unwrap_or(0);
        if !known && !(self.colon_layout && (looks_like_name(label) || seen >= 3)) {
            return None;
        }
        let (name, role) = match (self.titles.get(label), known_title) {
            (Some(title), _) => (label, Some(title.as_str())),
            (None, Some(Some(name))) => (name.as_str(), Some(label)),
            (None, _) => (label, None),
        };
        let role = role.filter(|role| !role.is_empty());
        let mut said = vec![Said::Speaker { name, role }];
        let speech = role.map_or(speech, |role| {
            speech.strip_prefix(role).unwrap_or(speech).trim_start()
        });
        if !speech.is_empty() {
            said.extend(self.split_inner_names(speech));
        }
        Some(said)
    }

    /// `… with Ladenburg. Floris Van Dijkum Ladenburg Thalmann & Co. So I guess …`: a known name with
    /// its known title inside a line.
    fn split_inner_names<'a>(&'a self, line: &'a str) -> Vec<Said<'a>> {
        let found = self
            .titles
            .iter()
            .filter(|(_, title)| !title.is_empty())
            .filter_map(|(name, title)| {
                let at = line.find(name.as_str())?;
                let rest = line[at + name.len()..].strip_prefix(' ')?;
                rest.starts_with(title.as_str())
                    .then_some((at, name.as_str(), title.as_str()))
            })
            .min();
        let Some((at, name, title)) = found else {
            return vec![Said::Speech(line)];
        };
        let mut said = Vec::new();
        let before = line[..at].trim_end();
        if !before.is_empty() {
            said.push(Said::Speech(before));
        }
        said.push(Said::Speaker {
            name,
            role: Some(title),
        });
        let after = line[at + name.len() + 1 + title.len()..].trim_start();
        if !after.is_empty() {
            said.push(Said::Speech(after));
        }
        said
    }

    /// The name at the end of `line` whose title is `next`.
    fn ends_with_titled_name<'a>(
        &'a self,
        line: &str,
        next: &'a str,
    ) -> Option<(&'a str, &'a str)> {
        if next.is_empty() {
            return None;
        }
        self.titles
            .iter()
            .find(|(name, title)| {
                !title.is_empty()
                    && title.as_str() == next
                    && line
                        .strip_suffix(name.as_str())
                        .is_some_and(|before| before.is_empty() || before.ends_with(' '))
            })
            .map(|(name, title)| (name.as_str(), title.as_str()))
    }
}

/// What stands before the colon, when it could be a speaker's label.
fn label_of(line: &str) -> Option<&str> {
    let label = LABEL.captures(line)?.get(1)?.as_str();
    let lower = label.to_lowercase();
    (!NOT_NAMES.contains(&lower.as_str()) && label.split_whitespace().count() <= 6).then_some(label)
}

fn is_operator(text: &str) -> bool {
    matches!(
        text,
        "Operator"
            | "OPERATOR"
            | "Moderator"
            | "Unidentified Analyst"
            | "Unidentified Speaker"
            | "Unidentified Company Representative"
            | "Unknown Analyst"
            | "Unknown Speaker"
    )
}

/// `Name - Title`, `Name--Title`, `Name -- Title`.
fn split_title(line: &str) -> Option<(&str, &str)> {
    let at = [" - ", " – ", " — ", "--"]
        .iter()
        .filter_map(|dash| line.find(dash).map(|at| (at, dash.len())))
        .min()?;
    let name = line[..at.0].trim();
    let title = line[at.0 + at.1..]
        .trim_start_matches(['-', '–', '—', ' '])
        .trim();
    (looks_like_name(name) && !title.is_empty() && line.len() <= 160).then_some((name, title))
}

/// One to six words, capitalised but for particles, without digits or sentence marks.
fn looks_like_name(text: &str) -> bool {
    static PARTICLES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        [
            "van", "von", "de", "der", "den", "da", "di", "del", "la", "le", "of", "bin", "al",
        ]
        .into()
    });
    let numbered_speaker = text
        .strip_prefix("Speaker ")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if numbered_speaker {
        return true;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    (1..=6).contains(&words.len())
        && text.len() <= 60
        && !text.contains(|c: char| c.is_ascii_digit() || matches!(c, '?' | '!' | '%' | '$' | ';'))
        && words.iter().all(|word| {
            word.starts_with(|c: char| c.is_uppercase() || matches!(c, '(' | '"' | '“' | '\''))
                || PARTICLES.contains(word)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_names_from_sentences() {
        for (text, is_name) in [
            ("Ada Quill", true),
            ("L. Erika Penala", true),
            ("Floris van der Berg", true),
            ("Speaker 1", true),
            ("And so we grew", false),
            ("Revenue of 5", false),
            ("What now?", false),
        ] {
            assert_eq!(looks_like_name(text), is_name, "{text}");
        }
    }

    #[test]
    fn splits_names_from_titles() {
        assert_eq!(
            split_title("Ada Quill--Needham and Company -- Analyst"),
            Some(("Ada Quill", "Needham and Company -- Analyst"))
        );
        assert_eq!(split_title("We grew - and then some"), None);
    }
}
