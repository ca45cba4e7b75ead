//! What can be asked for as a job: the bodies of the three routes, which are the payloads of the jobs too.
//!
//! Only names and values: no path, no address. What a name means is the handlers' affair; what could never be run is
//! refused here, before a job is made of it.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Records of an evaluation.
const RECORDS_MAX: usize = 20_000;
/// Rankers, models, policies, tickers, forms of one request.
const LIST_MAX: usize = 50;

/// What is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationTask {
    /// The order of the five document types.
    DocTypes,
    /// The order of passages.
    Passages,
    /// Pages of the corpus for a question.
    Pages,
    /// Whole answers.
    Answers,
}

/// An evaluation: every ranker with every model over the records.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRequest {
    /// Its name in reports.
    #[serde(default = "unnamed")]
    #[schema(example = "document types, development questions")]
    pub name: String,
    /// What is evaluated.
    pub task: EvaluationTask,
    /// The dataset's records: lines of a FinAgentBench dataset, or of questions with their relevant pages.
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<Value>,
    /// Rankers by name: `fixed`, `random`, `model` of document types; `bm25`, `lexical`, … of passages; `agent` of pages.
    pub rankers: Vec<String>,
    /// Models by their catalogue's names, for rankers that ask one.
    #[serde(default)]
    pub models: Vec<String>,
    /// Cache policies.
    #[serde(default)]
    pub cache: Vec<String>,
    /// Seconds that a question may take.
    pub budget_seconds: Option<f64>,
}

fn unnamed() -> String {
    "unnamed".to_owned()
}

/// The form of exported rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportForm {
    /// Chats.
    Sft,
    /// Chosen and rejected.
    Preferences,
    /// Prompts with what grades an answer.
    Rft,
    /// Queries with passages.
    Rerank,
    /// Relevance judgements.
    Qrels,
}

/// An export of fine-tuning data.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The rows' form.
    pub form: ExportForm,
    /// Where examples come from: `feedback`, `corpus` (inline-XBRL facts), `evaluation:JOB`.
    #[schema(example = json!(["feedback"]))]
    pub sources: Vec<String>,
    /// Share of validation rows.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Share of test rows.
    #[serde(default = "tenth")]
    pub test: f64,
    /// Seed of the split.
    #[serde(default)]
    pub seed: u64,
}

fn tenth() -> f64 {
    0.1
}

/// An import of companies' filings from SEC EDGAR. (Files are uploaded as `multipart/form-data`.)
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// Companies by ticker.
    #[schema(example = json!(["AAPL", "MSFT"]))]
    pub tickers: Vec<String>,
    /// Forms.
    #[serde(default = "forms")]
    pub forms: Vec<String>,
    /// Only filings made on this day or later.
    #[serde(default = "since")]
    #[schema(value_type = String, format = Date)]
    pub since: Date,
}

fn forms() -> Vec<String> {
    ["10-K", "10-Q", "8-K", "DEF14A"]
        .map(str::to_owned)
        .to_vec()
}

fn since() -> Date {
    Date::constant(2020, 1, 1)
}

/// What an import job works on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportPayload {
    /// From EDGAR.
    Edgar(ImportRequest),
    /// Uploaded files, in this folder below the jobs' folder.
    Upload {
        /// The folder's name.
        folder: String,
        /// The files' names in it.
        files: Vec<String>,
    },
}

/// Whether a text is a plain name: no path, no address, nothing hidden.
pub fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn check_list(what: &str, list: &[String], may_be_empty: bool) -> Result<(), ApiError> {
    if list.is_empty() && !may_be_empty {
        return Err(ApiError::invalid(format!(
            "{what} is empty: there is nothing to do"
        )));
    }
    if list.len() > LIST_MAX {
        return Err(ApiError::invalid(format!(
            "{what} has more than {LIST_MAX} entries"
        )));
    }
    match list.iter().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(bad) => {
            let shown: String = bad.chars().take(100).collect();
            Err(ApiError::invalid(format!(
                "{shown:?} in {what} is no plain name (letters, digits, hyphens, dots); paths and addresses are not taken over HTTP"
            )))
        }
    }
}

impl EvaluationRequest {
    /// # Errors
    /// 422, naming what is wrong.
    pub fn check(&self) -> Result<(), ApiError> {
        check_list("rankers", &self.rankers, false)?;
        check_list("models", &self.models, true)?;
        check_list("cache", &self.cache, true)?;
        if self.name.chars().count() > 200 || self.name.chars().any(char::is_control) {
            return Err(ApiError::invalid(
                "a name is one line of at most 200 characters",
            ));
        }
        if self.records.is_empty() || self.records.len() > RECORDS_MAX {
            return Err(ApiError::invalid(format!(
                "an evaluation has 1 to {RECORDS_MAX} records"
            )));
        }
        if let Some(at) = self.records.iter().position(|record| !record.is_object()) {
            return Err(ApiError::invalid(format!("record {at} is no JSON object")));
        }
        if self
            .budget_seconds
            .is_some_and(|seconds| !(0.1..=86_400.0).contains(&seconds))
        {
            return Err(ApiError::invalid("budget_seconds is 0.1 to 86,400"));
        }
        Ok(())
    }
}

impl ExportRequest {
    /// # Errors
    /// 422, naming what is wrong.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.sources.is_empty() || self.sources.len() > LIST_MAX {
            return Err(ApiError::invalid(format!(
                "sources has 1 to {LIST_MAX} entries"
            )));
        }
        for source in &self.sources {
            let job = source.strip_prefix("evaluation:");
            if source != "feedback" && source != "corpus" && !job.is_some_and(is_name) {
                let shown: String = source.chars().take(100).collect();
                return Err(ApiError::invalid(format!(
                    "{shown:?} is no source; there are feedback, corpus and evaluation:JOB"
                )));
            }
        }
        let shares = [self.validation, self.test];
        if shares.iter().any(|share| !(0.0..=0.9).contains(share))
            || shares.iter().sum::<f64>() > 0.9
        {
            return Err(ApiError::invalid(
                "validation and test are shares, together at most 0.9",
            ));
        }
        Ok(())
    }
}

impl ImportRequest {
    /// # Errors
    /// 422, naming what is wrong.
    pub fn check(&self) -> Result<(), ApiError> {
        check_list("tickers", &self.tickers, false)?;
        check_list("forms", &self.forms, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_names_a_path_or_an_address() {
        for bad in [
            "/etc/passwd",
            "../x",
            "learned:dir",
            "openai:http://10.0.0.1#m",
            ".hidden",
            "",
            "a b",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        for good in ["bm25-sections", "qwen2.5-coder-0.5b", "10-K", "BRK.B"] {
            assert!(is_name(good), "{good}");
        }
        let export = |source: &str| ExportRequest {
            form: ExportForm::Sft,
            sources: vec![source.to_owned()],
            validation: 0.1,
            test: 0.1,
            seed: 0,
        };
        assert!(export("evaluation:0198abc").check().is_ok());
        assert!(export("evaluation:../x").check().is_err());
        assert!(export("run:/tmp/x").check().is_err());
    }
}
