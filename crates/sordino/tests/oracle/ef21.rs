//! EF21 (`ef21`): every worker sends the compressed difference between its gradient and what the server believes it is.
//!
//! ```text
//! worker i:  c_i = C(g_i(x) - h_i) ;  h_i ← h_i + c_i
//! server:    h̄ ← h̄ + (1/N) Σ_i c_i ;  x ← x - γ h̄
//! ```
//!
//! With `h_i = 0` before the first round this is the paper's start `h_i⁰ = C(g_i(x⁰))`.
//!
//! Reference: Richtárik, Sokolov and Fatkhullin, "EF21: A New, Simpler, Theoretically Better, and Practically Faster
//! Error Feedback", arXiv 2106.05203.

use super::{
    problem::{Compressor, Problem, Rate},
    vectors::{mean, minus},
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// C.
    pub compress: Compressor<'a>,
    /// Start from the exact gradients, sent densely once.
    pub exact_start: bool,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut x = problem.start();
    let mut h = vec![vec![0.0; problem.dim()]; n];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        for i in 0..n {
            let g = problem.gradient(i, t, &x);
            let difference = minus(&g, &h[i]);
            let c = if t == 0 && settings.exact_start { difference } else { (settings.compress)(&difference) };
            for j in 0..c.len() {
                h[i][j] += c[j];
            }
        }
        let h_bar = mean(&h);
        for j in 0..x.len() {
            x[j] -= (settings.rate)(t) * h_bar[j];
        }
        out.push(x.clone());
    }
    out
}
