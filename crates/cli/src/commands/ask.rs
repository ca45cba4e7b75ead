//! `ask`: a question in, its steps as they happen, then the answer with numbered footnotes.

use footnote_agent::{
    Answer, AskedScope, AttendedPassage, Event, Footnote, NotFound, Question, Settings, Step,
};
use footnote_filings::{DocType, Form, Ticker};

use crate::args::{AskArgs, ScopeArgs};
use crate::commands::{Context, Usage, traces};
use crate::output::{Outcome, Output};
use crate::setup;

/// Characters shown of a line that is explained.
const EXPLAINED_CHARS: usize = 110;

pub fn run(args: &AskArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let question = Question {
        text: args.question.clone(),
        scope: scope(&args.scope)?,
    };
    // What is wrong with a question is said before a gigabyte is fetched for it.
    question.check().map_err(|error| Usage(error.to_string()))?;
    if args.compress.pairs().is_some() {
        return Err(Usage(format!(
            "{} keeps pairs of a cache and no lines; choose specpc-heads:C, specpc:C or bm25:C",
            args.compress
        ))
        .into());
    }
    let settings = Settings {
        compress: args.compress,
        explain: args.explain,
        ..Settings::default()
    };
    if args.compress.budget().is_some() && args.model.is_some() && args.draft.is_none() {
        return Err(Usage(format!(
            "{} needs a draft model that reads the excerpts first; name one with --draft",
            args.compress
        ))
        .into());
    }
    let (model, draft) = (args.model.as_deref(), args.draft.as_deref());
    let agent = setup::agent(model, draft, settings, context)?;

    let mut failed = Ok(());
    let answer = agent.ask(&question, &mut |event: Event| {
        if args.stream && failed.is_ok() {
            failed = output.json_line(&event);
        } else if !args.json
            && let Some(line) = step_line(&event)
        {
            output.step(&line);
        }
    })?;
    failed?;
    // An answer is worth more than the record of it.
    if let Err(error) = traces::keep(&answer, "ask", context) {
        output.warning(&format!("the trace of this answer is not kept: {error:#}"));
    }
    if args.json {
        output.json(&answer)?;
    } else if !args.stream {
        print(&answer, output)?;
        if args.explain {
            explain(&answer, output)?;
        }
    }
    Ok(Outcome::Done)
}

/// What was read and what won, for people.
fn explain(answer: &Answer, output: &Output) -> anyhow::Result<()> {
    let explained = answer
        .trace
        .events
        .iter()
        .filter_map(|event| match &event.step {
            Step::Explained {
                by,
                why_not,
                passages,
            } => Some((by, why_not, passages)),
            _ => None,
        });
    let mut told = false;
    for (by, why_not, passages) in explained {
        told = true;
        match (by, why_not) {
            (Some(model), _) => output.line(&format!(
                "\nWhat was read, and what the question attends to by {model} (less what any question would):"
            ))?,
            (None, why) => output.line(&format!(
                "\nWhat was read (no attention: {}):",
                why.as_deref().unwrap_or("no model tells it")
            ))?,
        }
        let mut order: Vec<&AttendedPassage> = passages.iter().collect();
        order.sort_by(|a, b| b.share.unwrap_or(0.0).total_cmp(&a.share.unwrap_or(0.0)));
        for passage in order {
            explain_passage(passage, output)?;
        }
    }
    if !told {
        output.line(
            "\nNo excerpts were read: code found the figures in the filings' tables, and the model wrote nothing.",
        )?;
    }
    Ok(())
}

fn explain_passage(passage: &AttendedPassage, output: &Output) -> anyhow::Result<()> {
    let mut place = vec![passage.accession.to_string()];
    place.extend(passage.section_path.last().cloned());
    place.extend(passage.page.map(|page| format!("page {page}")));
    let share = passage.share.map_or_else(
        || "  ".to_owned(),
        |share| format!("{:>3.0} %", 100.0 * share),
    );
    let heads: Vec<String> = passage
        .heads
        .iter()
        .filter(|head| head.share > 0.0)
        .map(|head| format!("{}-{} {:.0} %", head.layer, head.head, 100.0 * head.share))
        .collect();
    let by = match heads.is_empty() {
        true => String::new(),
        false => format!(" (heads {})", heads.join(", ")),
    };
    let kept = passage.lines.iter().filter(|line| line.kept).count();
    output.line(&format!(
        "\n{share}  {}{by}; {kept} of {} lines read",
        place.join(", "),
        passage.lines.len()
    ))?;
    for line in &passage.lines {
        let mark = if line.kept { '+' } else { '-' };
        let text: String = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
        output.line(&format!("    {mark} {}", shortened(&text, EXPLAINED_CHARS)))?;
    }
    Ok(())
}

/// At most so many characters of a line.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The typed scope of the flags.
pub fn scope(args: &ScopeArgs) -> anyhow::Result<AskedScope> {
    let usage = |error: footnote_filings::FilingsError| Usage(error.to_string());
    let tickers = args
        .ticker
        .iter()
        .map(|ticker| ticker.parse::<Ticker>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(usage)?;
    // Checked for being one of the five kinds, so that a slip of the pen is an error and not an
    // empty result.
    for form in &args.form {
        form.parse::<DocType>().map_err(usage)?;
    }
    let forms = args.form.iter().map(|form| Form::new(form)).collect();
    Ok(AskedScope {
        tickers,
        forms,
        years: args.year.clone(),
    })
}

fn step_line(event: &Event) -> Option<String> {
    let text = match &event.step {
        Step::Scope {
            companies,
            periods,
            forms,
            filings,
        } => {
            let named = |list: &[String], none: &str| {
                if list.is_empty() {
                    none.to_owned()
                } else {
                    list.join(", ")
                }
            };
            format!(
                "scope      {}; {}; {}; {filings} filings",
                named(companies, "any company"),
                named(periods, "any period"),
                named(forms, "any form")
            )
        }
        Step::DocTypes { ranking } => {
            let order: Vec<&str> = ranking.order.iter().map(|kind| kind.name()).collect();
            format!("documents  {} (by {})", order.join(" > "), ranking.ranker)
        }
        Step::Passages { passages, .. } => {
            let first = passages.first().map_or(String::new(), |passage| {
                let page = passage
                    .page
                    .map_or(String::new(), |page| format!(" page {page}"));
                let section = passage.section_path.join(" > ");
                format!(", first {}{page} {section}", passage.accession)
            });
            format!("passages   {}{first}", passages.len())
        }
        Step::Plan { name, formula, .. } => format!("formula    {name} = {formula}"),
        Step::Figure { input } => {
            format!(
                "figure     {} {}: {} ({})",
                input.item, input.period, input.written, input.label
            )
        }
        Step::Shortened {
            policy,
            tokens,
            tokens_kept,
            lines,
            lines_kept,
        } => format!(
            "shortened  {tokens_kept} of {tokens} tokens, {lines_kept} of {lines} lines (by {policy})"
        ),
        Step::Explained { passages, .. } => format!("explained  {} passages", passages.len()),
        Step::Evidence { lines } => format!("evidence   {} lines", lines.len()),
        Step::Removed { text, reason } => format!("removed    {text:?}: {reason}"),
        Step::Token { .. } | Step::Citation { .. } | Step::Answer { .. } | Step::Error { .. } => {
            return None;
        }
    };
    Some(format!("{:>7.1} s  {text}", event.at_ms / 1e3))
}

fn print(answer: &Answer, output: &Output) -> anyhow::Result<()> {
    output.line("")?;
    if let Some(not_found) = &answer.not_found {
        return print_not_found(not_found, output);
    }
    output.line(&answer.text)?;
    for statement in answer
        .statements
        .iter()
        .filter(|statement| !statement.verified)
    {
        let doubt = statement
            .doubt
            .as_deref()
            .unwrap_or("it could not be checked");
        output.line(&format!("\nUNVERIFIED: {:?}: {doubt}", statement.text))?;
    }
    if let Some(calculation) = &answer.calculation {
        output.line(&format!("\n{} = {}", calculation.name, calculation.formula))?;
        for step in &calculation.steps {
            output.line(&format!(
                "  {} = {} = {}",
                step.name, step.expression, step.shown
            ))?;
        }
    }
    output.line("")?;
    for footnote in &answer.footnotes {
        output.line(&footnote_line(footnote))?;
    }
    output.step(&format!(
        "\n{:.1} s, {} tokens read and {} written by {}",
        answer.trace.total_ms / 1e3,
        answer.trace.tokens_in,
        answer.trace.tokens_out,
        answer.trace.model
    ));
    Ok(())
}

fn footnote_line(footnote: &Footnote) -> String {
    let mut place = vec![
        footnote
            .company
            .clone()
            .unwrap_or_else(|| footnote.accession.to_string()),
        footnote.form.to_string(),
    ];
    place.extend(footnote.period.map(|period| period.to_string()));
    place.extend(footnote.section_path.iter().cloned());
    place.extend(footnote.page.map(|page| format!("page {page}")));
    let mark = if footnote.verified {
        ""
    } else {
        " (UNVERIFIED)"
    };
    format!(
        "[{}] {}{mark}\n    \"{}\"\n    {} bytes {} to {}",
        footnote.n,
        place.join(", "),
        footnote.quote.replace('\n', " / "),
        footnote.accession,
        footnote.span.start,
        footnote.span.end
    )
}

fn print_not_found(not_found: &NotFound, output: &Output) -> anyhow::Result<()> {
    output.line(&format!("Not found in the filings: {}", not_found.reason))?;
    let searched = |what: &str, list: &[String]| {
        if list.is_empty() {
            format!("all {what}")
        } else {
            format!("{what}: {}", list.join(", "))
        }
    };
    output.line(&format!(
        "Searched {} filings and read {} passages ({}; {}; {}).",
        not_found.filings,
        not_found.passages,
        searched("companies", &not_found.companies),
        searched("periods", &not_found.periods),
        searched("forms", &not_found.forms)
    ))
}
