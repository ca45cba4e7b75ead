//! The agent: a question in, typed events and a footnoted answer out.
//!
//! This crate must not know axum or SQL.

mod agent;
mod answer;
pub mod calc;
mod checker;
pub mod doctype;
mod error;
mod event;
pub mod features;
mod figures;
mod model_ranker;
mod number;
mod question;
pub mod rank;
pub mod retrieve;
pub mod scope;
mod sheet;
pub mod synthetic;

pub use agent::{Agent, Settings};
pub use answer::{
    Answer, Calculation, ChosenBy, Footnote, FormulaSource, Input, NotFound, Removed, Statement,
    Trace, Working,
};
pub use checker::{Evidence, Verdict, check_statement, locate};
pub use doctype::{
    DescribedOrder, DocTypeRanker, DocTypeRanking, ExamplesOrder, FixedOrder, GeneratedOrder,
    LearnedOrder, NearestOrder, ProbeOrder, RandomOrder,
};
pub use error::AgentError;
pub use event::{AttendedPassage, Event, HeadShare, LineRead, PassageShown, Step};
pub use model_ranker::ModelRanker;
pub use number::{
    Agreement, NumberInText, Scale, Show, Unit, agree, grouped, numbers_in, round, stated_scale,
};
pub use question::{AskedScope, MAX_QUESTION_CHARS, Question};
