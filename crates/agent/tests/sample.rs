//! The agent over the sample corpus of invented companies, whose every right answer is known: by
//! calculation without any model, and with a scripted model whose answers the checker has to judge.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic where the test has failed"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use footnote_agent::{
    Agent, AgentError, Answer, AskedScope, ChosenBy, Event, FixedOrder, Question, Settings, Step,
    numbers_in,
};
use footnote_engine::{
    EngineError, FinishReason, GenerateEvent, GenerateRequest, Generation, Grammar, LanguageModel,
    Prompt, Usage,
};
use footnote_index::{Corpus, ImportOptions, Importer, Incoming, SearchBackend, Source};
use serde_json::Value;

/// A model that answers from a script, given the prompt's text and the schema.
struct Scripted {
    script: fn(&str, &Value) -> String,
    /// What it says where figures and a formula are to be named.
    named: fn(&str, &Value) -> String,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(script: fn(&str, &Value) -> String) -> Arc<Scripted> {
        Arc::new(Scripted {
            script,
            named: |_, _| r#"{"figures": [], "formula": "none"}"#.to_owned(),
            asked: AtomicUsize::new(0),
        })
    }

    /// A model that only names figures.
    fn naming(named: fn(&str, &Value) -> String) -> Arc<Scripted> {
        Arc::new(Scripted {
            script: |_, _| r#"{"statements": []}"#.to_owned(),
            named,
            asked: AtomicUsize::new(0),
        })
    }
}

impl LanguageModel for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn context_tokens(&self) -> usize {
        8_192
    }

    fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
        Ok(text.len() / 4)
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Prompt::Chat(messages) = &request.prompt else {
            panic!("the agent asks in chat form");
        };
        let Some(Grammar::JsonSchema(schema)) = &request.grammar else {
            panic!("the agent asks under a schema");
        };
        let script = if schema["properties"]["figures"].is_object() {
            self.named
        } else {
            self.script
        };
        let text = script(&messages[1].content, schema);
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        sender.blocking_send(Ok(GenerateEvent::Text(text))).unwrap();
        let done = GenerateEvent::Done(FinishReason::End, Usage::default());
        sender.blocking_send(Ok(done)).unwrap();
        Ok(Generation::new(receiver))
    }

    fn score(&self, _: Prompt, _: &[String]) -> Result<Vec<(f64, usize)>, EngineError> {
        Err(EngineError::Request("a script has no probabilities".into()))
    }
}

struct Sample {
    corpus: Arc<Corpus>,
    _folder: tempfile::TempDir,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut importer = Importer::open(folder.path()).unwrap();
    let sources = footnote_filings::expand(&[sample_folder()])
        .into_iter()
        .map(|item| {
            let path = item.unwrap().path;
            Source {
                name: path.display().to_string(),
                bytes: 0,
                read: Box::new(move || {
                    let readings = footnote_filings::read_path(&path, &Default::default()).unwrap();
                    Box::new(readings.map(|reading| {
                        reading.map(|r| Incoming {
                            filing: r.filing,
                            warnings: r.warnings,
                        })
                    }))
                }),
            }
        })
        .collect::<Vec<_>>();
    let options = ImportOptions::default();
    let report = importer
        .import(sources, &footnote_filings::passages, &options, &mut |_| {})
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    drop(importer);
    Sample {
        corpus: Arc::new(Corpus::open(folder.path()).unwrap()),
        _folder: folder,
    }
});

fn sample_folder() -> PathBuf {
    footnote_testkit::repository().join("corpora/sample")
}

fn agent(model: Arc<Scripted>) -> Agent {
    Agent::new(
        SAMPLE.corpus.clone(),
        model,
        Arc::new(FixedOrder::default()),
    )
}

fn ask(model: Arc<Scripted>, question: &str) -> Answer {
    agent(model)
        .ask(&Question::new(question).unwrap(), &mut |_| {})
        .unwrap()
}

fn nothing() -> Arc<Scripted> {
    Scripted::new(|_, schema| {
        if schema["properties"]["row"].is_object() {
            r#"{"row": 0}"#.to_owned()
        } else {
            r#"{"statements": []}"#.to_owned()
        }
    })
}

/// Every calculated answer must be right: a model that never answers leaves only those.
#[test]
fn calculated_answers_are_right() {
    let file = std::fs::read_to_string(sample_folder().join("answers.jsonl")).unwrap();
    let mut right = 0;
    let mut wrong = Vec::new();
    for line in file.lines() {
        let known: Value = serde_json::from_str(line).unwrap();
        let question = known["question"].as_str().unwrap();
        let answer = ask(nothing(), question);
        let Some(calculation) = &answer.calculation else {
            continue;
        };
        let result: f64 = calculation.result.to_string().parse().unwrap();
        let holds = known["value"].as_f64().is_some_and(|value| {
            // A share may be known as a part of one and asked for in hundredths.
            [value, value * 100.0]
                .iter()
                .any(|v| (v - result).abs() <= 0.05_f64.max(0.0006 * v.abs()))
        });
        let cited = answer.footnotes.iter().all(|footnote| footnote.verified)
            && answer.statements.iter().all(|statement| statement.verified);
        if holds && cited {
            right += 1;
        } else {
            wrong.push(format!(
                "{} {question}\n  known {} got {} ({:?})",
                known["id"], known["answer"], answer.text, answer.statements
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{right} right, but:\n{}",
        wrong.join("\n")
    );
    assert!(right >= 44, "only {right} answers were calculated");
}

#[test]
fn the_working_is_shown_and_its_figures_are_facts() {
    let answer = ask(
        nothing(),
        "What was the current ratio of ZZAQ at the end of fiscal 2024?",
    );
    let calculation = answer.calculation.unwrap();
    assert_eq!(calculation.steps[0].expression, "1,473 / 557");
    assert_eq!(calculation.shown, "2.64");
    assert!(
        calculation
            .inputs
            .iter()
            .all(|i| i.chosen_by == ChosenBy::Fact)
    );
    assert_eq!(answer.footnotes.len(), 2);
    assert!(answer.footnotes[0].concept.as_deref() == Some("us-gaap:AssetsCurrent"));
    assert!(answer.footnotes[0].quote.contains("1,473"));
}

const BACKLOG: &str = "What was Aquillon's backlog at the end of fiscal 2024?";

/// The first line shown that holds the text, as the script's way to read the prompt.
fn line_with(prompt: &str, text: &str) -> String {
    let line = prompt.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("{text:?} is not in the prompt:\n{prompt}"));
    line.split(':').next().unwrap().to_owned()
}

#[test]
fn a_true_statement_keeps_its_footnote() {
    let model = Scripted::new(|prompt, _| {
        let line = line_with(prompt, "1,964");
        format!(
            r#"{{"statements":[{{"lines":["{line}"],"text":"Aquillon's backlog was $1,964 million at the end of fiscal 2024."}}]}}"#
        )
    });
    let answer = ask(model, BACKLOG);
    assert_eq!(answer.statements.len(), 1);
    assert!(answer.statements[0].verified);
    assert!(answer.text.ends_with("[1]"), "{}", answer.text);
    let footnote = &answer.footnotes[0];
    assert!(footnote.verified && footnote.quote.contains("1,964"));
    let filing = SAMPLE.corpus.filing(&footnote.accession).unwrap().unwrap();
    assert_eq!(
        footnote.span.of(&filing.text),
        Some(footnote.quote.as_str())
    );
}

#[test]
fn an_invented_number_is_removed_and_the_quote_stands_instead() {
    let model = Scripted::new(|prompt, _| {
        let line = line_with(prompt, "1,964");
        format!(
            r#"{{"statements":[{{"lines":["{line}"],"text":"Aquillon's backlog was $2,511 million."}}]}}"#
        )
    });
    let answer = ask(model, BACKLOG);
    assert_eq!(answer.removed.len(), 1);
    assert!(answer.removed[0].reason.contains("$2,511 million"));
    assert!(!answer.text.contains("2,511"), "{}", answer.text);
    assert!(answer.text.contains("1,964"), "{}", answer.text);
}

/// The names of the figures that hold all of the given words, out of those that the grammar offers.
fn figures_with(schema: &Value, lines: &[String], year: &str) -> Vec<String> {
    schema["properties"]["figures"]["items"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .filter(|name| {
            let line = name.split(' ').next().unwrap();
            lines.iter().any(|one| one == line) && name.contains(&format!(" {year}: "))
        })
        .collect()
}

/// Lines of the listing that start a row of one of the labels.
fn lines_of(prompt: &str, labels: &[&str]) -> Vec<String> {
    prompt
        .lines()
        .filter(|line| {
            let text = line.split_once(": ").map_or("", |(_, text)| text);
            let label = text.split(" | ").next().unwrap();
            labels.iter().any(|wanted| label.ends_with(wanted))
        })
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

const SEGMENTS: [&str; 3] = [
    "Commercial Heat Pumps",
    "Industrial Heat Recovery",
    "Aftermarket Services",
];

#[test]
fn figures_that_the_model_names_are_compared_by_code() {
    let model = Scripted::naming(|prompt, schema| {
        let mut figures = figures_with(schema, &lines_of(prompt, &SEGMENTS), "2024");
        // The first table of the three: one region, one column.
        let region = figures[0].chars().next().unwrap();
        figures.retain(|name| name.starts_with(region));
        figures.truncate(3);
        serde_json::json!({"figures": figures, "formula": "largest"}).to_string()
    });
    let answer = ask(
        model,
        "Which segment of Aquillon had the highest net sales in fiscal 2024?",
    );
    let calculation = answer.calculation.as_ref().expect("a calculation");
    assert_eq!(calculation.inputs.len(), 3, "{}", answer.text);
    assert!(
        calculation
            .inputs
            .iter()
            .all(|input| input.chosen_by == ChosenBy::Model)
    );
    let largest = calculation.inputs.iter().map(|i| i.value).max();
    assert_eq!(Some(calculation.result), largest);
    assert!(answer.statements[0].verified, "{:?}", answer.statements);
    assert!(
        answer
            .text
            .contains("Commercial Heat Pumps is the highest of the 3 compared"),
        "{}",
        answer.text
    );
}

#[test]
fn figures_of_another_year_are_not_let_through() {
    let model = Scripted::naming(|prompt, schema| {
        let figures = figures_with(schema, &lines_of(prompt, &SEGMENTS[1..2]), "2023");
        serde_json::json!({"figures": figures[..1], "formula": "value"}).to_string()
    });
    let answer = ask(
        model,
        "What were the net sales of Aquillon's segment Industrial Heat Recovery in fiscal 2024?",
    );
    assert_eq!(answer.removed.len(), 1, "{}", answer.text);
    assert!(
        answer.removed[0].reason.contains("is of 2023"),
        "{}",
        answer.removed[0].reason
    );
    assert!(answer.calculation.is_none());
}

#[test]
fn output_cut_off_is_no_answer() {
    let answer = ask(
        Scripted::new(|_, _| r#"{"statements":[{"li"#.to_owned()),
        BACKLOG,
    );
    assert!(answer.statements.is_empty());
    assert!(answer.not_found.is_some());
    assert_eq!(answer.removed.len(), 1);
}

#[test]
fn not_found_says_what_was_searched() {
    let never = Scripted::new(|_, _| panic!("no model is needed to see that a year is missing"));
    let answer = ask(never, "What were Aquillon's net sales in fiscal 2015?");
    let searched = answer.not_found.unwrap();
    assert_eq!(searched.companies, ["Aquillon Thermal Systems, Inc."]);
    assert_eq!(searched.periods, ["FY2015"]);
    assert!(
        searched.reason.contains("not for FY2015"),
        "{}",
        searched.reason
    );

    let answer = ask(
        nothing(),
        "What did Zephyrion Mining say about its quarries?",
    );
    let searched = answer.not_found.unwrap();
    assert!(searched.reason.contains("Zephyrion"), "{}", searched.reason);

    let mut question = Question::new(BACKLOG).unwrap();
    question.scope = AskedScope {
        tickers: vec!["NONE".parse().unwrap()],
        ..AskedScope::default()
    };
    let answer = agent(nothing()).ask(&question, &mut |_| {}).unwrap();
    assert_eq!(answer.not_found.unwrap().companies, ["NONE"]);
}

#[test]
fn an_empty_corpus_is_an_error_with_its_mend() {
    let folder = tempfile::tempdir().unwrap();
    drop(Importer::open(folder.path()).unwrap());
    let corpus = Arc::new(Corpus::open(folder.path()).unwrap());
    let agent = Agent::new(corpus, nothing(), Arc::new(FixedOrder::default()));
    let mut last = None;
    let error = agent
        .ask(&Question::new(BACKLOG).unwrap(), &mut |event| {
            last = Some(event)
        })
        .unwrap_err();
    assert!(matches!(error, AgentError::EmptyCorpus));
    assert!(error.to_string().contains("footnote corpus import"));
    assert!(matches!(
        last,
        Some(Event {
            step: Step::Error { .. },
            ..
        })
    ));
}

/// Events and answers are what `--json` prints and what traces keep: they read back as they were.
#[test]
fn events_and_answers_survive_json() {
    let mut events = Vec::new();
    let question = Question::new("What was the current ratio of ZZAQ at the end of fiscal 2024?");
    let answer = agent(nothing())
        .ask(&question.unwrap(), &mut |event| events.push(event))
        .unwrap();
    let tags: Vec<String> = events
        .iter()
        .map(|event| {
            serde_json::to_value(event).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        tags,
        [
            "scope",
            "doc_types",
            "passages",
            "plan",
            "figure",
            "figure",
            "citation",
            "citation",
            "answer"
        ]
    );
    let back: Answer = serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
    assert_eq!(back, answer);
    assert_eq!(answer.trace.events.len(), events.len() - 1);
}

/// The smallest model writes nonsense easily. Whatever it writes, what is shown as verified stands in
/// the filings: its quotes at their spans, its numbers in its quotes.
#[test]
fn what_a_tiny_model_says_is_shown_only_as_far_as_it_stands() {
    let path = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let model = footnote_engine::LocalModel::open(&path, Default::default()).unwrap();
    let settings = Settings {
        excerpt_tokens: 300,
        answer_tokens: 120,
        ..Settings::default()
    };
    let agent = Agent::new(
        SAMPLE.corpus.clone(),
        Arc::new(model),
        Arc::new(FixedOrder::default()),
    )
    .with_settings(settings);
    let answer = agent
        .ask(&Question::new(BACKLOG).unwrap(), &mut |_| {})
        .unwrap();
    assert!((1..=2).contains(&answer.trace.model_calls));
    assert_eq!(answer.not_found.is_some(), answer.statements.is_empty());
    for footnote in &answer.footnotes {
        let filing = SAMPLE.corpus.filing(&footnote.accession).unwrap().unwrap();
        assert_eq!(
            footnote.span.of(&filing.text),
            Some(footnote.quote.as_str())
        );
    }
    for statement in answer.statements.iter().filter(|s| s.verified) {
        let quotes: String = statement
            .footnotes
            .iter()
            .map(|n| answer.footnotes[n - 1].quote.replace('\n', " ") + " ")
            .collect();
        for number in numbers_in(&statement.text).iter().filter(|n| !n.bare) {
            let written = number.span.of(&statement.text).unwrap();
            let digits = written.trim_matches(|c: char| !c.is_ascii_digit());
            let computed = answer.calculation.as_ref().map(|c| c.shown.as_str());
            assert!(
                quotes.contains(digits) || computed.is_some_and(|shown| shown.contains(digits)),
                "{written} in {:?}",
                statement.text
            );
        }
    }
}
