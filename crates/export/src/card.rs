//! The data card, `README.md`, for whoever finds the folder later.

use crate::form::Form;
use crate::manifest::Manifest;

/// The grader of `rft` rows, as the benchmark's authors define it.
pub(crate) const GRADER: &str = r#""""Grades a ranking by nDCG@k with gain 2^grade - 1 (FinAgentBench's metric)."""
import json
import math
import re


def grade(sample: dict, item: dict, k: int = 5) -> float:
    """`sample["output_text"]` holds a list of indices, `item["qrel"]` the grade of each index."""
    found = re.search(r"\[[\d,\s]*\]", sample.get("output_text") or "")
    ranking = json.loads(found.group(0)) if found else []
    grades = {int(index): int(value) for index, value in item["qrel"].items()}
    valid = bool(ranking) and len(set(ranking)) == len(ranking) and all(i in grades for i in ranking)
    ideal = sorted(grades.values(), reverse=True)[:k]
    best = sum((2**g - 1) / math.log2(p + 2) for p, g in enumerate(ideal))
    if not valid or best == 0:
        return 0.0
    got = sum((2 ** grades[i] - 1) / math.log2(p + 2) for p, i in enumerate(ranking[:k]))
    return got / best
"#;

/// The card of an export.
pub(crate) fn card(manifest: &Manifest) -> String {
    let about = match manifest.form {
        Form::Sft => {
            "Chats to imitate: `messages` as TRL and OpenAI take them, the assistant's turn last."
        }
        Form::Preferences => {
            "Pairs of a better and a worse answer: `prompt`, `chosen` and `rejected` as lists of messages (TRL). \
             `metadata` says who gave the rejected one."
        }
        Form::Rft => {
            "Prompts with `qrel`, the grade of every candidate, for reinforcement fine-tuning; `grader.py` is the \
             reward."
        }
        Form::Rerank => {
            "Queries with lists of relevant (`positive`) and irrelevant (`negative`) texts, the likeliest mistakes \
             first (sentence-transformers)."
        }
        Form::Qrels => {
            "Relevance judgements: `SPLIT.qrels` in TREC's form, `queries.jsonl` and `corpus.jsonl` with `_id` and \
             `text`."
        }
    };
    let mut card = format!(
        "# Fine-tuning data: {}\n\n{about}\n\nIn Parquet, `metadata` and `qrel` are strings of JSON.\n\n## Splits\n\n\
         Parted by {}, seed {}. Nothing that a side is parted by is on two sides; `footnote export check` proves it.\n\n\
         | split | rows |\n|---|---|\n",
        manifest.form,
        match manifest.split_by {
            crate::SplitBy::Company => "company",
            crate::SplitBy::Template => "wording",
            crate::SplitBy::Both => "company and wording",
        },
        manifest.seed
    );
    for (split, rows) in &manifest.rows {
        card.push_str(&format!("| {split} | {rows} |\n"));
    }
    card.push_str("\n## Sources\n\n| source | examples | defects | SHA-256 |\n|---|---|---|---|\n");
    for source in &manifest.sources {
        card.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            source.name.replace('|', "/"),
            source.examples,
            source.defects,
            source.sha256.as_deref().unwrap_or("-")
        ));
    }
    let counts = &manifest.counts;
    card.push_str(&format!(
        "\n## What was left out\n\nOf {} examples: {} exact doubles, {} near doubles, {} whose company and wording fell \
         on different sides.\n",
        counts.examples, counts.doubles, counts.near_doubles, counts.between_sides
    ));
    for (reason, count) in &counts.unfit {
        card.push_str(&format!("{count} left out: {reason}.\n"));
    }
    if let Some(words) = &manifest.reworded {
        card.push_str(&format!(
            "\n## Wording\n\n{} questions are in the words of {}, {} in the template's, since the model's changed a name or a \
             number.\n",
            words.reworded, words.model, words.kept
        ));
    }
    card.push_str(&format!("\n## Licence\n\n{}\n", manifest.licence_note));
    card
}
