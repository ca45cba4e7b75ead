//! `POST /v1/search`: passages by words, with filters.

use std::sync::Arc;

use axum::extract::State;
use footnote_agent::AskedScope;
use footnote_filings::{DocType, FilingMeta};
use footnote_index::{CompanyEntry, Filter, Hit, SearchBackend as _, SearchQuery};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answers::check_scope;
use crate::auth::{Caller, Scope};
use crate::error::{ApiError, ErrorCode};
use crate::extract::Json;
use crate::openapi::Errors;
use crate::state::App;

/// Characters of a query.
const QUERY_CHARS_MAX: usize = 4_000;
/// Deepest hit.
const DEEPEST: usize = 10_000;

/// A search.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Plain words; a part in double quotes is a phrase. Any text is valid.
    #[schema(example = "supply chain risk")]
    pub query: String,
    /// Where to look.
    #[serde(default)]
    pub scope: AskedScope,
    /// How many passages; 100 at most unless the server allows more.
    #[serde(default = "ten")]
    pub k: usize,
    /// Leave out this many first.
    #[serde(default)]
    pub offset: usize,
}

fn ten() -> usize {
    10
}

/// What was found, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchReply {
    /// The passages with what is known of their filings.
    pub hits: Vec<Hit>,
}

/// What of a filing's description is for outside: not where its file lies on the server.
pub fn public(mut meta: FilingMeta) -> FilingMeta {
    let name = meta.source.rsplit(['/', '\\']).next().unwrap_or_default();
    meta.source = name.to_owned();
    meta
}

/// A scope as the index filters by it.
pub fn filter(scope: &AskedScope) -> Filter {
    Filter {
        tickers: scope.tickers.clone(),
        doc_types: scope
            .forms
            .iter()
            .filter_map(|form| form.as_str().parse::<DocType>().ok())
            .collect(),
        years: scope.years.clone(),
        ..Filter::default()
    }
}

/// Search passages.
#[utoipa::path(
    post, path = "/v1/search", tag = "filings", request_body = SearchRequest,
    responses((status = 200, body = SearchReply), Errors)
)]
pub async fn search(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<SearchRequest>,
) -> Result<axum::Json<SearchReply>, ApiError> {
    caller.need(Scope::Search)?;
    Ok(axum::Json(found(&app, request).await?))
}

/// The search itself, for the route and for MCP.
///
/// # Errors
/// What is wrong with the request, no turn in time, no corpus.
pub async fn found(app: &App, request: SearchRequest) -> Result<SearchReply, ApiError> {
    check_scope(&request.scope)?;
    let limits = app.settings.limits;
    if request.k == 0 || request.k > limits.passages {
        return Err(ApiError::invalid(format!("k is 1 to {}", limits.passages)));
    }
    if request.offset > DEEPEST {
        return Err(ApiError::invalid(format!(
            "offset is at most {DEEPEST}; narrow the search instead"
        )));
    }
    if request.query.chars().count() > QUERY_CHARS_MAX {
        return Err(ApiError::invalid(format!(
            "a query has at most {QUERY_CHARS_MAX} characters"
        )));
    }
    let query = SearchQuery {
        filter: filter(&request.scope),
        text: request.query,
        limit: request.k,
        offset: request.offset,
        ..SearchQuery::default()
    };
    let work = async {
        let turn = Arc::clone(&app.searching)
            .acquire_owned()
            .await
            .map_err(ApiError::internal)?;
        app.corpus
            .with(move |corpus| {
                let _turn = turn;
                Ok(corpus.search(&query)?)
            })
            .await
    };
    let hits = tokio::time::timeout(limits.search_timeout, work)
        .await
        .map_err(|_| {
            ApiError::new(
                ErrorCode::Timeout,
                format!("the search took longer than {:?}", limits.search_timeout),
            )
        })??;
    Ok(SearchReply {
        hits: hits
            .into_iter()
            .map(|hit| Hit {
                meta: public(hit.meta),
                ..hit
            })
            .collect(),
    })
}

/// The companies of the corpus.
#[utoipa::path(
    get, path = "/v1/companies", tag = "filings",
    responses((status = 200, body = Vec<CompanyEntry>), Errors)
)]
pub async fn companies(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Vec<CompanyEntry>>, ApiError> {
    caller.need(Scope::Search)?;
    let companies = app.corpus.with(|corpus| Ok(corpus.companies()?)).await?;
    Ok(axum::Json(companies))
}
