//! Private federated averaging (`dp-fedavg`): every client's displacement is clipped, the sum gets noise, and is
//! divided by the number of clients that was expected, never by the number that came.
//!
//! ```text
//! client k in S:  y_k = x ;  as many times as it has steps:  y_k ← y_k - γ g_k(y_k)
//! server:         x ← x + (η/q) (Σ_{k in S} clip_C(y_k - x) + σ C ξ)          (q = E|S|, S Poisson-sampled)
//! ```
//!
//! Clients weigh the same. A round without reports still gets noise: leaving it out would tell who was there.
//!
//! Reference: McMahan et al., "Learning Differentially Private Recurrent Language Models", arXiv 1710.06963, with flat
//! clipping and the fixed denominator.

use super::{
    clients::{Clients, visit},
    compress::clip,
    inner::Inner,
    problem::{Problem, Rate},
    vectors::minus,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every local step.
    pub rate: Rate<'a>,
    /// What takes the local steps, anew in every round.
    pub inner: Inner,
    /// η, the server's.
    pub outer_rate: f64,
    /// C.
    pub clip: f64,
    /// σ, the noise's standard deviation over C, on the sum.
    pub multiplier: f64,
    /// q.
    pub expected: f64,
    /// Who reports; the sizes are not used.
    pub clients: Clients<'a>,
    /// `ξ`, standard normal: `(round, entry)`.
    pub noise: &'a dyn Fn(u64, usize) -> f64,
}

/// The server's model at the start and after every round.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let d = problem.dim();
    let mut x = problem.start();
    let mut out = vec![x.clone()];
    for r in 0..rounds as u64 {
        let mut sum = vec![0.0; d];
        for k in (settings.clients.sample)(r) {
            let steps = (settings.clients.steps)(r, k);
            let y = visit(problem, k, steps, (settings.inner, settings.rate, 0.0), &x);
            let clipped = clip(&minus(&y, &x), settings.clip);
            for j in 0..d {
                sum[j] += clipped[j];
            }
        }
        for j in 0..d {
            let noisy = sum[j] + settings.multiplier * settings.clip * (settings.noise)(r, j);
            x[j] += settings.outer_rate * noisy / settings.expected;
        }
        out.push(x.clone());
    }
    out
}
