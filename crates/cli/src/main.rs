//! The `footnote` command: arguments in, one command run, an exit code out.
//!
//! The only crate that prints. Commands call the libraries and show what they return; nothing here
//! knows how a filing is read, searched or answered from.

mod args;
mod commands;
mod home;
mod output;
mod setup;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::args::Cli;
use crate::output::{Outcome, Output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // Help into a closed pipe is no failure.
            let _ = error.print();
            return ExitCode::from(if help { 0 } else { 2 });
        }
    };
    // Logs are for operators and off unless asked for; what a user must know is printed. The service
    // is an operator's command and starts its own.
    if !matches!(cli.command, args::Command::Serve(_)) {
        tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::try_from_env("FOOTNOTE_LOG").unwrap_or_else(|_| EnvFilter::new("off")),
            )
            .with_writer(std::io::stderr)
            .init();
    }
    let output = Output::new(cli.global.quiet);
    match commands::run(cli, &output) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::from(3),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<commands::Usage>() { 2 } else { 1 };
            output.error(&error);
            ExitCode::from(code)
        }
    }
}
