//! The description of the API, generated from the code, and a viewer of it.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema as _, ToSchema as _};

use crate::error::{ErrorBody, ErrorCode};
use crate::routes::documented;
use crate::state::App;

/// What stands above the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Footnote",
        description = "Answers over SEC filings, with footnotes that the program has checked against the filings. \
                       Errors are `{code, message, request_id}`; a code never changes its meaning.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "answers", description = "Questions, their traces, and what readers think of them"),
        (name = "filings", description = "Search and reading"),
        (name = "jobs", description = "Imports, evaluations and exports"),
        (name = "openai", description = "The same in OpenAI's form"),
        (name = "operation", description = "For whoever runs the server")
    ),
    components(schemas(ErrorBody, ErrorCode)),
    security(("key" = [])),
    modifiers(&Keys)
)]
pub struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key of `footnote keys create`; not needed on loopback unless the server says so."))
            .build();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The errors that any route may give.
pub struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses: BTreeMap<String, RefOr<Response>> = BTreeMap::new();
        let mut meanings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for code in ErrorCode::ALL {
            meanings
                .entry(code.status().as_str().to_owned())
                .or_default()
                .push(format!("`{}`: {}", code.word(), code.meaning()));
        }
        for (status, meaning) in meanings {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(ErrorBody::name())))
                .build();
            let response = ResponseBuilder::new()
                .description(meaning.join(" "))
                .content("application/json", content)
                .build();
            responses.insert(status, response.into());
        }
        responses
    }
}

/// The document as JSON, as `/openapi.json` gives it.
///
/// # Errors
/// Never for this document; the type is the serialiser's.
pub fn json() -> Result<String, serde_json::Error> {
    // A schema that only errors name.
    let _ = ErrorBody::schema();
    documented().split_for_parts().1.to_pretty_json()
}

/// `/openapi.json` and its viewer.
pub fn router(document: &utoipa::openapi::OpenApi) -> Router<App> {
    let text = document
        .to_json()
        .expect("a document of strings and maps is JSON");
    Router::new().route(
        "/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, "application/json")], text)),
    )
}
