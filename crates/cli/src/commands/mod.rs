//! One module a command: turns arguments into library calls and shows what comes back.

mod eval;

use std::fmt;

use crate::args::{Cli, Command, EvalCommand};
use crate::output::{Outcome, Output};

/// Wrong usage that clap could not see; exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Runs the command that was typed.
pub fn run(cli: Cli, output: &Output) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Eval(EvalCommand::Score(args)) => eval::score(&args, output),
        other => anyhow::bail!("{other:?} is not built yet"),
    }
}
