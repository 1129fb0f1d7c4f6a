//! Private SGD (`dp-sgd`): every sample's gradient is clipped, the sum gets noise, and is divided by the batch that was
//! expected, never by the batch that came.
//!
//! ```text
//! worker i:  B_i Poisson-sampled ;  G_i = (1/b) (Σ_{s in B_i} clip_C(∇f_is(x) + κ ζ_is) + σ C ξ_i)     (b = E|B_i|)
//! all:       step the optimizer along (1/N) Σ_i G_i                     (each worker has noise ξ_i of its own)
//! ```
//!
//! κ = 0 leaves out the perturbation before clipping, whose ζ is drawn apart from ξ. An empty batch still gets noise.
//!
//! References: Abadi et al., "Deep Learning with Differential Privacy", arXiv 1607.00133; the perturbation: Chen, Wu
//! and Hong, "Understanding Gradient Clipping in Private SGD: A Geometric Perspective", arXiv 2006.15429.

use super::{
    compress::clip,
    inner::{Inner, State},
    problem::{Problem, Rate},
    vectors::mean,
};

/// The gradient of one sample: `(worker, sample, x)`.
pub type PerSample<'a> = &'a dyn Fn(usize, usize, &[f64]) -> Vec<f64>;

/// The row's settings.
pub struct Settings<'a> {
    /// The rate of every step.
    pub rate: Rate<'a>,
    /// What steps along the noisy mean.
    pub inner: Inner,
    /// C.
    pub clip: f64,
    /// σ, the noise's standard deviation over C, on a worker's sum.
    pub multiplier: f64,
    /// b, a worker's.
    pub expected: f64,
    /// `B_i` of (worker, step).
    pub batch: &'a dyn Fn(usize, u64) -> Vec<usize>,
    /// `ξ`, standard normal: `(worker, step, entry)`.
    pub noise: &'a dyn Fn(usize, u64, usize) -> f64,
    /// κ.
    pub perturb: f64,
    /// `ζ`, standard normal: `(worker, step, sample, entry)`.
    pub zeta: &'a dyn Fn(usize, u64, usize, usize) -> f64,
    /// `∇f_is`.
    pub sample: PerSample<'a>,
}

/// `G_i` of worker `i` in step `t` at `x`.
pub fn private(settings: &Settings, i: usize, t: u64, x: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; x.len()];
    for s in (settings.batch)(i, t) {
        let mut g = (settings.sample)(i, s, x);
        for j in 0..g.len() {
            g[j] += settings.perturb * (settings.zeta)(i, t, s, j);
        }
        let clipped = clip(&g, settings.clip);
        for j in 0..g.len() {
            sum[j] += clipped[j];
        }
    }
    (0..x.len())
        .map(|j| (sum[j] + settings.multiplier * settings.clip * (settings.noise)(i, t, j)) / settings.expected)
        .collect()
}

/// The model at the start and after every round; a round is a step. The problem gives the start and the workers.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut state = State::new(problem.dim());
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let rows: Vec<Vec<f64>> = (0..problem.workers()).map(|i| private(settings, i, t, &x)).collect();
        state.step(settings.inner, (settings.rate)(t), &mut x, &mean(&rows));
        out.push(x.clone());
    }
    out
}
