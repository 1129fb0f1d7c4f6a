//! The `sordino` program: train one network on many workers that talk little, and compare methods.
//!
//! Deciding is the libraries' work; here arguments become plans, and what comes back becomes lines, tables and pages.

#![forbid(unsafe_code)]

/// Prints a line; a reader that has gone (`| head`) ends the printing, not the run.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod arguments;
mod claims;
mod compare;
mod crew;
mod demo;
mod evaluate;
mod launch;
mod listing;
mod progress;
mod run;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use crew::Crew;

/// Many small tensors come and go in every step; the system's allocator nearly doubles the time of a small one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a command failed: the request was wrong (exit status 2), or the run failed (1).
enum Failure {
    Request(anyhow::Error),
    Run(anyhow::Error),
}

/// Puts an error on the side of the request.
fn request<E: Into<anyhow::Error>>(error: E) -> Failure {
    Failure::Request(error.into())
}

/// Puts an error on the side of the run.
fn failed<E: Into<anyhow::Error>>(error: E) -> Failure {
    Failure::Run(error.into())
}

type Done = Result<(), Failure>;

#[allow(clippy::disallowed_methods)] // A launcher says by the environment what it has started.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn main() -> ExitCode {
    let launched = launch::launched(variable);
    let first = launched.is_none_or(|l| l.rank == 0);
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) if first => e.exit(),
        Err(e) => return ExitCode::from(e.exit_code() as u8),
    };
    let crew = match Crew::gather(launched, arguments.timeout.unwrap_or(crew::TIMEOUT)) {
        Ok(crew) => crew,
        Err(e) => {
            // One of several says what is wrong with all.
            if first {
                eprintln!("sordino: {e:#}");
            }
            return ExitCode::from(2);
        }
    };
    let done = if crew.follows() {
        progress::listen(false);
        crew.follow().map_err(failed)
    } else {
        command(&arguments.command, &crew)
    };
    let (status, error) = match done {
        Ok(()) => (0, None),
        Err(Failure::Request(e)) => (2, Some(e)),
        Err(Failure::Run(e)) => (1, Some(e)),
    };
    if let Some(e) = &error {
        eprintln!("sordino: {e:#}");
    }
    // A request that is wrong is found before anybody else has begun; what else fails may have left others waiting.
    match crew.dismiss() {
        Ok(()) if status != 1 => ExitCode::from(status),
        _ => crew::abort(&crew, i32::from(status.max(1))),
    }
}

/// Does what was asked for.
fn command(command: &Command, crew: &Crew) -> Done {
    match command {
        Command::Demo(demo) => demo::demo(demo, crew),
        Command::Run(run) => run::run(run, crew),
        Command::Compare(compare) => compare::compare(compare, crew),
        Command::Eval(eval) => evaluate::evaluate(eval),
        Command::Methods(list) => listing::methods(list),
        Command::Axes(list) => {
            listing::axes(list);
            Ok(())
        }
        Command::Tasks(list) => {
            listing::tasks(list);
            Ok(())
        }
        Command::Explain { name } => listing::explain(name),
        Command::Report(report) => compare::report(report),
        Command::Claims(arguments) => claims::claims(arguments, crew),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "sordino", &mut script);
            say!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}
