//! `GET /v1/filings`: what the corpus holds, and the text of it.

use axum::extract::State;
use footnote_filings::{Accession, DocType, FilingMeta, Section, Span, Ticker, Warning};
use footnote_index::{Filter, SearchBackend as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::search::public;
use crate::auth::{Caller, Scope};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::openapi::Errors;
use crate::state::App;

/// Filings of a page.
const PAGE_MAX: usize = 500;
/// Bytes of text of one request.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Which filings.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only this company, by ticker.
    pub ticker: Option<String>,
    /// Only this kind: 10-K, 10-Q, 8-K, DEF14A, Earnings.
    pub form: Option<String>,
    /// Only this fiscal year.
    pub year: Option<u16>,
    /// How many, 500 at most.
    #[serde(default = "hundred")]
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

fn hundred() -> usize {
    100
}

/// A page of filings, ordered by accession.
#[derive(Debug, Serialize, ToSchema)]
pub struct FilingPage {
    /// The filings.
    pub filings: Vec<FilingMeta>,
    /// For the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// List filings.
#[utoipa::path(
    get, path = "/v1/filings", tag = "filings", params(ListQuery),
    responses((status = 200, body = FilingPage), Errors)
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<FilingPage>, ApiError> {
    caller.need(Scope::Search)?;
    let invalid = |error: footnote_filings::FilingsError| ApiError::invalid(error.to_string());
    if query.limit == 0 || query.limit > PAGE_MAX {
        return Err(ApiError::invalid(format!("limit is 1 to {PAGE_MAX}")));
    }
    let mut filter = Filter {
        years: query.year.into_iter().collect(),
        ..Filter::default()
    };
    if let Some(ticker) = &query.ticker {
        filter
            .tickers
            .push(ticker.parse::<Ticker>().map_err(invalid)?);
    }
    if let Some(form) = &query.form {
        filter
            .doc_types
            .push(form.parse::<DocType>().map_err(invalid)?);
    }
    let page = app
        .corpus
        .with(move |corpus| {
            let all = corpus.filings(&filter)?;
            let after = |meta: &FilingMeta| {
                query
                    .cursor
                    .as_deref()
                    .is_none_or(|cursor| meta.accession.as_str() > cursor)
            };
            let mut rest = all.into_iter().filter(after);
            let filings: Vec<FilingMeta> = rest.by_ref().take(query.limit).map(public).collect();
            let more = rest.next().is_some();
            let last = filings.last().map(|meta| meta.accession.to_string());
            Ok(FilingPage {
                next_cursor: last.filter(|_| more),
                filings,
            })
        })
        .await?;
    Ok(axum::Json(page))
}

/// A filing without its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct FilingReply {
    /// What is known of it.
    pub meta: FilingMeta,
    /// Where SEC shows it, for filings with SEC's own numbers.
    pub source_url: Option<String>,
    /// Its sections in order.
    pub sections: Vec<Section>,
    /// Bytes of its text.
    pub text_bytes: usize,
    /// How many passages it has.
    pub passages: usize,
    /// How many inline-XBRL facts.
    pub facts: usize,
    /// What the reader doubted.
    pub warnings: Vec<Warning>,
}

fn accession_of(text: &str) -> Result<Accession, ApiError> {
    text.parse()
        .map_err(|_| ApiError::not_found("filing", text))
}

/// A filing's page at SEC: its number tells, where it is one of SEC's.
fn source_url(meta: &FilingMeta) -> Option<String> {
    let number = meta.accession.as_str();
    let parts: Vec<&str> = number.split('-').collect();
    let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let digits = parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    // 99999… is the range of the invented sample.
    if sizes != [10, 2, 6] || !digits || number.starts_with("99999") {
        return None;
    }
    let cik = meta.cik?.0;
    Some(format!(
        "https://www.sec.gov/Archives/edgar/data/{cik}/{}/{number}-index.htm",
        parts.concat()
    ))
}

/// Show a filing: its sections and the reader's doubts.
#[utoipa::path(
    get, path = "/v1/filings/{accession}", tag = "filings",
    params(("accession" = String, Path, description = "SEC's number of the filing, or the page corpus's name")),
    responses((status = 200, body = FilingReply), Errors)
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(accession): Path<String>,
) -> Result<axum::Json<FilingReply>, ApiError> {
    caller.need(Scope::Search)?;
    let accession = accession_of(&accession)?;
    let reply = app
        .corpus
        .with(move |corpus| {
            let entry = corpus
                .entry(&accession)?
                .ok_or_else(|| ApiError::not_found("filing", accession.as_str()))?;
            Ok(FilingReply {
                source_url: source_url(&entry.meta),
                meta: public(entry.meta),
                sections: entry.sections,
                text_bytes: entry.text_bytes,
                passages: entry.passages,
                facts: entry.facts,
                warnings: corpus.warnings(&accession)?,
            })
        })
        .await?;
    Ok(axum::Json(reply))
}

/// Which part of a text.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TextQuery {
    /// The section's id, title or path, e.g. `Item 7`.
    pub section: Option<String>,
    /// First byte; without it the section's or the text's first.
    pub start: Option<usize>,
    /// Byte after the last; at most 1 MiB after the first.
    pub end: Option<usize>,
}

/// A part of a filing's text.
#[derive(Debug, Serialize, ToSchema)]
pub struct TextReply {
    /// The part, on character boundaries within what was asked for.
    pub span: Span,
    /// Its text.
    pub text: String,
    /// The sections around its first byte, outermost first.
    pub section_path: Vec<String>,
    /// Whether the part asked for goes on after it.
    pub more: bool,
}

/// Read a part of a filing's text, by section or by span.
#[utoipa::path(
    get, path = "/v1/filings/{accession}/text", tag = "filings",
    params(("accession" = String, Path, description = "The filing"), TextQuery),
    responses((status = 200, body = TextReply), Errors)
)]
pub async fn text(
    State(app): State<App>,
    caller: Caller,
    Path(accession): Path<String>,
    Query(query): Query<TextQuery>,
) -> Result<axum::Json<TextReply>, ApiError> {
    caller.need(Scope::Search)?;
    let accession = accession_of(&accession)?;
    Ok(axum::Json(
        part(&app, accession, query, TEXT_BYTES_MAX).await?,
    ))
}

/// A part of a text, for the route and for MCP.
///
/// # Errors
/// No such filing or section, or a span outside the text.
pub async fn part(
    app: &App,
    accession: Accession,
    query: TextQuery,
    most_bytes: usize,
) -> Result<TextReply, ApiError> {
    app.corpus
        .with(move |corpus| {
            let stored = corpus
                .stored(&accession)?
                .ok_or_else(|| ApiError::not_found("filing", accession.as_str()))?;
            let filing = &stored.filing;
            let whole = match &query.section {
                None => Span::new(0, filing.text.len()),
                Some(wanted) => section(&filing.sections, wanted)?.span,
            };
            let start = query.start.unwrap_or(whole.start);
            let end = query.end.unwrap_or(whole.end);
            if start > end || end > filing.text.len() || start < whole.start || end > whole.end {
                return Err(ApiError::invalid(format!(
                    "bytes {start} to {end} are not within {} to {}",
                    whole.start, whole.end
                )));
            }
            // Out to the next boundary at the start and back at the end: never half a character.
            let mut from = start;
            while !filing.text.is_char_boundary(from) {
                from += 1;
            }
            let mut to = end.min(from.saturating_add(most_bytes)).max(from);
            while !filing.text.is_char_boundary(to) {
                to -= 1;
            }
            let around = filing
                .sections
                .iter()
                .filter(|section| {
                    section.span.start <= from
                        && from < section.span.end.max(section.span.start + 1)
                })
                .max_by_key(|section| section.path.len());
            Ok(TextReply {
                span: Span::new(from, to),
                text: filing.text[from..to].to_owned(),
                section_path: around
                    .map(|section| section.path.clone())
                    .unwrap_or_default(),
                more: to < end,
            })
        })
        .await
}

fn section<'a>(sections: &'a [Section], wanted: &str) -> Result<&'a Section, ApiError> {
    let same = |id: &str| id.eq_ignore_ascii_case(wanted.trim());
    sections
        .iter()
        .find(|section| same(&section.id) || same(&section.title) || same(&section.path.join(" ")))
        .ok_or_else(|| ApiError::not_found("section", wanted))
}
