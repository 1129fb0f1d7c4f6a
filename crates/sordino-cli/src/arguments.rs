//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sordino_tasks::Wish;
use sordino_tasks::plans::WORKERS;

/// Train one network on many workers that talk little.
///
/// Every published method is a row of choices along shared axes; --set changes any of them.
/// `sordino demo` shows in seconds why that matters.
#[derive(Parser)]
#[command(
    name = "sordino",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  sordino demo
  sordino run qsr --task digits-mlp
  sordino run qsr --task digits-mlp --set 'compress=orq(9)' --set feedback=residual --seeds 3
  sordino compare sync-sgd local-sgd celgc --task shakespeare-lstm --epochs 1
  sordino claims celgc
  sordino explain orq
  mpirun -n 4 sordino run qsr --task digits-mlp      (built with --features mpi)

Exit status: 0 done (a run that diverges is a finding, not a failure), 1 the run failed, 2 the request was wrong."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Under mpirun or srun: seconds that a process waits for another before it gives it up [default: 600]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub timeout: Option<f64>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Four methods on the same network, data and seed, with a table and a report
    Demo(Demo),
    /// Train with one method
    Run(Run),
    /// Train with several methods on the same task, with a table and a report
    Compare(Compare),
    /// Look at a trained model: its metrics, and a sample of text from character models
    Eval(Eval),
    /// List the methods
    Methods(List),
    /// List the axes, their elements and keys
    Axes(List),
    /// List the tasks
    Tasks(List),
    /// Say what a method, an axis or an element of an axis is
    Explain {
        /// Name of a method (qsr), an axis (compress), an element (orq) or a task
        name: String,
    },
    /// Compare the runs in given directories on one page
    Report(Report),
    /// Hold methods against what their papers claim: the row, its controls, the same search, a verdict
    Claims(Claims),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub struct Demo {
    /// Where the runs and the report go [default: a new folder in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print no progress
    #[arg(long)]
    pub quiet: bool,
}

/// The largest seed: recipe files hold signed numbers.
pub const SEEDS: u64 = i64::MAX as u64 - 1000;

#[derive(Args, Clone)]
pub struct Scale {
    /// The task: see `sordino tasks`
    #[arg(long)]
    pub task: Option<String>,
    /// Workers, each a thread with a model and data of its own [default: 4; under mpirun or srun: its processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=WORKERS))]
    pub workers: Option<u64>,
    /// Local steps of each worker [default: the task's]
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Rounds: meetings of the workers, or of the federated clients that are asked
    #[arg(long, value_name = "R", conflicts_with_all = ["epochs", "steps"], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rounds: Option<u64>,
    /// Passes over the training rows, all workers together
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub epochs: Option<f64>,
    /// Stop once a target is reached, such as loss=0.5 (training loss)
    #[arg(long, value_name = "loss=X")]
    pub until: Option<String>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=SEEDS))]
    pub seed: Option<u64>,
    /// Run that many seeds, from --seed on
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Change a choice: axis=element(key=value) or axis.key=value; may be given many times
    #[arg(long = "set", value_name = "AXIS=...")]
    pub sets: Vec<String>,
    /// A LibSVM file (task logistic) or a folder with data sets (fashion-*, shakespeare-*)
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Start from a saved model of the same task instead of a fresh one, such as runs/x/model.safetensors
    #[arg(long, value_name = "FILE")]
    pub start: Option<PathBuf>,
    /// Look at the model every R rounds [default: five to fifty times a run, as the task can afford]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    pub eval_every: Option<u64>,
    /// Checkpoint every R rounds besides every ten seconds
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,
    /// Where files go [default: a new folder in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print no progress
    #[arg(long)]
    pub quiet: bool,
}

impl Scale {
    /// What is asked for, as plans take it.
    pub fn wish(&self) -> Wish {
        Wish {
            task: self.task.clone(),
            workers: self.workers,
            steps: self.steps,
            rounds: self.rounds,
            epochs: self.epochs,
            until: self.until.clone(),
            sets: self.sets.clone(),
            data: self.data.clone(),
            start: self.start.clone(),
            eval_every: self.eval_every,
            checkpoint_every: self.checkpoint_every,
            ranks: None,
        }
    }
}

#[derive(Args)]
pub struct Run {
    /// A method (see `sordino methods`) or a recipe file ending in .toml
    pub method: Option<String>,
    /// Go on with the run in a folder; needs nothing else, and may be given another number of --workers
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Make the run in a folder again, with workers coming in the order that its record holds: the same bits
    #[arg(long, value_name = "DIR", conflicts_with_all = ["resume", "method"])]
    pub replay: Option<PathBuf>,
    #[command(flatten)]
    pub scale: Scale,
}

#[derive(Args)]
pub struct Compare {
    /// Methods or recipe files; a method may carry its own choices: "qsr compress=orq(9) feedback=residual"
    #[arg(required = true)]
    pub methods: Vec<String>,
    #[command(flatten)]
    pub scale: Scale,
}

#[derive(Args)]
pub struct Eval {
    /// A run's folder
    pub dir: PathBuf,
    /// Another data file or folder than the run's
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// What a text sample begins with
    #[arg(long, default_value = "\n")]
    pub prompt: String,
    /// Characters of a text sample
    #[arg(long, default_value_t = 400)]
    pub length: usize,
    /// Temperature of a text sample; 0 takes the likeliest character
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Claims {
    /// Methods, or claim files ending in .toml [default: every method]
    pub methods: Vec<String>,
    /// Only those that take seconds
    #[arg(long, conflicts_with = "methods")]
    pub fast: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where claims.json and the report with all curves go [default: a new folder in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print no progress
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Report {
    /// Folders of runs, or folders of such folders
    #[arg(required = true)]
    pub dirs: Vec<PathBuf>,
    /// The page to write [default: report.html in the first folder]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
