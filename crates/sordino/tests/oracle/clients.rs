//! What the federated rows share: who reports, how long each client works, and what it does meanwhile.
//!
//! Clients remember nothing between rounds: the optimizer of the local steps starts anew in every round.

use super::{
    inner::{Inner, State},
    problem::{Problem, Rate},
};
use std::ops::Range;

/// Who takes part, and for how long.
pub struct Clients<'a> {
    /// `n_k`, a number a client.
    pub sizes: Vec<f64>,
    /// The clients that report in a round, in the order of the sum, without repetition.
    pub sample: &'a dyn Fn(u64) -> Vec<usize>,
    /// The numbers of the local steps that a client takes in a round: `(round, client)`. They select rates and batches;
    /// clients may take different numbers of steps.
    pub steps: &'a dyn Fn(u64, usize) -> Range<u64>,
}

/// Where client `k` arrives from `x` after `steps` steps on `f_k(y) + ½ prox ‖y - x‖²`.
pub fn visit(
    problem: &dyn Problem,
    k: usize,
    steps: Range<u64>,
    (inner, rate, prox): (Inner, Rate, f64),
    x: &[f64],
) -> Vec<f64> {
    let mut y = x.to_vec();
    let mut state = State::new(x.len());
    for t in steps {
        let mut g = problem.gradient(k, t, &y);
        for j in 0..g.len() {
            g[j] += prox * (y[j] - x[j]);
        }
        state.step(inner, rate(t), &mut y, &g);
    }
    y
}

/// `Δ = Σ_k (n_k / Σ_S n) (y_k - x)` over the clients of a round; `None` if nobody reports.
pub fn displacement(
    problem: &dyn Problem,
    clients: &Clients,
    round: u64,
    local: (Inner, Rate, f64),
    x: &[f64],
) -> Option<Vec<f64>> {
    let sampled = (clients.sample)(round);
    let total: f64 = sampled.iter().map(|&k| clients.sizes[k]).sum();
    let mut delta = vec![0.0; x.len()];
    for &k in &sampled {
        let y = visit(problem, k, (clients.steps)(round, k), local, x);
        for j in 0..x.len() {
            delta[j] += clients.sizes[k] / total * (y[j] - x[j]);
        }
    }
    if sampled.is_empty() { None } else { Some(delta) }
}
