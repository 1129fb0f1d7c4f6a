//! Ten thousand federated clients, a hundred a round, on 1, 2 and 4 threads: clients a second and peak memory.
//!
//! `cargo bench -p sordino-lab --bench federated -- [--rounds N] [FILTER]`
//!
//! 100 000 generated rows are dealt in file order; the model is a logistic regression with 10 000 features, 40 kB. What is
//! to be seen: where clients remember nothing, memory does not grow with how many there are (ten thousand models would be
//! 400 MB); where they do, it grows by what those who were asked remember, and, where a method sends a second vector, by
//! those of one round. Every line is a process of its own, whose peak resident memory Linux tells (VmHWM); elsewhere it
//! is 0. The last column but one needs fedavg to have run.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sordino::base::{Stream, Use};
use sordino::fabric::{Clock, Still};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Deal, Logistic, SparseRows};
use sordino_lab::experiment::{Header, Observer, Plan, Progress, run};
use sordino_lab::partition::contiguous;

const ROWS: usize = 100_000;
const FEATURES: usize = 10_000;
/// Features of a row that are not zero.
const FILLED: usize = 8;
/// Local steps of a client in a round: an epoch.
const STEPS: u64 = 10;
const ROUNDS: u64 = 60;
const MEGA: f64 = 1e6;

/// A method, how many clients there are, and what is chosen besides.
struct Case {
    name: &'static str,
    row: &'static str,
    clients: usize,
    sets: &'static [&'static str],
    remembers: bool,
}

const CASES: [Case; 4] = [
    Case { name: "fedavg", row: "fedavg", clients: 1_000, sets: &[], remembers: false },
    Case { name: "fedavg", row: "fedavg", clients: 10_000, sets: &[], remembers: false },
    Case { name: "scaffold", row: "scaffold", clients: 10_000, sets: &[], remembers: true },
    Case {
        name: "residual",
        row: "fedavg",
        clients: 10_000,
        sets: &["compress=topk(0.01)", "feedback=residual"],
        remembers: true,
    },
];

/// Labels by the sign of a hidden plane.
fn rows() -> SparseRows {
    let mut stream = Stream::new(1, Use::Problem, 0, 0);
    let hidden: Vec<f32> = (0..FEATURES).map(|_| stream.normal()).collect();
    let mut rows = SparseRows {
        offsets: (0..=ROWS).map(|row| row * FILLED).collect(),
        columns: Vec::with_capacity(ROWS * FILLED),
        values: vec![1.0; ROWS * FILLED],
        labels: Vec::with_capacity(ROWS),
    };
    for _ in 0..ROWS {
        let stride = FEATURES / FILLED;
        let columns: Vec<usize> = (0..FILLED).map(|i| i * stride + stream.below(stride as u64) as usize).collect();
        let sum: f32 = columns.iter().map(|c| hidden[*c]).sum();
        rows.columns.extend(columns.iter().map(|c| *c as u32));
        rows.labels.push(if sum < 0.0 { -1.0 } else { 1.0 });
    }
    rows
}

/// Bytes of the largest resident set of this process so far.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).map_or(0.0, |kibi| 1024.0 * kibi)
}

/// When the first and the last round ended.
#[derive(Default)]
struct Stopwatch(Mutex<Option<(Instant, Instant)>>);

impl Observer for Stopwatch {
    fn round(&self, _: &Progress) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some((seen.map_or(now, |(first, _)| first), now));
    }
}

/// Runs one case; prints clients a second, peak memory and clients ever asked.
fn one(case: &Case, threads: usize, rounds: u64) -> sordino::Result<()> {
    let mut recipe = Recipe::named(case.row)?;
    let participation = format!("participation=sampled(100, clients={})", case.clients);
    let batch = ROWS / case.clients / STEPS as usize;
    let batch_of = format!("local.batch={batch}");
    for set in [participation.as_str(), batch_of.as_str(), "partition=contiguous"].iter().chain(case.sets) {
        recipe.set(set)?;
    }
    recipe.resolve(&Defaults { sgd_rate: 1.0, ..Defaults::PLAIN })?;
    check(&recipe)?;
    let asking = recipe.participation()?;
    let (mut asked, mut met) = (Vec::new(), BTreeSet::new());
    for round in 0..rounds {
        asking.asked(0, round, threads, &mut asked);
        met.extend(asked.iter().copied());
    }
    let task = Logistic {
        name: "logistic".into(),
        train: Arc::new(rows()),
        test: None,
        features: FEATURES,
        deal: Deal::Shards(Arc::new(contiguous(ROWS, case.clients)?)),
        l2: 0.0,
        nonconvex: 0.0,
        data: 0,
    };
    let plan = Plan {
        recipe,
        workers: threads,
        seed: 0,
        // A round is an epoch.
        steps: rounds * STEPS,
        batch_rows: batch,
        until_loss: None,
        eval_every: u64::MAX,
        checkpoint_every: None,
        out: None,
        resume: false,
        replay: None,
        header: Header::default(),
        environment: BTreeMap::new(),
        cores: 0,
    };
    let (clock, watch): (Arc<dyn Clock>, _) = (Arc::new(Still), Stopwatch::default());
    let ended = run(&task, &plan, &clock, &watch)?;
    let seen = watch.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = seen.map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64());
    assert_eq!(ended.summary.rounds, rounds, "an epoch is a round");
    println!("{} {} {} {}", (100 * (rounds - 1)) as f64 / seconds, peak(), met.len(), ended.summary.train_loss);
    Ok(())
}

/// The number after `--rounds`, and a word to filter by.
fn asked_for(arguments: &[String]) -> (u64, String) {
    let at = arguments.iter().position(|a| a == "--rounds");
    let rounds = at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(ROUNDS).max(2);
    let words = arguments.iter().enumerate().filter(|(i, a)| !a.starts_with("--") && at.is_none_or(|at| *i != at + 1));
    (rounds, words.map(|(_, a)| a.clone()).next().unwrap_or_default())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["one", case, threads, rounds] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        one(&CASES[number(case) as usize], number(threads) as usize, number(rounds)).expect("a run");
        return;
    }
    let (rounds, only) = asked_for(&arguments);
    let model = 4.0 * FEATURES as f64;
    println!("{rounds} rounds of 100 clients; a model is {:.2} MB", model / MEGA);
    println!(
        "{:<10}{:>8}{:>8}{:>8}{:>11}{:>11}{:>16}{:>17}{:>10}",
        "", "clients", "threads", "asked", "clients/s", "peak MB", "remembered MB", "above fedavg MB", "loss"
    );
    let mut plain = BTreeMap::new();
    for (index, case) in CASES.iter().enumerate().filter(|(_, case)| case.name.contains(&only)) {
        for threads in [1, 2, 4] {
            let program = std::env::current_exe().expect("this program");
            let words = ["one".to_owned(), index.to_string(), threads.to_string(), rounds.to_string()];
            let output = Command::new(program).args(words).output().expect("a process");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let found: Vec<f64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
            let (speed, peak, met, loss) = (found[0], found[1], found[2], found[3]);
            if !case.remembers {
                plain.insert(threads, peak);
            }
            let remembered = if case.remembers { met * model / MEGA } else { 0.0 };
            let above = plain.get(&threads).map_or(f64::NAN, |plain| (peak - plain) / MEGA);
            println!(
                "{:<10}{:>8}{threads:>8}{met:>8}{speed:>11.0}{:>11.1}{remembered:>16.1}{above:>17.1}{loss:>10.4}",
                case.name,
                case.clients,
                peak / MEGA
            );
        }
    }
}
