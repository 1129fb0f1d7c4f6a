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
mod compare;
mod demo;
mod evaluate;
mod listing;
mod progress;
mod run;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};

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

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(demo) => demo::demo(&demo),
        Command::Run(run) => run::run(&run),
        Command::Compare(compare) => compare::compare(&compare),
        Command::Eval(eval) => evaluate::evaluate(&eval),
        Command::Methods(list) => {
            listing::methods(&list);
            Ok(())
        }
        Command::Axes(list) => {
            listing::axes(&list);
            Ok(())
        }
        Command::Tasks(list) => {
            listing::tasks(&list);
            Ok(())
        }
        Command::Explain { name } => listing::explain(&name),
        Command::Report(report) => compare::report(&report),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sordino", &mut script);
            say!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Request(e)) => {
            eprintln!("sordino: {e:#}");
            ExitCode::from(2)
        }
        Err(Failure::Run(e)) => {
            eprintln!("sordino: {e:#}");
            ExitCode::FAILURE
        }
    }
}
