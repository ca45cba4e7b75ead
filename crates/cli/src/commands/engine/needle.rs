//! `engine needle`: sentences hidden in long prompts, and whether a compression keeps them.
//!
//! Haystack and needles are invented here and drawn by number, so that every run asks the same.

use footnote_engine::compress::{Asked, compress};
use footnote_engine::{Message, Prompt, Role};
use serde::Serialize;
use serde_json::json;

use crate::args::NeedleArgs;
use crate::commands::engine::draft;
use crate::commands::{Context, Usage};
use crate::output::Outcome;

/// What the haystack is made of; `{}` is a number.
const STRAW: [&str; 12] = [
    "Net sales of the valves segment came to {} thousand in the quarter, little changed from the year before.",
    "The committee met {} times and reviewed the reports of the internal auditors.",
    "Depreciation is charged over {} years on a straight-line basis.",
    "Management believes that the provision of {} thousand is sufficient.",
    "The lease of the Hexham works runs for another {} months.",
    "Foreign exchange reduced operating income by {} thousand.",
    "Customers in the north accounted for {} percent of orders.",
    "The company employed {} people in its foundries at the end of the period.",
    "Inventories of castings rose to {} thousand as deliveries were delayed.",
    "No impairment was recognised for the {} patents acquired earlier.",
    "The revolving facility of {} thousand was undrawn.",
    "Interest on the notes is paid every {} weeks.",
];
/// Whose codes are hidden.
const KEEPERS: [&str; 8] = [
    "Aquillon",
    "Brantham",
    "Cindervale",
    "Dornwick",
    "Eskmoor",
    "Foxholt",
    "Garrick",
    "Hollin",
];

/// One needle.
#[derive(Serialize)]
struct Found {
    length: usize,
    depth: f64,
    /// Tokens that stayed.
    kept: usize,
    /// Whether all tokens of the code stayed.
    retained: bool,
    /// Share of the needle sentence's tokens that stayed.
    share: f64,
    ms: f64,
}

pub fn run(args: &NeedleArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    if args.depths.iter().any(|depth| !(0.0..=1.0).contains(depth)) {
        return Err(Usage("a depth is between 0 and 1".to_owned()).into());
    }
    if args.compress.pairs().is_some() {
        let (budget, policy) = (args.compress.budget().unwrap_or(0), args.compress);
        return Err(Usage(format!(
            "{policy} lets go of keys and values, head by head, and keeps every token; measure specpc:{budget}"
        ))
        .into());
    }
    let longest = args.lengths.iter().copied().max().unwrap_or(0);
    let draft = draft(&args.draft, args.heads.as_deref(), context)?;
    if longest > draft.context() {
        return Err(Usage(format!(
            "{} reads at most {} tokens",
            args.draft,
            draft.context()
        ))
        .into());
    }
    let count = args.lengths.len() * args.depths.len() * args.repeat as usize;
    let bar = output.items_bar("needles", count as u64);
    let mut all = Vec::new();
    for length in &args.lengths {
        for depth in &args.depths {
            for repeat in 0..args.repeat as usize {
                let seed = repeat * 31 + (depth * 100.0) as usize * 7 + length;
                let keeper = KEEPERS[seed % KEEPERS.len()];
                let code = 10_000 + (seed * 7919) % 90_000;
                let needle = format!("The vault code of {keeper} is {code}.");
                let question =
                    format!("What is the vault code of {keeper}? Answer with the number alone.");
                let text = |sentences: usize| {
                    let mut straw: Vec<String> =
                        (0..sentences).map(|at| sentence(at, seed)).collect();
                    straw.insert((depth * sentences as f64) as usize, needle.clone());
                    format!("{}\n\n{question}", straw.join(" "))
                };
                let encode = |sentences: usize| {
                    let chat = vec![Message::new(Role::User, text(sentences))];
                    draft.encode(&Prompt::Chat(chat))
                };
                // As many sentences as fit.
                let (mut low, mut high) = (1, *length);
                while low + 1 < high {
                    let middle = (low + high) / 2;
                    // A sentence has at least eight tokens: far too many need no tokenising.
                    if middle * 8 > *length || encode(middle)?.len() > *length {
                        high = middle;
                    } else {
                        low = middle;
                    }
                }
                let tokens = encode(low)?;
                let spans = |text: &str| {
                    footnote_engine::compress::ranges_of(
                        &tokens,
                        draft.tokenizer(),
                        &[text.to_owned()],
                    )
                };
                let focus = spans(&question).pop().unwrap_or(0..tokens.len());
                let asked = Asked {
                    focus,
                    ..Asked::by_its_end(&tokens)
                };
                let short = compress(args.compress, &asked, draft.tokenizer(), Some(&draft))?;
                let stays = |at: usize| short.kept.binary_search(&at).is_ok();
                let sentence: Vec<usize> = spans(&needle).into_iter().flatten().collect();
                let digits: Vec<usize> = spans(&code.to_string()).into_iter().flatten().collect();
                let stayed = sentence.iter().filter(|at| stays(**at)).count();
                all.push(Found {
                    length: tokens.len(),
                    depth: *depth,
                    kept: short.kept.len(),
                    retained: !digits.is_empty() && digits.iter().all(|at| stays(*at)),
                    share: stayed as f64 / sentence.len().max(1) as f64,
                    ms: short.ms,
                });
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let retention =
        all.iter().filter(|found| found.retained).count() as f64 / all.len().max(1) as f64;
    if args.json {
        output.json(&json!({
            "draft": args.draft,
            "compress": args.compress,
            "retention": retention,
            "needles": all,
        }))?;
        return Ok(Outcome::Done);
    }
    output.line(&format!(
        "{} by {}: {:.0} % of {} needles kept",
        args.compress,
        args.draft,
        100.0 * retention,
        all.len()
    ))?;
    for found in &all {
        output.line(&format!(
            "  {} tokens, depth {:.2}: {}, {:.0} % of the sentence, {} tokens stay, {:.0} ms",
            found.length,
            found.depth,
            if found.retained { "kept" } else { "lost" },
            100.0 * found.share,
            found.kept,
            found.ms
        ))?;
    }
    Ok(Outcome::Done)
}

/// Sentence `at` of a haystack.
fn sentence(at: usize, seed: usize) -> String {
    let drawn = (at * 2_654_435_761 + seed * 40_503) % 1_000_003;
    STRAW[drawn % STRAW.len()].replace("{}", &(drawn % 9_000 + 12).to_string())
}
