//! Arithmetic is the program's, not the model's: formulas, the metrics that analysts name, and the
//! reading of a definition written in a question.
//!
//! Nothing here reads filings; figures arrive as amounts with a unit.

mod asked;
mod catalogue;
mod closed;
mod definition;
mod formula;
mod period;
mod plan;

pub(crate) use asked::{asks, wants_figure};
pub use catalogue::{Item, Metric, StatementKind, item_named, metric_named};
pub use closed::{ClosedFormula, MAX_FIGURES};
pub use definition::{Over, Phrase, parse_formula};
pub use formula::{Amount, Expr, evaluate, written};
pub(crate) use period::periods_in;
pub use plan::{Aim, Asks, Plan, PlanStep, Wanted, WantedItem, plan};
