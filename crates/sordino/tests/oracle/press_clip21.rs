//! Press-Clip21-GD (`press-clip21`): Clip21 whose clipped difference is compressed before it is sent. Clip first, then
//! compress.
//!
//! ```text
//! worker i:  c_i = C(clip_τ(g_i(x) - v_i)) ;  v_i ← v_i + c_i       (v_i = 0 before the first round)
//! server:    v = (1/N) Σ_i v_i ;  x ← x - γ v                       (the new v)
//! ```
//!
//! Reference: Khirirat et al., "Clip21: Error Feedback for Gradient Clipping", arXiv 2305.18929.

use super::{
    compress::clip,
    problem::{Compressor, Problem, Rate},
    vectors::{mean, minus},
};

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub tau: f64,
    /// C.
    pub compress: Compressor<'a>,
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let n = problem.workers();
    let mut x = problem.start();
    let mut v = vec![vec![0.0; problem.dim()]; n];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        for i in 0..n {
            let g = problem.gradient(i, t, &x);
            let c = (settings.compress)(&clip(&minus(&g, &v[i]), settings.tau));
            for j in 0..c.len() {
                v[i][j] += c[j];
            }
        }
        let v_bar = mean(&v);
        for j in 0..x.len() {
            x[j] -= (settings.rate)(t) * v_bar[j];
        }
        out.push(x.clone());
    }
    out
}
