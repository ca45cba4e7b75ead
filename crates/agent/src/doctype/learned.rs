//! A document-type ranker learned from labelled questions: a stack of a ridge regression of each type's grade on
//! cue words (and, where that helps on wordings not seen, on the words themselves) and of a linear probe over the
//! question's vector, where an embedder is at hand. Scores are calibrated to probabilities.
//!
//! What is saved holds weights, words and counts, never a question. Must not know files of datasets or
//! metrics beyond the one it chooses its settings by.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use footnote_engine::Embedder;
use serde::{Deserialize, Serialize};

use super::calibration;
use super::probe::{PENALTY, Probe};
use super::ridge::{self, Fit};
use super::selection::Inner;
use super::wording::{self, CUES};
use crate::{AgentError, DocTypeRanker, DocTypeRanking};

/// The file of a saved ranker in its folder.
const FILE: &str = "ranker.json";
/// The version this build reads and writes.
const FORMAT: u32 = 2;
/// The largest file read.
const MAX_BYTES: u64 = 16 << 20;
/// Most words and pairs that carry a weight.
const MAX_TERMS: usize = 800;
/// A term of fewer questions tells nothing.
const LEAST_QUESTIONS: usize = 3;
/// Weight of the probe beside the cues. Not chosen by cross-validation: from 0.3 to 1.5 what it is worth does not
/// change by more than chance, and choosing among them costs more than it gains.
const PROBE_SHARE: f64 = 0.6;

/// A labelled question to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledQuestion {
    /// Its text.
    pub question: String,
    /// Grade of each type in the order of [`DocType::ALL`](footnote_filings::DocType::ALL); larger is more useful.
    pub grades: [u32; 5],
}

/// What a ranker was learned from, saved beside its weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// File names of the datasets.
    pub datasets: Vec<String>,
    /// Their SHA-256, in hexadecimal.
    pub sha256: Vec<String>,
    /// Questions learned from.
    pub questions: usize,
    /// Records left out.
    pub left_out: usize,
    /// Companies that the questions name.
    pub companies: usize,
    /// Wordings among them, companies aside.
    pub templates: usize,
    /// What to mind before the ranker is passed on.
    pub licence_note: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    format: u32,
    cues: Vec<String>,
    terms: Vec<Term>,
    /// One row a cue, then one a term; one number a type.
    weights: Vec<Vec<f64>>,
    offset: Vec<f64>,
    settings: Settings,
    /// The probe that the cues are stacked with, where it helps.
    probe: Option<SavedProbe>,
    /// Divides the scores before they become probabilities.
    temperature: f64,
    trained_on: TrainedOn,
    /// What cross-validation said, as the trainer reports it.
    report: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Term {
    text: String,
    /// Inverse document frequency, times the share of the words.
    factor: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedProbe {
    /// Whose vectors it reads.
    embedder: String,
    width: usize,
    /// Its weight beside the cues.
    share: f64,
    probe: Probe,
}

/// Vectors of the questions that a ranker is fitted on.
pub struct Vectors<'a> {
    /// Whose they are.
    pub embedder: &'a dyn Embedder,
    /// One a question.
    pub vectors: &'a [Vec<f32>],
}

/// How the words were weighed and the weights held small.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Mean square of a question's words beside that of its cues.
    pub term_share: f64,
    /// Squared penalty.
    pub penalty: f64,
}

/// Orders kinds of document by what labelled questions taught.
#[derive(Clone)]
pub struct LearnedOrder {
    saved: Saved,
    embedder: Option<Arc<dyn Embedder>>,
}

impl LearnedOrder {
    /// Learns from `questions`, settings chosen by cross-validation over wordings within them. With vectors a probe is
    /// stacked on the cues, and the ranker needs their [`embedder`](Self::embedder).
    ///
    /// # Errors
    /// [`AgentError::Ranker`] for fewer than ten questions, or where there is not a vector for each.
    pub fn fit(
        questions: &[LabelledQuestion],
        vectors: Option<&Vectors>,
    ) -> Result<LearnedOrder, AgentError> {
        if questions.len() < 10 {
            return Err(broken(
                format!(
                    "{} labelled questions are too few to learn from",
                    questions.len()
                ),
                "give at least 10",
            ));
        }
        if let Some(vectors) = vectors
            && vectors.vectors.len() != questions.len()
        {
            return Err(broken(
                format!(
                    "{} vectors for {} questions",
                    vectors.vectors.len(),
                    questions.len()
                ),
                "embed every question",
            ));
        }
        let inner = Inner::new(questions);
        let (settings, mut scores) = inner.best_cues();
        let every: Vec<usize> = (0..questions.len()).collect();
        let mut fitted = fit_with(questions, &inner.masked, &every, settings);
        if let Some(vectors) = vectors {
            scores = inner.with_probe(&scores, vectors.vectors);
            fitted.saved.probe = Some(SavedProbe {
                embedder: vectors.embedder.name().to_owned(),
                width: vectors.embedder.width(),
                share: PROBE_SHARE,
                probe: fit_probe(questions, vectors.vectors, &every),
            });
        }
        let grades: Vec<[u32; 5]> = questions.iter().map(|question| question.grades).collect();
        fitted.saved.temperature = calibration::temperature(&scores, &grades);
        Ok(fitted)
    }

    /// The embedder without which this ranker cannot rank, by name; none where it reads words alone.
    pub fn embedder(&self) -> Option<&str> {
        self.saved
            .probe
            .as_ref()
            .map(|probe| probe.embedder.as_str())
    }

    /// The same ranker reading questions by `embedder`.
    ///
    /// # Errors
    /// [`AgentError::Ranker`] where it learned from another embedder's vectors.
    pub fn with_embedder(
        mut self,
        embedder: Arc<dyn Embedder>,
    ) -> Result<LearnedOrder, AgentError> {
        if let Some(probe) = &self.saved.probe
            && (probe.embedder != embedder.name() || probe.width != embedder.width())
        {
            return Err(broken(
                format!(
                    "it learned from vectors of {}, not of {}",
                    probe.embedder,
                    embedder.name()
                ),
                "open the model that it names, or train it again",
            ));
        }
        self.embedder = Some(embedder);
        Ok(self)
    }

    /// Reads a ranker that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`AgentError::Ranker`] where the folder has none, or one this build does not read.
    pub fn open(folder: &Path) -> Result<LearnedOrder, AgentError> {
        let file = folder.join(FILE);
        let fail = |why: String| {
            broken(
                format!("{}: {why}", file.display()),
                "train one with `footnote train doc-types`",
            )
        };
        let size = fs::metadata(&file)
            .map_err(|error| fail(error.to_string()))?
            .len();
        if size > MAX_BYTES {
            return Err(fail(format!("{size} bytes are no ranker")));
        }
        let text = fs::read_to_string(&file).map_err(|error| fail(error.to_string()))?;
        let saved: Saved = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let shape = saved.weights.len() == CUES.len() + saved.terms.len()
            && saved.weights.iter().all(|row| row.len() == 5)
            && saved.offset.len() == 5
            && saved
                .cues
                .iter()
                .map(String::as_str)
                .eq(CUES.iter().map(|cue| cue.name));
        let finite = saved
            .weights
            .iter()
            .flatten()
            .chain(&saved.offset)
            .chain(saved.terms.iter().map(|term| &term.factor))
            .all(|number| number.is_finite());
        let probe = saved
            .probe
            .as_ref()
            .is_none_or(|probe| probe.share.is_finite() && probe.probe.is_sound(probe.width));
        let calibrated = saved.temperature.is_finite() && saved.temperature > 0.0;
        if saved.format != FORMAT || !shape || !finite || !probe || !calibrated {
            return Err(fail("it is damaged or of another version".to_owned()));
        }
        Ok(LearnedOrder {
            saved,
            embedder: None,
        })
    }

    /// Writes the ranker into `folder`, whole or not at all.
    ///
    /// # Errors
    /// [`AgentError::Ranker`] where the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), AgentError> {
        let fail = |error: std::io::Error| {
            broken(
                format!("cannot write {}: {error}", folder.display()),
                "choose another folder with --out",
            )
        };
        fs::create_dir_all(folder).map_err(fail)?;
        let text = serde_json::to_string_pretty(&self.saved)
            .map_err(|error| fail(std::io::Error::other(error)))?;
        let draft = folder.join(format!("{FILE}.part"));
        fs::write(&draft, text + "\n").map_err(fail)?;
        fs::rename(&draft, folder.join(FILE)).map_err(fail)
    }

    /// The same ranker with what it was learned from and how it did.
    #[must_use]
    pub fn with_record(mut self, trained_on: TrainedOn, report: serde_json::Value) -> LearnedOrder {
        self.saved.trained_on = trained_on;
        self.saved.report = report;
        self
    }

    /// What it was learned from.
    pub fn trained_on(&self) -> &TrainedOn {
        &self.saved.trained_on
    }

    /// The settings that were chosen.
    pub fn settings(&self) -> Settings {
        self.saved.settings
    }

    /// Expected grade of each type in the order of [`DocType::ALL`](footnote_filings::DocType::ALL), summed over the stack.
    ///
    /// # Errors
    /// Where it needs an embedder and has none, or that fails.
    pub fn scores(&self, question: &str) -> Result<[f64; 5], AgentError> {
        let cues = self.cue_scores(question);
        let Some(probe) = &self.saved.probe else {
            return Ok(cues);
        };
        let embedder = self.embedder.as_ref().ok_or_else(|| {
            broken(
                format!(
                    "it reads questions by {}, which is not open",
                    probe.embedder
                ),
                "fetch that model",
            )
        })?;
        let vectors = embedder.embed(&[question])?;
        let vector = vectors.first().map_or(&[][..], Vec::as_slice);
        Ok(probe.join(&cues, vector))
    }

    /// The same for a question whose vector is known already.
    pub fn scores_of(&self, question: &str, vector: Option<&[f32]>) -> [f64; 5] {
        let cues = self.cue_scores(question);
        match (&self.saved.probe, vector) {
            (Some(probe), Some(vector)) => probe.join(&cues, vector),
            _ => cues,
        }
    }

    /// Probability that each type is of the highest grade, from its scores; calibrated on wordings that the ranker
    /// was not fitted on.
    pub fn probabilities(&self, scores: &[f64; 5]) -> [f64; 5] {
        calibration::probabilities(scores, self.saved.temperature)
    }

    pub(super) fn cue_scores(&self, question: &str) -> [f64; 5] {
        let features = features(&wording::masked(question), &self.saved.terms);
        let mut scores = [0.0; 5];
        for (kind, score) in scores.iter_mut().enumerate() {
            *score = self.saved.offset[kind]
                + features
                    .iter()
                    .zip(&self.saved.weights)
                    .map(|(feature, weight)| feature * weight[kind])
                    .sum::<f64>();
        }
        scores
    }
}

impl DocTypeRanker for LearnedOrder {
    fn name(&self) -> &str {
        "learned"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let scores = self.scores(question)?;
        let mut ranking = DocTypeRanking::from_scores(self.name(), scores);
        ranking.scores = self.probabilities(&scores).to_vec();
        Ok(ranking)
    }
}

impl SavedProbe {
    fn join(&self, cues: &[f64; 5], vector: &[f32]) -> [f64; 5] {
        let probe = self.probe.scores(vector);
        std::array::from_fn(|kind| cues[kind] + self.share * probe[kind])
    }
}

/// The stack's scores from those of its parts.
pub(super) fn joined(cues: &[f64; 5], probe: &[f64; 5]) -> [f64; 5] {
    std::array::from_fn(|kind| cues[kind] + PROBE_SHARE * probe[kind])
}

/// Question-only TF-IDF ridge, the yardstick of learned rankers: the words alone, lightly held.
///
/// # Errors
/// As [`LearnedOrder::fit`].
pub fn tfidf_ridge(questions: &[LabelledQuestion]) -> Result<LearnedOrder, AgentError> {
    let masked: Vec<String> = questions
        .iter()
        .map(|q| wording::masked(&q.question))
        .collect();
    let every: Vec<usize> = (0..questions.len()).collect();
    let mut fitted = fit_with(
        questions,
        &masked,
        &every,
        Settings {
            term_share: 1e6,
            penalty: 5e5,
        },
    );
    // The cues stay out of it altogether.
    for weight in fitted.saved.weights.iter_mut().take(CUES.len()) {
        weight.fill(0.0);
    }
    Ok(fitted)
}

fn broken(reason: String, mend: &str) -> AgentError {
    AgentError::Ranker {
        ranker: "learned".to_owned(),
        reason,
        mend: mend.to_owned(),
    }
}

fn features(masked: &str, terms: &[Term]) -> Vec<f64> {
    let mut features = wording::cues(masked);
    if terms.is_empty() {
        return features;
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for term in wording::terms(masked) {
        *counts.entry(term).or_default() += 1;
    }
    features.extend(terms.iter().map(|term| {
        let count = counts.get(&term.text).copied().unwrap_or(0);
        if count == 0 {
            0.0
        } else {
            (1.0 + (count as f64).ln()) * term.factor
        }
    }));
    features
}

pub(super) fn fit_with(
    questions: &[LabelledQuestion],
    masked: &[String],
    chosen: &[usize],
    settings: Settings,
) -> LearnedOrder {
    let terms = if settings.term_share > 0.0 {
        vocabulary(masked, chosen, settings.term_share)
    } else {
        Vec::new()
    };
    let table: Vec<Vec<f64>> = chosen
        .iter()
        .map(|&at| features(&masked[at], &terms))
        .collect();
    let targets: Vec<Vec<f64>> = chosen
        .iter()
        .map(|&at| shares(&questions[at].grades))
        .collect();
    // The penalty is in units of the cues' spread, so that it means the same for any dataset.
    let spread = cue_spread(&table);
    let Fit { weights, offset } = ridge::fit(&table, &targets, settings.penalty * spread);
    LearnedOrder {
        saved: Saved {
            format: FORMAT,
            cues: CUES.iter().map(|cue| cue.name.to_owned()).collect(),
            terms,
            weights,
            offset,
            settings,
            probe: None,
            temperature: 1.0,
            trained_on: TrainedOn::default(),
            report: serde_json::Value::Null,
        },
        embedder: None,
    }
}

pub(super) fn fit_probe(
    questions: &[LabelledQuestion],
    vectors: &[Vec<f32>],
    chosen: &[usize],
) -> Probe {
    let vectors: Vec<&[f32]> = chosen.iter().map(|&at| vectors[at].as_slice()).collect();
    let questions: Vec<&LabelledQuestion> = chosen.iter().map(|&at| &questions[at]).collect();
    Probe::fit(&questions, &vectors, PENALTY)
}

/// Grades as shares of the question's highest.
pub(super) fn shares(grades: &[u32; 5]) -> Vec<f64> {
    let most = grades.iter().max().copied().unwrap_or(0).max(1);
    grades
        .iter()
        .map(|&grade| f64::from(grade) / f64::from(most))
        .collect()
}

/// Mean square of the centred cues of a question.
fn cue_spread(table: &[Vec<f64>]) -> f64 {
    let rows = table.len() as f64;
    let variance = |cue: usize| {
        let mean = table.iter().map(|row| row[cue]).sum::<f64>() / rows;
        table
            .iter()
            .map(|row| (row[cue] - mean).powi(2))
            .sum::<f64>()
            / rows
    };
    (0..CUES.len()).map(variance).sum::<f64>().max(1e-6)
}

/// The terms of enough of the chosen questions, the commonest first, with factors that give a question's
/// terms about `share` times the mean square of its cues.
fn vocabulary(masked: &[String], chosen: &[usize], share: f64) -> Vec<Term> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for &at in chosen {
        let mut terms = wording::terms(&masked[at]);
        terms.sort_unstable();
        terms.dedup();
        for term in terms {
            *seen.entry(term).or_default() += 1;
        }
    }
    let mut kept: Vec<(String, usize)> = seen
        .into_iter()
        .filter(|(_, count)| *count >= LEAST_QUESTIONS)
        .collect();
    kept.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    kept.truncate(MAX_TERMS);
    let questions = chosen.len() as f64;
    let mut terms: Vec<Term> = kept
        .into_iter()
        .map(|(text, count)| Term {
            text,
            factor: (1.0 + questions / (1.0 + count as f64)).ln(),
        })
        .collect();
    let table: Vec<Vec<f64>> = chosen
        .iter()
        .map(|&at| features(&masked[at], &terms))
        .collect();
    let square = table
        .iter()
        .map(|row| {
            row[CUES.len()..]
                .iter()
                .map(|value| value * value)
                .sum::<f64>()
        })
        .sum::<f64>()
        / questions;
    let scale = (share * cue_spread(&table) / square.max(1e-9)).sqrt();
    for term in &mut terms {
        term.factor *= scale;
    }
    terms
}

#[cfg(test)]
mod tests {
    use footnote_filings::DocType;

    use super::*;

    /// Invented questions whose type follows from what they ask about.
    fn invented() -> Vec<LabelledQuestion> {
        let kinds = [
            (
                "How is the board's compensation committee composed at",
                [4, 2, 0, 0, 1],
            ),
            (
                "What guidance did analysts hear on the call of",
                [0, 1, 2, 0, 4],
            ),
            (
                "What risk factors and segment revenue does the year bring for",
                [0, 4, 2, 0, 1],
            ),
        ];
        let companies = ["Aquillon", "Brantham", "Cindervale", "Dornwick", "Eskmoor"];
        kinds
            .iter()
            .flat_map(|(text, grades)| {
                companies.iter().map(move |company| LabelledQuestion {
                    question: format!("{text} {company}?"),
                    grades: *grades,
                })
            })
            .collect()
    }

    #[test]
    fn what_was_learned_ranks_and_survives_the_disk() {
        let learned = LearnedOrder::fit(&invented(), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        learned.save(folder.path()).unwrap();
        let read = LearnedOrder::open(folder.path()).unwrap();
        assert_eq!(read.trained_on(), learned.trained_on());
        for question in ["Who sits on the board?", "What was guided for the quarter?"] {
            let scores = read.scores(question).unwrap();
            for (read, learned) in scores.iter().zip(learned.scores(question).unwrap()) {
                // Decimal digits may cost the last bit.
                assert!((read - learned).abs() < 1e-12, "{read} for {learned}");
            }
        }
        let first = |question: &str| read.rank(question).unwrap().order[0];
        assert_eq!(
            first("Who sits on the compensation committee of Foxholt's board?"),
            DocType::Def14a
        );
        assert_eq!(
            first("What guidance did Foxholt's analysts ask about?"),
            DocType::Earnings
        );
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(
            !text.contains("Aquillon") && !text.contains("aquillon"),
            "no company is learned"
        );
    }

    #[test]
    fn a_damaged_ranker_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = LearnedOrder::open(folder.path()).err().unwrap().to_string();
        assert!(missing.contains("footnote train doc-types"), "{missing}");
        let learned = LearnedOrder::fit(&invented(), None).unwrap();
        learned.save(folder.path()).unwrap();
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"format\": 2", "\"format\": 9")).unwrap();
        let error = LearnedOrder::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another version"), "{error}");
    }

    /// Gives the three subjects of the invented questions a direction each.
    struct Subjects;

    impl Embedder for Subjects {
        fn name(&self) -> &str {
            "subjects"
        }
        fn width(&self) -> usize {
            3
        }
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, footnote_engine::EngineError> {
            let holds = |text: &str, word| f32::from(u8::from(text.contains(word)));
            let words = ["paid", "said", "drives"];
            let vector = |text: &&str| words.map(|word| holds(text, word)).to_vec();
            Ok(texts.iter().map(vector).collect())
        }
    }

    #[test]
    fn a_probe_joins_and_names_its_embedder() {
        // Wordings differ, no cue and no term is shared: only the vectors tell the subjects apart.
        let subjects = [
            ("paid", [4, 0, 0, 0, 1]),
            ("said", [1, 0, 0, 0, 4]),
            ("drives", [0, 4, 0, 0, 1]),
        ];
        let others = [
            "oak", "elm", "yew", "fir", "ash", "bay", "box", "fig", "gum", "nut", "sal", "teak",
        ];
        let questions: Vec<LabelledQuestion> = subjects
            .iter()
            .flat_map(|(verb, grades)| {
                others.iter().map(move |other| LabelledQuestion {
                    question: format!("Which {other}{verb} {other}most {other}there?"),
                    grades: *grades,
                })
            })
            .collect();
        let texts: Vec<&str> = questions.iter().map(|q| q.question.as_str()).collect();
        let vectors = Subjects.embed(&texts).unwrap();
        let vectors = Vectors {
            embedder: &Subjects,
            vectors: &vectors,
        };
        let learned = LearnedOrder::fit(&questions, Some(&vectors)).unwrap();
        assert_eq!(learned.embedder(), Some("subjects"));
        let folder = tempfile::tempdir().unwrap();
        learned.save(folder.path()).unwrap();
        let read = LearnedOrder::open(folder.path()).unwrap();
        let closed = read.rank("Who is paid?").unwrap_err().to_string();
        assert!(closed.contains("subjects"), "{closed}");
        let read = read.with_embedder(Arc::new(Subjects)).unwrap();
        for (question, best) in [
            ("Who is paid?", DocType::Def14a),
            ("Who said?", DocType::Earnings),
            ("What drives?", DocType::TenK),
        ] {
            let ranking = read.rank(question).unwrap();
            assert_eq!(ranking.order[0], best, "{question}");
            assert!(
                (ranking.scores.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                "probabilities"
            );
        }
    }

    #[test]
    fn too_few_questions_are_refused() {
        assert!(LearnedOrder::fit(&invented()[..9], None).is_err());
    }
}
