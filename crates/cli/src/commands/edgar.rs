//! `corpus get`: filings downloaded from SEC EDGAR, then imported.

use anyhow::bail;
use footnote_filings::Form;
use footnote_filings::edgar::{self, Endpoints, FetchRequest, Progress};
use serde_json::json;

use crate::args::GetArgs;
use crate::commands::{Context, Usage, corpus};
use crate::output::Outcome;

pub fn get(args: &GetArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    if context.offline {
        bail!("`corpus get` needs the network and --offline forbids it");
    }
    // Without it SEC refuses every request, so it is asked for before anything else.
    edgar::check_user_agent(args.user_agent.as_deref())
        .map_err(|error| Usage(error.to_string()))?;
    let since = edgar::parse_since(&args.since).map_err(|error| Usage(error.to_string()))?;
    let dir = args.dir.clone().unwrap_or_else(|| context.home.edgar());
    let forms = args.forms.iter().map(|form| Form::new(form)).collect();
    let mut request = FetchRequest::new(args.ticker.clone(), forms, since, dir.clone());
    request.user_agent.clone_from(&args.user_agent);
    if let Some(url) = &args.edgar_url {
        let url = url.trim_end_matches('/').to_owned();
        request.endpoints = Endpoints {
            www: url.clone(),
            data: url,
        };
    }

    let bar = output.items_bar("listing filings", 0);
    let report = edgar::fetch(&request, &mut |progress| match progress {
        Progress::Listing { company } => bar.set_message(format!("listing {company}")),
        Progress::Planned { filings } => bar.set_length(filings as u64),
        Progress::Filing { number, name, .. } => {
            bar.set_position(number as u64 - 1);
            bar.set_message(name);
        }
        Progress::Waiting { wait, reason, .. } => {
            bar.set_message(format!("waiting {:.0} s: {reason}", wait.as_secs_f64()));
        }
        Progress::Failed { item, error } => {
            bar.suspend(|| output.warning(&format!("left out: {item}: {error}")));
        }
        _ => {}
    });
    bar.finish_and_clear();
    let report = report?;
    for doubt in &report.doubts {
        output.warning(doubt);
    }
    output.step(&format!(
        "{} documents fetched, {} were there already, {} failed; they are in {}",
        report.fetched.len(),
        report.already_there,
        report.failed.len(),
        dir.display()
    ));
    if report.fetched.is_empty() && report.already_there == 0 {
        bail!("nothing was fetched");
    }
    let imported = corpus::import(&[&dir], false, context)?;
    let outcome = if args.json {
        output.json(&json!({
            "fetched": report.fetched,
            "already_there": report.already_there,
            "bytes": report.bytes,
            "failed": report.failed.iter().map(|failed| json!({
                "item": failed.item,
                "error": failed.error.to_string(),
            })).collect::<Vec<_>>(),
            "imported": imported.added.len() + imported.replaced.len(),
        }))?;
        Outcome::Done
    } else {
        corpus::report(&imported, false, output)?
    };
    Ok(if report.failed.is_empty() && imported.failed.is_empty() {
        outcome
    } else {
        Outcome::Partly
    })
}
