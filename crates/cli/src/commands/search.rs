//! `search`: passages by words, with filters.

use footnote_filings::DocType;
use footnote_index::{Filter, Hit, SearchBackend, SearchQuery};

use crate::args::SearchArgs;
use crate::commands::{Context, ask};
use crate::output::Outcome;
use crate::setup;

/// Characters of a passage that a terminal shows.
const SHOWN_CHARS: usize = 300;

pub fn run(args: &SearchArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let scope = ask::scope(&args.scope)?;
    let doc_types = args
        .scope
        .form
        .iter()
        .map(|form| form.parse::<DocType>())
        .collect::<Result<Vec<_>, _>>()?;
    let query = SearchQuery {
        text: args.query.clone(),
        filter: Filter {
            tickers: scope.tickers,
            doc_types,
            years: scope.years,
            ..Filter::default()
        },
        limit: usize::from(args.k),
        ..SearchQuery::default()
    };
    let hits = setup::corpus(context)?.search(&query)?;
    if args.json {
        output.json(&hits)?;
        return Ok(Outcome::Done);
    }
    if hits.is_empty() {
        output.step("nothing found; `footnote corpus stats` shows what there is to search");
    }
    for (rank, hit) in hits.iter().enumerate() {
        output.line(&shown(rank + 1, hit))?;
    }
    Ok(Outcome::Done)
}

fn shown(rank: usize, hit: &Hit) -> String {
    let mut place = vec![
        hit.meta
            .company
            .clone()
            .unwrap_or_else(|| hit.meta.accession.to_string()),
    ];
    place.push(hit.meta.form.to_string());
    place.extend(hit.meta.fiscal_period.map(|period| period.to_string()));
    place.extend(hit.passage.section_path.iter().cloned());
    place.extend(hit.passage.page.map(|page| format!("page {page}")));
    let mut text: String = hit.passage.text.chars().take(SHOWN_CHARS).collect();
    if text.len() < hit.passage.text.len() {
        text.push('…');
    }
    format!(
        "{rank:>3}. {:.2}  {}\n     {}\n     {}\n",
        hit.score,
        place.join(", "),
        hit.passage.id,
        text.replace('\n', "\n     ")
    )
}
