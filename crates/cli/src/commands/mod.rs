//! One module a command: turns arguments into library calls and shows what comes back.

pub mod ask;
pub mod corpus;
mod doctor;
mod edgar;
pub mod engine;
mod eval;
mod export;
mod keys;
pub mod models;
mod rank;
mod retrieve;
mod search;
mod serve;
mod traces;
mod train;

use std::fmt;

use footnote_engine::LocalOptions;
use footnote_engine::device::DeviceChoice;

use crate::args::{Cli, Command, RankCommand, TrainCommand};
use crate::home::Home;
use crate::output::{Outcome, Output};

/// What every command needs to know.
#[derive(Clone)]
pub struct Context {
    /// Where things are kept.
    pub home: Home,
    /// Whether the network is forbidden.
    pub offline: bool,
    /// Where local models run, where it was said.
    pub device: Option<DeviceChoice>,
    /// Where things are said.
    pub output: Output,
}

impl Context {
    /// Where local models run.
    pub fn device(&self) -> DeviceChoice {
        self.device.unwrap_or_default()
    }

    /// How a local model runs where a command has no wishes of its own.
    pub fn local_options(&self) -> LocalOptions {
        LocalOptions {
            device: self.device(),
            ..LocalOptions::default()
        }
    }
}

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
    let context = Context {
        home: Home::new(cli.global.home)?,
        offline: cli.global.offline,
        device: cli.global.device,
        output: output.clone(),
    };
    match cli.command {
        Command::Ask(args) => ask::run(&args, &context),
        Command::Search(args) => search::run(&args, &context),
        Command::Corpus(command) => corpus::run(&command, &context),
        Command::Models(command) => models::run(&command, &context),
        Command::Engine(command) => engine::run(&command, &context),
        Command::Retrieve(args) => retrieve::run(&args, &context),
        Command::Rank(RankCommand::DocTypes(args)) => rank::doc_types(&args, &context),
        Command::Rank(RankCommand::Passages(args)) => rank::passages::run(&args, &context),
        Command::Train(TrainCommand::Passages(args)) => train::passages(&args, &context),
        Command::Train(TrainCommand::DocTypes(args)) => train::doc_types(&args, &context),
        Command::Eval(command) => eval::run(&command, &context),
        Command::Export(command) => export::run(&command, &context),
        Command::Serve(args) => serve::run(&args, &context),
        Command::Keys(command) => keys::run(&command, &context),
        Command::Config(command) => serve::config::run(&command, &context),
        Command::Backup(args) => keys::back_up(&args, &context),
        Command::Doctor(flag) => doctor::run(&flag, &context),
    }
}
