//! Detached error feedback (`def`): the message carries the whole residual, the gradient sees only λ of it.
//!
//! ```text
//! p_k = x - λ e_k, D_k = e_k
//! p times:  m_k ← μ m_k + (g_k(p_k) + wd p_k) ;  p_k ← p_k - η m_k ;  D_k ← D_k + η m_k
//! z_k = C(D_k) ;  e_k ← D_k - z_k ;  x ← x - (1/N) Σ_k z_k
//! ```
//!
//! The paper's C keeps one block, the same on all workers, and every tensor has its own; `compress::block` is one
//! tensor's. The model that is judged is x - mean e. λ = 0 is error feedback, λ = 1 step-ahead.
//!
//! Reference: Xu and Huang, "Detached Error Feedback for Distributed SGD with Random Sparsification", arXiv 2004.05298
//! (version 3), as in the authors' code.

use super::{
    compress::block,
    problem::{Problem, Rate},
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
    /// λ.
    pub lambda: f64,
    /// p, the local steps of a round.
    pub every: u64,
    /// C of a round: `(round, vector)`.
    pub compress: &'a dyn Fn(u64, &[f64]) -> Vec<f64>,
}

/// Both readings of the model, at the start and after every round.
pub struct Trajectory {
    /// x.
    pub x: Vec<Vec<f64>>,
    /// x - mean e, the one that is judged.
    pub evaluated: Vec<Vec<f64>>,
}

/// The random block of a model that is one tensor: `start(round)` is the first entry kept.
pub fn random_block(start: &dyn Fn(u64) -> usize, ratio: f64) -> impl Fn(u64, &[f64]) -> Vec<f64> {
    move |round, v| block(v, start(round), ratio)
}

/// The models at the start and after every round of p steps.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Trajectory {
    let (n, d) = (problem.workers(), problem.dim());
    let mut x = problem.start();
    let (mut m, mut e) = (vec![vec![0.0; d]; n], vec![vec![0.0; d]; n]);
    let mut out = Trajectory { x: vec![x.clone()], evaluated: vec![x.clone()] };
    for r in 0..rounds as u64 {
        let mut sent = Vec::new();
        for k in 0..n {
            let mut p: Vec<f64> = (0..d).map(|j| x[j] - settings.lambda * e[k][j]).collect();
            let mut offer = e[k].clone();
            for t in r * settings.every..(r + 1) * settings.every {
                let eta = (settings.rate)(t);
                let g = problem.gradient(k, t, &p);
                for j in 0..d {
                    m[k][j] = settings.momentum * m[k][j] + (g[j] + settings.decay * p[j]);
                    p[j] -= eta * m[k][j];
                    offer[j] += eta * m[k][j];
                }
            }
            let z = (settings.compress)(r, &offer);
            e[k] = minus(&offer, &z);
            sent.push(z);
        }
        x = minus(&x, &mean(&sent));
        out.x.push(x.clone());
        out.evaluated.push(minus(&x, &mean(&e)));
    }
    out
}
