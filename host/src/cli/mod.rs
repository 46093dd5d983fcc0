//! The command line: arguments, dispatch, exit codes.

mod diagnostics;
mod doctor;
mod eval;
mod experiment;
mod index;
mod logging;
mod plugin;
mod replay;
mod search;
mod serve;
mod status;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Flag};

/// Search for code whose every ranking decision can be swapped and is a span in a trace.
#[derive(Parser)]
#[command(name = "spanloom", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 failed · 2 wrong arguments or configuration · 3 there is no usable index · 4 done, but with parts missing (see the warnings), or a replay whose answer differs\n\nResults go to standard output, progress and messages to standard error.";

#[derive(Args)]
struct Common {
    /// Configuration file [default: ./spanloom.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of indexes and run ledgers [default: ./.spanloom]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Index folders and plain records, or bring their index up to date
    Index(index::IndexArgs),
    /// Answer MCP tool calls over HTTP
    Serve(serve::ServeArgs),
    /// Search from the command line
    Search(search::SearchArgs),
    /// Draw the trace of a run out of its ledger
    Trace(trace::TraceArgs),
    /// List runs, report on one, pack one to hand it over
    #[command(subcommand)]
    Diagnostics(diagnostics::DiagnosticsCommand),
    /// Run a call again on the same generation and say whether the answer is the same
    Replay(replay::ReplayArgs),
    /// Say what is indexed and how fresh it is
    Status(status::StatusArgs),
    /// Check every part and say what to do about what is wrong
    Doctor(doctor::DoctorArgs),
    /// Measure the answers to queries with judgments
    Eval(eval::EvalArgs),
    /// Check experiments on rankings, see who gets which arm, and what came of it
    #[command(subcommand)]
    Experiment(experiment::ExperimentCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write, test, measure and look at plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration and where each value came from
    Show,
}

/// How a command ended, when not well.
pub(crate) enum Failure {
    /// It did not work.
    Failed(String),
    /// The arguments or the configuration are wrong.
    Usage(String),
    /// There is no index, or none that can be opened.
    NoIndex(String),
    /// It worked in part.
    Partial(String),
}

impl Failure {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    // A reader that goes away, as `head` does, ends the program quietly.
    let cli = Cli::parse();
    let (code, message) = match run(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::NoIndex(message)) => (3, message),
        Err(Failure::Partial(message)) => (4, message),
    };
    eprintln!("spanloom: {message}");
    ExitCode::from(code)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(folder) = &cli.common.data_dir {
        flags.push(Flag { name: "--data-dir", key: "data_dir", value: folder.to_string_lossy().into_owned().into() });
    }
    if let Command::Serve(arguments) = &cli.command {
        flags.extend(arguments.flags());
    }
    let loaded =
        config::load(cli.common.config.as_deref(), config::environment(), flags).map_err(|error| Failure::Usage(error.to_string()))?;
    logging::start(&loaded)?;
    match cli.command {
        Command::Index(arguments) => index::run(&loaded, arguments),
        Command::Serve(_) => serve::run(&loaded),
        Command::Search(arguments) => search::run(&loaded, arguments),
        Command::Trace(arguments) => trace::run(&loaded, &arguments),
        Command::Diagnostics(command) => diagnostics::run(&loaded, &command),
        Command::Replay(arguments) => replay::run(&loaded, &arguments),
        Command::Status(arguments) => status::run(&loaded, &arguments),
        Command::Doctor(arguments) => doctor::run(&loaded, &arguments),
        Command::Eval(arguments) => eval::run(&loaded, &arguments),
        Command::Experiment(command) => experiment::run(&loaded, &command),
        Command::Config(ConfigCommand::Show) => print(&loaded.show()),
        Command::Plugin(command) => plugin::run(&loaded, &command),
    }
}

/// Writes to standard output. A closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// A runtime for commands that need one.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)
}
