//! `engine compress`: what a compression keeps of a prompt, as text.

use footnote_engine::compress::ShortenRequest;
use footnote_engine::{Message, Role};
use serde_json::json;

use crate::args::CompressArgs;
use crate::commands::Context;
use crate::commands::engine::{draft, read_text};
use crate::output::Outcome;

pub fn run(args: &CompressArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let text = read_text(&args.prompt_file)?;
    let draft = draft(&args.draft, args.heads.as_deref(), context)?;
    let short = draft.shorten(&ShortenRequest {
        messages: vec![Message::new(Role::User, text)],
        policy: args.compress,
        protect: args.protect.clone(),
        focus: args.focus.clone(),
    })?;
    let text: String = short.messages.into_iter().map(|m| m.content).collect();
    if args.json {
        let spans: Vec<[usize; 2]> = short
            .spans
            .concat()
            .into_iter()
            .map(|span| [span.start, span.end])
            .collect();
        output.json(&json!({
            "text": text,
            "spans": spans,
            "policy": args.compress,
            "tokens_in": short.tokens_in,
            "tokens_kept": short.tokens_kept,
            "ms": short.ms,
        }))?;
    } else {
        output.line(&text)?;
        output.step(&format!(
            "{} of {} tokens stay by {}; {:.1} s",
            short.tokens_kept,
            short.tokens_in,
            args.compress,
            short.ms / 1e3
        ));
    }
    Ok(Outcome::Done)
}
