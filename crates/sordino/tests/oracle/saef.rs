//! Step-ahead error feedback (`saef`): the gradient is taken where the model will be once the residual is paid, and the
//! residuals are averaged now and then.
//!
//! ```text
//! if P > 0 and (t+1) mod P = 0:  e_k ← (1/N) Σ_l e_l
//! worker k:  y = x - e_k ;  m_k ← μ m_k + (g_k(y) + wd y) ;  D = e_k + η m_k ;  send z_k = C(D) ;  e_k ← D - z_k
//! server:    z̄ = (1/N) Σ_k z_k ;  q = z̄, or C(z̄), or C(E + z̄) with E ← E + z̄ - q
//! all:       x ← x - q
//! ```
//!
//! The model is x, never x - e.
//!
//! Reference: Xu, Huo and Huang, "Step-Ahead Error Feedback for Distributed Training with Compressed Gradient", arXiv
//! 2008.05823; the order is that of the authors' `main.py`, with the old model starting at the first model, not at 0.

use super::{
    ef_sgd::{Down, Held, answer},
    problem::{Compressor, Problem, Rate},
    vectors::{mean, minus},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd, times the point where the gradient is taken.
    pub decay: f64,
    /// C, both ways.
    pub compress: Compressor<'a>,
    /// The way back.
    pub down: Down,
    /// P, the period of error averaging; 0 for never.
    pub average: u64,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut x = problem.start();
    let (mut m, mut e) = (vec![vec![0.0; d]; n], vec![vec![0.0; d]; n]);
    let mut big_e = vec![0.0; d];
    let mut out = vec![Held { x: x.clone(), errors: e.clone(), server_error: big_e.clone() }];
    for t in 0..rounds as u64 {
        let eta = (settings.rate)(t);
        if settings.average > 0 && (t + 1).is_multiple_of(settings.average) {
            e = vec![mean(&e); n];
        }
        let mut sent = Vec::new();
        for k in 0..n {
            let y = minus(&x, &e[k]);
            let g = problem.gradient(k, t, &y);
            let mut offer = vec![0.0; d];
            for j in 0..d {
                m[k][j] = settings.momentum * m[k][j] + (g[j] + settings.decay * y[j]);
                offer[j] = e[k][j] + eta * m[k][j];
            }
            let z = (settings.compress)(&offer);
            e[k] = minus(&offer, &z);
            sent.push(z);
        }
        let q = answer(&mean(&sent), &mut big_e, settings.down, settings.compress);
        x = minus(&x, &q);
        out.push(Held { x: x.clone(), errors: e.clone(), server_error: big_e.clone() });
    }
    out
}

/// The model x at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
