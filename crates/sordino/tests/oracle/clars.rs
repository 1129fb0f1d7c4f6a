//! Naive CLARS (`clars`): LARS whose denominator is the mean of the norms of micro-batch gradients.
//!
//! ```text
//! g_ij: gradient of worker i on its micro-batch j of J ;   G = mean_ij g_ij + wd x ;   m ← μ m + G
//! A_l = mean_ij ‖(g_ij)_l‖ ;   L_l = τ‖x_l‖ / (‖G_l‖ + ε), 1 where ‖x_l‖ or ‖G_l‖ is 0
//! s_l = min(c, L_l ‖G_l‖/(A_l + ε)), 1 for tensors that are no weights ;   x_l ← x_l - η s_l m_l
//! ```
//!
//! Reference: Huo, Gu and Huang, "Large Batch Optimization for Deep Learning Using New Complete Layer-Wise Adaptive
//! Rate Scaling", arXiv 2002.01576, as its authors' code has it; A is measured where G is.

use super::{
    problem::{Problem, Rate},
    vectors::{mean, norm},
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// τ.
    pub trust: f64,
    /// c.
    pub cap: f64,
    /// ε.
    pub epsilon: f64,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// J; micro-batch j of step t is the problem's step J t + j.
    pub parts: u64,
    /// Length of every tensor, and whether it is a weight.
    pub tensors: &'a [(usize, bool)],
}

/// The model at the start and after every round; a round is a step.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut m = vec![0.0; problem.dim()];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let mut gradients = Vec::new();
        for i in 0..problem.workers() {
            for j in 0..settings.parts {
                gradients.push(problem.gradient(i, settings.parts * t + j, &x));
            }
        }
        let mut g = mean(&gradients);
        for j in 0..x.len() {
            g[j] += settings.decay * x[j];
            m[j] = settings.momentum * m[j] + g[j];
        }
        let mut from = 0;
        for (len, weight) in settings.tensors {
            let (w, l) = (norm(&x[from..from + len]), norm(&g[from..from + len]));
            let mut a = 0.0;
            for gradient in &gradients {
                a += norm(&gradient[from..from + len]) / gradients.len() as f64;
            }
            let lars = if w > 0.0 && l > 0.0 { settings.trust * w / (l + settings.epsilon) } else { 1.0 };
            let s = if *weight { settings.cap.min(lars * l / (a + settings.epsilon)) } else { 1.0 };
            for j in from..from + len {
                x[j] -= (settings.rate)(t) * s * m[j];
            }
            from += len;
        }
        out.push(x.clone());
    }
    out
}
