//! A report of runs that never happened, to look at the page while working on it.
//!
//! `cargo run --release -p sordino-lab --example report_of_made_up_runs -- report.html`

use std::path::Path;

use sordino::base::{Stream, Use};
use sordino_lab::record::{FlowRow, Point, Summary};
use sordino_lab::report::{self, RunView};

const WORKERS: usize = 4;
const STEPS: u64 = 2400;
const PARAMETERS: usize = 25_450;

/// A made-up method: its name, H in steps, bits an entry, how far its loss ends above the best, whether it remembers.
struct Method(&'static str, fn(u64) -> u64, f64, f64, bool);

fn main() -> sordino::Result<()> {
    let methods = [
        Method("sync-sgd", |_| 1, 32.0, 0.0, false),
        Method("local-sgd", |_| 8, 32.0, 0.012, false),
        Method("qsr", |step| 4 + (step / 300).pow(2), 32.0, -0.006, false),
        Method("saef", |_| 1, 1.02, 0.02, true),
    ];
    let runs: Vec<RunView> = methods.iter().flat_map(|m| [0, 1].map(|seed| invent(m, seed))).collect();
    let path = std::env::args().nth(1).unwrap_or_else(|| "report.html".to_owned());
    report::write(Path::new(&path), "Four made-up methods on optdigits", &runs)
}

fn invent(method: &Method, seed: u64) -> RunView {
    let &Method(name, silence, bits, above, remembers) = method;
    let mut noise = Stream::new(seed, Use::Noise, name.len() as u64, 0);
    let mut points = vec![Point { train_loss: 2.302, eval_loss: 2.303, accuracy: Some(0.1), ..Point::default() }];
    let (mut step, mut round, mut sent, mut waited, mut clock) = (0, 0, 0u64, 0.0, 0.0);
    while step < STEPS {
        let h = silence(step).min(STEPS - step);
        step += h;
        round += 1;
        sent += (1.5 * PARAMETERS as f64 * bits / 8.0) as u64;
        waited += 0.0004 + 0.0009 * f64::from(noise.uniform());
        clock += 0.0011 * h as f64 + 0.0021 + 0.0006 * f64::from(noise.uniform());
        let level = (2.2 + 0.3 * above) / (1.0 + step as f64 / 60.0) + 0.05 + above + 0.004 * seed as f64;
        let measured = round % (40 / silence(step)).max(1) == 0 || step == STEPS;
        points.push(Point {
            round,
            step,
            epoch: step as f64 / 30.0,
            train_loss: level * (1.0 + 0.09 * f64::from(noise.normal())),
            eval_loss: if measured { level * 1.15 + 0.04 + 0.002 * f64::from(noise.normal()) } else { f64::NAN },
            accuracy: measured.then(|| 0.963 - 0.32 * level + 0.003 * f64::from(noise.normal())),
            bytes_sent: sent,
            bytes_received: sent,
            seconds: clock,
            compute_seconds: 0.001 * step as f64,
            wait_seconds: waited,
            exchange_seconds: 0.0016 * round as f64,
            rate: 0.1 * (1.0 + (std::f64::consts::PI * step as f64 / STEPS as f64).cos()) / 2.0,
            silence: h,
            clip_fraction: (name == "local-sgd").then(|| 0.6 / (1.0 + step as f64 / 200.0)),
            residual_norm: remembers
                .then(|| 1.4 * (1.0 - (-(step as f64) / 90.0).exp()) + 0.05 * f64::from(noise.uniform())),
            ..Point::default()
        });
    }
    let last = points[points.len() - 1].clone();
    let summary = Summary {
        method: name.into(),
        task: "optdigits".into(),
        workers: WORKERS,
        seed,
        steps: STEPS,
        rounds: round,
        epochs: last.epoch,
        parameters: PARAMETERS,
        train_loss: last.train_loss,
        eval_loss: last.eval_loss,
        accuracy: last.accuracy,
        bytes_sent_per_worker: sent,
        bytes_received_per_worker: sent,
        bytes_sync_fp32_per_worker: STEPS * 6 * PARAMETERS as u64,
        compute_seconds: last.compute_seconds,
        exchange_seconds: last.exchange_seconds,
        wait_seconds: last.wait_seconds,
        wall_seconds: last.seconds,
        cpu_seconds: Some(3.7 * last.compute_seconds),
        cores: 2,
        link_seconds_100mbit: sent as f64 * 8.0 / 1e8,
        flows: flows(round, sent, remembers),
        environment: [("processor", "a made-up one"), ("sordino", "0.1.0"), ("fabric", "threads")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        ..Summary::default()
    };
    RunView {
        name: format!("{name}-{seed}"),
        method: name.into(),
        seed,
        points,
        environment: summary.environment.clone(),
        recipe: format!(
            "method = \"{name}\"\ntask = \"optdigits\"\nworkers = {WORKERS}\nsteps = {STEPS}\nseed = {seed}\n\n[optim]\nrate = 0.1\nmomentum = 0.9\n"
        ),
        summary,
    }
}

fn flows(rounds: u64, sent: u64, remembers: bool) -> Vec<FlowRow> {
    let mut rows = Vec::new();
    for from in 0..WORKERS {
        for to in (0..WORKERS).filter(|&to| to != from) {
            let mut row = |purpose: &str, messages, bytes| {
                let (from, to) = (from.to_string(), to.to_string());
                rows.push(FlowRow { from, to, purpose: purpose.into(), messages, bytes });
            };
            row("payload", 2 * rounds, sent / 3 - from as u64 * 50_000);
            row("evaluate", 60, 60 * 4 * PARAMETERS as u64 / 8);
            if remembers {
                row("residual", rounds / 8, sent / 9);
            }
        }
    }
    rows
}
