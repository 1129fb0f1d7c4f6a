//! Every named row against its naive reference, round by round, on problems that are in no paper.
//!
//! The library works in f32, the references in f64. A step rounds a model entry by at most 2⁻²⁴ of its size and the
//! gradient by as much; the problems here contract, so the roundings of some hundred steps add up to some hundred
//! times that at the most: [`ROUNDING`]. What is compared is the larger of the relative and the absolute gap.
//!
//! Selections, signs and random roundings are decisions: where f32 and f64 fall on two sides of one, an entry jumps. A
//! run makes some ten thousand decisions that a relative error of 10⁻⁶ could turn, so about one run in a hundred would
//! show a jump. The runs here show none, on any CPU, since below the wall the bits are the same on all of them; should
//! a change of the library's rounding bring one about, `one_round_from_where_the_library_stands` still compares what
//! each single round does.
//!
//! Every comparison has its control: the reference with slightly other settings, or other draws, must not agree.

mod clipping;
mod dual;
mod federated;
mod feedback;
mod late;
mod layerwise;
mod local;
mod lowrank;
mod pipelines;
mod private;
mod quantizers;
mod served;
mod zeroth;

use std::sync::Arc;

use sordino::recipe::ROWS;
use sordino::testing::{Rank, Trial};

use crate::oracle::problem::{Logistic, Noise, Quadratics};
use crate::worlds::{Posed, Shared, gap, row, wide};

/// What the roundings of a run may add up to.
const ROUNDING: f64 = 1e-5;

/// The seed of every run.
const SEED: u64 = 3;

/// The problems that every row is compared on: unequal quadratics with noise, and logistic regression on mini-batches.
fn problems(dim: usize) -> Vec<Shared> {
    vec![
        Arc::new(Quadratics::scattered(4, dim, Noise::Normal(0.2))),
        Arc::new(Logistic::waves(4, 12, dim, 1e-2, Some(3))),
    ]
}

/// The run of a row of the library on `task`: `rounds` rounds of a run of `steps` steps.
fn library(name: &str, sets: &[&str], task: &Posed, steps: u64, rounds: u64) -> Vec<Rank> {
    let recipe = row(name, sets);
    let trial = Trial { rounds, ..Trial::new(&recipe, task, task.problem.workers(), SEED, steps) };
    trial.run().unwrap()
}

/// The models of rank 1.
fn models(ranks: &[Rank]) -> Vec<Vec<f64>> {
    ranks[1].models().iter().map(|m| wide(m)).collect()
}

/// The largest gap over all rounds.
fn farthest(left: &[Vec<f64>], right: &[Vec<f64>]) -> f64 {
    assert_eq!(left.len(), right.len(), "as many rounds");
    left.iter().zip(right).map(|(a, b)| gap(a, b)).fold(0.0, f64::max)
}

/// Asserts that the library's trajectory is the reference's, and not that of a control.
fn compare(name: &str, library: &[Vec<f64>], reference: &[Vec<f64>], controls: &[Vec<Vec<f64>>]) {
    assert!(library.len() > 30, "{name}: {} rounds", library.len() - 1);
    assert!(gap(&library[0], &library[library.len() - 1]) > 0.05, "{name}: nothing moved");
    let far = farthest(library, reference);
    assert!(far < ROUNDING, "{name}: the library is {far:e} away from its reference");
    for (i, control) in controls.iter().enumerate() {
        let far = farthest(library, control);
        assert!(far > 10.0 * ROUNDING, "{name}: control {i} is only {far:e} away");
    }
}

/// A cosine from `peak` to the library's floor over `steps` steps, after a linear warm-up.
fn cosine(peak: f64, warmup: u64, steps: u64) -> impl Fn(u64) -> f64 {
    move |t| {
        if t < warmup {
            return 1e-6 + t as f64 * (peak - 1e-6) / warmup as f64;
        }
        let done = (t - warmup) as f64 / (steps - warmup) as f64;
        1e-6 + 0.5 * (peak - 1e-6) * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

#[test]
fn every_row_is_compared() {
    let here = [
        include_str!("clipping.rs"),
        include_str!("dual.rs"),
        include_str!("federated.rs"),
        include_str!("feedback.rs"),
        include_str!("layerwise.rs"),
        include_str!("local.rs"),
        include_str!("lowrank.rs"),
        include_str!("pipelines.rs"),
        include_str!("private.rs"),
        include_str!("quantizers.rs"),
        include_str!("served.rs"),
        include_str!("zeroth.rs"),
    ];
    for row in ROWS {
        let name = format!("\"{}\"", row.name);
        assert!(here.iter().any(|file| file.contains(&name)), "no comparison names {name}");
    }
}
