//! Private Clip21 (`dp-clip21`): the clipped difference gets noise before it is sent.
//!
//! ```text
//! worker i:  c_i = clip_τ(g_i(x) - v_i) ;  z_i = c_i + σ ξ_i ;  send z_i          (v_i = 0 before the first round)
//!            v_i ← v_i + z_i   (the shift includes the noise)   or   v_i ← v_i + c_i   (it does not)
//! server:    v ← v + (1/N) Σ_i z_i ;  x ← x - γ v                                 (the new v)
//! ```
//!
//! With the noise in the shift the next difference corrects it. Without, the server's v is the mean shift plus a random
//! walk of variance `(k+1) σ²/N` an entry.
//!
//! Reference: Khirirat et al., "Clip21: Error Feedback for Gradient Clipping", arXiv 2305.18929; where the noise goes
//! is not pinned by what was read.

use super::{
    compress::clip,
    problem::{Problem, Rate},
    vectors::minus,
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub tau: f64,
    /// σ, in the gradient's unit.
    pub deviation: f64,
    /// `ξ`, standard normal: `(worker, step, entry)`.
    pub noise: &'a dyn Fn(usize, u64, usize) -> f64,
    /// The shift includes the noise; the default.
    pub in_shift: bool,
}

/// What is remembered between rounds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The model.
    pub x: Vec<f64>,
    /// The server's v.
    pub v: Vec<f64>,
    /// `v_i`, a row a worker.
    pub shifts: Vec<Vec<f64>>,
}

/// What is held at the start and after every round.
pub fn run(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Held> {
    let (n, d) = (problem.workers(), problem.dim());
    let mut held = Held { x: problem.start(), v: vec![0.0; d], shifts: vec![vec![0.0; d]; n] };
    let mut out = vec![held.clone()];
    for t in 0..rounds as u64 {
        let mut sum = vec![0.0; d];
        for i in 0..n {
            let c = clip(&minus(&problem.gradient(i, t, &held.x), &held.shifts[i]), settings.tau);
            for j in 0..d {
                let z = c[j] + settings.deviation * (settings.noise)(i, t, j);
                sum[j] += z;
                held.shifts[i][j] += if settings.in_shift { z } else { c[j] };
            }
        }
        for j in 0..d {
            held.v[j] += sum[j] / n as f64;
            held.x[j] -= (settings.rate)(t) * held.v[j];
        }
        out.push(held.clone());
    }
    out
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    run(problem, settings, rounds).into_iter().map(|held| held.x).collect()
}
