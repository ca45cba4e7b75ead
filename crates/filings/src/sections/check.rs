//! Says what is implausible about the sections found: a wrong section that nobody mentions is worse
//! than none.

use std::collections::HashSet;

use super::candidates::Candidate;
use super::catalogue::{Item, roman};
use crate::types::Span;
use crate::{Warning, WarningCode};

/// An item found: its place in the catalogue, its section, where its heading ends.
pub(super) struct Found<'a> {
    pub(super) at: usize,
    pub(super) span: Span,
    pub(super) heading_end: usize,
    pub(super) in_order: bool,
    pub(super) candidate: &'a Candidate,
}

/// The name of an item in messages and ids.
pub(super) fn name(form: &[Item], at: usize, with_part: bool) -> String {
    let item = &form[at];
    if item.number.is_empty() {
        format!("Part {}", roman(item.part))
    } else if with_part {
        format!("Part {} Item {}", roman(item.part), item.number)
    } else {
        format!("Item {}", item.number)
    }
}

/// The warnings about the items of a form.
pub(super) fn check(
    text: &str,
    form: &[Item],
    with_part: bool,
    found: &[Found<'_>],
    warnings: &mut Vec<Warning>,
) {
    let have: HashSet<usize> = found.iter().map(|f| f.at).collect();
    for (at, item) in form.iter().enumerate() {
        let expected = item.required
            // Risk factors came with the same rules as item 9A's neighbours; a filing that has the one
            // and not the other lost it.
            || (item.number == "1A" && !with_part && form.iter().enumerate().any(|(i, other)| other.number == "1B" && have.contains(&i)));
        if expected && !have.contains(&at) && !item.number.is_empty() {
            warnings.push(Warning::new(
                WarningCode::SectionMissing,
                format!("{} was not found", name(form, at, with_part)),
            ));
        }
    }
    for item in found {
        let known = &form[item.at];
        if known.number.is_empty() {
            continue;
        }
        let name = name(form, item.at, with_part);
        if !item.in_order {
            warnings.push(Warning::at(
                WarningCode::SectionOrder,
                format!("{name} stands out of the form's order"),
                item.span,
            ));
        }
        let body = text
            .get(item.heading_end..item.span.end)
            .unwrap_or_default()
            .trim();
        let letters = body.chars().filter(|c| c.is_alphabetic()).take(4).count();
        let reserved = ["reserved", "removed", "not applicable", "none", "omitted"]
            .iter()
            .any(|word| item.candidate.title.to_lowercase().contains(word));
        let (least, most) = known.size;
        if letters < 3 {
            if !reserved {
                warnings.push(Warning::at(
                    WarningCode::SectionEmpty,
                    format!("{name} holds nothing besides its heading"),
                    item.span,
                ));
            }
        } else if item.span.len() < least && !reserved {
            let lower = body.to_lowercase();
            let elsewhere = [
                "incorporated",
                "reference",
                "refer to",
                "see ",
                "appears",
                "included",
                "set forth",
                "contained in",
            ]
            .iter()
            .any(|word| lower.contains(word));
            let message = if elsewhere {
                format!(
                    "{name} only points to where its text is ({} characters)",
                    body.len()
                )
            } else {
                format!("{name} has only {} characters", body.len())
            };
            warnings.push(Warning::at(WarningCode::SectionSmall, message, item.span));
        } else if item.span.len() > most {
            warnings.push(Warning::at(
                WarningCode::SectionLarge,
                format!(
                    "{name} has {} characters; more than {most} are implausible, another item's heading may be missing",
                    item.span.len()
                ),
                item.span,
            ));
        }
    }
}
