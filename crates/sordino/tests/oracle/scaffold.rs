//! SCAFFOLD (`scaffold`): clients correct their steps by the difference between the server's idea of the gradient and
//! their own.
//!
//! ```text
//! client k in S:  y = x ;  K times:  y ← y - γ (g_k(y) - c_k + c)
//!                 c_k' = c_k - c + (x - y) / Σ γ                       (option II; Σ γ = K γ for a constant rate)
//! server:         x ← x + η (1/|S|) Σ_S (y_k - x) ;  c ← c + (|S|/N) (1/|S|) Σ_S (c_k' - c_k) ;  c_k ← c_k'
//! ```
//!
//! `c` and all `c_k` are 0 before the first round, so that `c` stays the mean of all `c_k`. Clients weigh the same. If
//! S is empty nothing changes.
//!
//! Reference: Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", arXiv 1910.06378.

use super::problem::{Problem, Rate};
use std::ops::Range;

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every local step.
    pub rate: Rate<'a>,
    /// η, the server's.
    pub outer_rate: f64,
    /// S of a round, in the order of the sum.
    pub sample: &'a dyn Fn(u64) -> Vec<usize>,
    /// The numbers of the local steps of (round, client).
    pub steps: &'a dyn Fn(u64, usize) -> Range<u64>,
}

/// What is remembered between rounds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The server's model.
    pub x: Vec<f64>,
    /// The server's control variate.
    pub c: Vec<f64>,
    /// `c_k`, a row a client.
    pub clients: Vec<Vec<f64>>,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut held = Held { x: problem.start(), c: vec![0.0; d], clients: vec![vec![0.0; d]; n] };
    let mut out = vec![held.clone()];
    for r in 0..rounds as u64 {
        let sampled = (settings.sample)(r);
        let (mut moved, mut learnt) = (vec![0.0; d], vec![0.0; d]);
        for &k in &sampled {
            let mut y = held.x.clone();
            let mut path = 0.0;
            for t in (settings.steps)(r, k) {
                let g = problem.gradient(k, t, &y);
                for j in 0..d {
                    y[j] -= (settings.rate)(t) * (g[j] - held.clients[k][j] + held.c[j]);
                }
                path += (settings.rate)(t);
            }
            for j in 0..d {
                let fresh = held.clients[k][j] - held.c[j] + (held.x[j] - y[j]) / path;
                moved[j] += y[j] - held.x[j];
                learnt[j] += fresh - held.clients[k][j];
                held.clients[k][j] = fresh;
            }
        }
        if !sampled.is_empty() {
            let count = sampled.len() as f64;
            for j in 0..d {
                held.x[j] += settings.outer_rate * moved[j] / count;
                held.c[j] += count / n as f64 * (learnt[j] / count);
            }
        }
        out.push(held.clone());
    }
    out
}

/// The server's model at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
