//! What the learned rankers see of a chunk for a question: some fifty measures, most from 0 to 1.
//!
//! Scores are shares of the best in the document, so that questions and documents of any size compare.
//! Only [`Feature::Position`], [`Feature::First`], [`Feature::Last`], the neighbours and what a chunk
//! takes over from those before it (lead, speaker, item) depend on the order of chunks.

use super::document::{Chunk, Document, Speaker};
use super::lexical::{Query, bm25, by_rank, cosine, likelihood, of_best, window};
use super::question::Asked;
use super::vocabulary::Kind;
use crate::features::text::Term;

/// How much an expansion weighs beside a word of the question.
const EXPANSION: f32 = 0.35;
/// A chunk shorter than this, in words, holds no answer.
const SHORT: usize = 15;
/// A chunk longer than this, in words, holds many matters.
const LONG: usize = 1_500;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One measure of a chunk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Feature { $($(#[$doc])* $name,)* }

        /// All of them, by their names in a saved model.
        pub const FEATURES: &[(Feature, &str)] = &[$((Feature::$name, stringify!($name)),)*];
    };
}

features! {
    /// BM25 of the content words.
    Words,
    /// The same with hardly any correction for length.
    WordsLong,
    /// BM25 of all words of the question, names too.
    AllWords,
    /// BM25 of expansions.
    Expansions,
    /// BM25 of the cues of the question's kinds.
    Cues,
    /// BM25 of content words and, less, expansions.
    Combined,
    /// Its rank.
    CombinedRank,
    /// Rank by content words.
    WordsRank,
    /// Cosine of tf-idf vectors.
    Cosine,
    /// Query likelihood.
    Likelihood,
    /// Share of the content words' rarity that occurs.
    Coverage,
    /// Share of the content words that occurs.
    PlainCoverage,
    /// Share of the expansions' rarity that occurs.
    ExpansionCoverage,
    /// Share of the cues that occurs.
    CueCoverage,
    /// Rarity of the rarest content word that occurs.
    Rarest,
    /// Share of the question's word pairs that occurs.
    Pairs,
    /// Content words within a dozen words.
    NarrowWindow,
    /// Content words within sixty words.
    WideWindow,
    /// Content words and expansions within a hundred words.
    ExpandedWindow,
    /// Content words in heading lines.
    Headings,
    /// Content words in the lines that lead to a table.
    Lead,
    /// Content words in the short chunk before.
    TitleBefore,
    /// The better neighbour.
    Neighbour,
    /// The three chunks on either side.
    Surroundings,
    /// Years of the question that occur.
    Years,
    /// Full of numbers where a figure is asked.
    FigureDensity,
    /// Amounts and percentages where a figure or a trend is asked.
    FigureMarks,
    /// A table.
    Table,
    /// A table where a figure is asked.
    TableForFigure,
    /// A table where words are asked.
    TableForWords,
    /// A statement that the question names or needs.
    Statement,
    /// A statement that it does not.
    IdleStatement,
    /// Length, logarithmic.
    Length,
    /// Too short to answer.
    Short,
    /// Very long.
    Long,
    /// An analyst's speech where analysts are asked about.
    AnalystForAnalysts,
    /// An answer of the question part where analysts are asked about.
    AnswerForAnalysts,
    /// An executive's speech where management or guidance is asked about.
    ExecutiveForManagement,
    /// An executive's speech.
    Executive,
    /// An analyst's speech.
    Analyst,
    /// The operator's speech.
    Operator,
    /// Question marks where analysts are asked about.
    QuestionMarks,
    /// Place in the document, 0 to 1.
    Position,
    /// Among the first chunks.
    First,
    /// Among the last tenth.
    Last,
    /// A table of contents.
    Contents,
    /// Phrases that every filing has.
    Boilerplate,
    /// In an item where the matter is at home.
    Item,
    /// Words of risk where risks are asked about.
    RiskWords,
    /// Words of expectation where guidance is asked about.
    GuidanceWords,
    /// Words of change where a trend is asked about.
    TrendWords,
    /// Words of pay where pay is asked about.
    PayWords,
}

/// All measures of one chunk, by [`Feature`].
pub type Features = [f32; FEATURES.len()];

/// Measures every chunk of a document for a question.
pub(super) fn extract(asked: &Asked, document: &Document, cues: &KindCues) -> Vec<Features> {
    let words = Query::new(document, &asked.words);
    let expansions = Query::new(document, &asked.expansions);
    let cue_words = Query::new(document, &asked.cues);
    let every: Vec<Term> = asked
        .words
        .iter()
        .chain(&asked.expansions)
        .copied()
        .collect();
    let every = Query::new(document, &every);

    let plain = bm25(document, &words, 1.2, 0.75);
    let expanded = bm25(document, &expansions, 1.2, 0.5);
    let combined: Vec<f32> = bm25(document, &words, 1.2, 0.4)
        .iter()
        .zip(&expanded)
        .map(|(own, other)| own + EXPANSION * other)
        .collect();
    let combined_rank = by_rank(&combined);
    let words_rank = by_rank(&plain);
    let combined = of_best(combined);
    let plain = of_best(plain);
    let long = of_best(bm25(document, &words, 2.0, 0.15));
    let all = of_best(bm25(document, &Query::new(document, &asked.all), 1.2, 0.75));
    let expanded = of_best(expanded);
    let cued = of_best(bm25(document, &cue_words, 1.2, 0.5));
    let cosine = of_best(cosine(document, &words));
    let likelihood = of_best(likelihood(document, &words, 300.0));
    let narrow = window(document, &words, 12);
    let wide = window(document, &words, 60);
    let expanded_window = of_best(window(document, &every, 100));

    let count = document.chunks.len();
    (0..count)
        .map(|at| {
            let chunk = &document.chunks[at];
            let mut f = [0.0; FEATURES.len()];
            let mut set = |feature: Feature, value: f32| f[feature as usize] = value;
            set(Feature::Words, plain[at]);
            set(Feature::WordsLong, long[at]);
            set(Feature::AllWords, all[at]);
            set(Feature::Expansions, expanded[at]);
            set(Feature::Cues, cued[at]);
            set(Feature::Combined, combined[at]);
            set(Feature::CombinedRank, combined_rank[at]);
            set(Feature::WordsRank, words_rank[at]);
            set(Feature::Cosine, cosine[at]);
            set(Feature::Likelihood, likelihood[at]);
            set(Feature::NarrowWindow, narrow[at]);
            set(Feature::WideWindow, wide[at]);
            set(Feature::ExpandedWindow, expanded_window[at]);
            set(Feature::Coverage, words.share(|term| chunk.count(term) > 0));
            set(
                Feature::PlainCoverage,
                share(&asked.words, |term| chunk.count(term) > 0),
            );
            set(
                Feature::ExpansionCoverage,
                expansions.share(|term| chunk.count(term) > 0),
            );
            set(
                Feature::CueCoverage,
                share(&asked.cues, |term| chunk.count(term) > 0),
            );
            set(Feature::Rarest, words.rarest(chunk));
            set(
                Feature::Pairs,
                share(&asked.pairs, |pair| chunk.has_pair(pair)),
            );
            set(
                Feature::Headings,
                words.share(|term| chunk.in_headings(term)),
            );
            set(
                Feature::Lead,
                words.share(|term| chunk.lead.contains(&term)),
            );
            let before = at.checked_sub(1).map(|before| &document.chunks[before]);
            if let Some(before) = before.filter(|b| b.words.len() <= 2 * SHORT && !b.speaker_line) {
                set(
                    Feature::TitleBefore,
                    words.share(|term| before.count(term) > 0),
                );
            }
            let near = |step: isize| {
                let place = at.checked_add_signed(step)?;
                combined.get(place).copied()
            };
            // Between two speeches stands the line that names the speaker.
            let reach = if document.call { 2 } else { 1 };
            let sides = [near(-reach), near(reach)].into_iter().flatten();
            set(Feature::Neighbour, sides.fold(0.0, f32::max));
            let around: Vec<f32> = (1..=3)
                .flat_map(|s| [near(-s), near(s)])
                .flatten()
                .collect();
            set(
                Feature::Surroundings,
                around.iter().sum::<f32>() / around.len().max(1) as f32,
            );
            of_question_and_chunk(asked, chunk, &mut set);
            of_place(asked, chunk, at, count, &mut set);
            cues.measure(asked, chunk, &mut set);
            f
        })
        .collect()
}

/// Measures of what the question asks for and what the chunk is.
fn of_question_and_chunk(asked: &Asked, chunk: &Chunk, set: &mut impl FnMut(Feature, f32)) {
    let yes = |condition: bool| if condition { 1.0 } else { 0.0 };
    let figure = asked.is(Kind::Figure) || asked.looked.wants_figure;
    let trend = asked.is(Kind::Trend);
    let words = chunk.words.len();
    set(
        Feature::Years,
        share(&asked.years, |term| chunk.count(term) > 0),
    );
    if figure {
        set(Feature::FigureDensity, (chunk.density() / 0.3).min(1.0));
    }
    if figure || trend {
        let marks = chunk.marks as f32 / (words.max(40) as f32).sqrt();
        set(Feature::FigureMarks, (marks / 2.0).min(1.0));
    }
    set(Feature::Table, yes(chunk.table));
    set(Feature::TableForFigure, yes(chunk.table && figure));
    set(
        Feature::TableForWords,
        yes(chunk.table && !figure && !trend),
    );
    let (mut wanted, mut idle) = (0.0f32, 0.0f32);
    for at in 0..3 {
        let named = if asked.looked.named_statements[at] {
            1.0
        } else {
            0.0
        };
        let needed = asked.looked.needed_statements[at].max(named);
        wanted = wanted.max(needed * chunk.statements[at]);
        idle = idle.max((1.0 - needed) * chunk.statements[at]);
    }
    set(Feature::Statement, wanted);
    set(Feature::IdleStatement, idle);
    set(Feature::Length, ((1.0 + words as f32).ln() / 8.0).min(1.0));
    set(Feature::Short, yes(words < SHORT));
    set(Feature::Long, yes(words > LONG));
    let analysts = asked.is(Kind::Analysts);
    let speech = !chunk.speaker_line;
    let by = |speaker: Speaker| speech && chunk.speaker == speaker;
    let executive = by(Speaker::Executive);
    set(
        Feature::AnalystForAnalysts,
        yes(by(Speaker::Analyst) && analysts),
    );
    set(
        Feature::AnswerForAnalysts,
        yes(executive && chunk.in_questions && analysts),
    );
    let management = asked.is(Kind::Management) || asked.is(Kind::Guidance);
    set(
        Feature::ExecutiveForManagement,
        yes(executive && management),
    );
    set(Feature::Executive, yes(executive));
    set(Feature::Analyst, yes(by(Speaker::Analyst)));
    set(Feature::Operator, yes(by(Speaker::Operator)));
    if analysts {
        set(
            Feature::QuestionMarks,
            (chunk.questions as f32 / 3.0).min(1.0),
        );
    }
}

/// Measures of where the chunk stands.
fn of_place(
    asked: &Asked,
    chunk: &Chunk,
    at: usize,
    count: usize,
    set: &mut impl FnMut(Feature, f32),
) {
    let yes = |condition: bool| if condition { 1.0 } else { 0.0 };
    let position = at as f32 / count.max(1) as f32;
    set(Feature::Position, position);
    set(Feature::First, yes(position < 0.03));
    set(Feature::Last, yes(position >= 0.9));
    set(Feature::Contents, chunk.contents);
    set(Feature::Boilerplate, chunk.boilerplate);
    let homes: &[(Kind, &[&str])] = &[
        (Kind::Risk, &["1a"]),
        (Kind::Industry, &["1"]),
        (Kind::Trend, &["7", "2"]),
        (Kind::Macro, &["1a", "7", "7a", "2", "3"]),
        (Kind::Guidance, &["7", "2"]),
    ];
    let item = chunk.item.as_str();
    let by_kind = homes
        .iter()
        .any(|(kind, items)| asked.is(*kind) && items.contains(&item));
    let by_topic = asked.looked.items.iter().any(|other| other == item);
    set(Feature::Item, yes(by_kind || by_topic));
}

/// The words by which a few kinds of passage are told, whatever the question's own words.
pub(super) struct KindCues(Vec<(Kind, Feature, Vec<Term>)>);

impl KindCues {
    pub(super) fn new(stemmer: &mut super::text::Stemmer) -> KindCues {
        let mut cues =
            |kind: Kind, feature: Feature, words: &str| (kind, feature, stemmer.terms(words));
        KindCues(vec![
            cues(
                Kind::Risk,
                Feature::RiskWords,
                "could may might adversely risk materially harm failure unable uncertain",
            ),
            cues(
                Kind::Guidance,
                Feature::GuidanceWords,
                "expect outlook guidance anticipate forecast range target will plan reaffirm",
            ),
            cues(
                Kind::Trend,
                Feature::TrendWords,
                "increased decreased compared prior growth grew higher lower driven offset",
            ),
            cues(
                Kind::Compensation,
                Feature::PayWords,
                "compensation committee award executive director plan stock vesting incentive equity",
            ),
        ])
    }

    fn measure(&self, asked: &Asked, chunk: &Chunk, set: &mut impl FnMut(Feature, f32)) {
        for (kind, feature, words) in &self.0 {
            if asked.is(*kind) {
                let count: u32 = words.iter().map(|term| chunk.count(*term)).sum();
                // Five in a hundred words is as much as such passages have.
                let density = count as f32 / chunk.words.len().max(30) as f32;
                set(*feature, (density / 0.05).min(1.0));
            }
        }
    }
}

fn share(terms: &[Term], has: impl Fn(Term) -> bool) -> f32 {
    let held = terms.iter().filter(|term| has(**term)).count();
    held as f32 / terms.len().max(1) as f32
}
