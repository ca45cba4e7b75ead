//! Contexts and units of an inline-XBRL header: when and about what a fact speaks.

use std::collections::HashMap;

use jiff::civil::Date;

use crate::html::lexer::{Attrs, decode};
use crate::types::FactPeriod;

/// Dimensions kept of one context; filings have up to about eight.
const MAX_DIMENSIONS: usize = 24;
/// Longest name or typed value kept.
const MAX_TEXT: usize = 256;

/// What a context says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Context {
    pub(crate) period: FactPeriod,
    pub(crate) dimensions: Vec<(String, String)>,
}

/// Collects `xbrli:context` and `xbrli:unit` from the elements inside `ix:resources`.
#[derive(Default)]
pub(crate) struct Resources<'a> {
    pub(crate) contexts: HashMap<&'a str, Context>,
    pub(crate) units: HashMap<&'a str, String>,
    context: Option<OpenContext<'a>>,
    unit: Option<OpenUnit<'a>>,
    text: String,
}

#[derive(Default)]
struct OpenContext<'a> {
    id: &'a str,
    start: Option<Date>,
    end: Option<Date>,
    instant: Option<Date>,
    forever: bool,
    dimensions: Vec<(String, String)>,
    /// Axis of the member being read, and whether it is typed.
    axis: Option<(String, bool)>,
}

#[derive(Default)]
struct OpenUnit<'a> {
    id: &'a str,
    above: Vec<String>,
    below: Vec<String>,
    in_denominator: bool,
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

impl<'a> Resources<'a> {
    pub(crate) fn start(&mut self, name: &'a str, attrs: &Attrs<'a>) {
        self.text.clear();
        let name = local(name);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("context") {
            self.context = attrs.get("id").map(|id| OpenContext {
                id,
                ..OpenContext::default()
            });
        } else if is("unit") {
            self.unit = attrs.get("id").map(|id| OpenUnit {
                id,
                ..OpenUnit::default()
            });
        } else if is("unitDenominator") {
            if let Some(unit) = &mut self.unit {
                unit.in_denominator = true;
            }
        } else if is("forever") {
            if let Some(context) = &mut self.context {
                context.forever = true;
            }
        } else if let Some(context) = &mut self.context {
            let typed = is("typedMember");
            if typed || is("explicitMember") {
                let axis = attrs.get("dimension").unwrap_or_default();
                context.axis = Some((clip(axis), typed));
            }
        }
    }

    pub(crate) fn text(&mut self, raw: &str) {
        let wanted = self.context.is_some() || self.unit.is_some();
        if wanted && self.text.len() < MAX_TEXT {
            self.text.push_str(&decode(raw));
        }
    }

    pub(crate) fn end(&mut self, name: &str) {
        let name = local(name);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("context") {
            self.end_context();
        } else if is("unit") {
            self.end_unit();
        } else if let Some(context) = &mut self.context {
            let text = self.text.trim();
            if is("startDate") {
                context.start = date(text);
            } else if is("endDate") {
                context.end = date(text);
            } else if is("instant") {
                context.instant = date(text);
            } else if is("explicitMember") || is("typedMember") {
                let fits = context.dimensions.len() < MAX_DIMENSIONS;
                if let Some((axis, _)) = context.axis.take().filter(|_| fits) {
                    context.dimensions.push((axis, clip(text)));
                }
            } else if context.axis.as_ref().is_some_and(|(_, typed)| *typed) {
                // The end of the element inside a typed member: its text is the member's.
                return;
            }
            self.text.clear();
        } else if let Some(unit) = &mut self.unit {
            if is("measure") {
                let measure = clip(local(self.text.trim()));
                if unit.in_denominator {
                    unit.below.push(measure);
                } else {
                    unit.above.push(measure);
                }
            } else if is("unitDenominator") {
                unit.in_denominator = false;
            }
            self.text.clear();
        }
    }

    fn end_context(&mut self) {
        let Some(context) = self.context.take() else {
            return;
        };
        let period = match (context.instant, context.start, context.end) {
            (Some(instant), _, _) => FactPeriod::Instant(instant),
            (None, Some(start), Some(end)) => FactPeriod::Duration(start, end),
            // No date that can be read is no time stated; `forever` says so itself.
            _ => FactPeriod::Forever,
        };
        let known = Context {
            period,
            dimensions: context.dimensions,
        };
        self.contexts.entry(context.id).or_insert(known);
    }

    fn end_unit(&mut self) {
        let Some(unit) = self.unit.take() else { return };
        let mut name = unit.above.join("*");
        if !unit.below.is_empty() {
            name.push('/');
            name.push_str(&unit.below.join("*"));
        }
        self.units.entry(unit.id).or_insert(name);
    }
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The day of an XBRL date or date-time.
fn date(text: &str) -> Option<Date> {
    text.get(..10)?.parse().ok()
}
