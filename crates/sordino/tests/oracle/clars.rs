//! CLARS (`clars`): LARS with the mean norm of the micro-batches' gradients in place of the norm of their mean, so that
//! a layer whose samples disagree takes a shorter step.
//!
//! ```text
//! all:         G = (1/N) Σ_k (1/J) Σ_j g_kj(x) + wd x                (g_kj: worker k's gradient on micro-batch j)
//! tensor l:    A_l = (1/NJ) Σ_k Σ_j ‖g_kj,l‖                         (without weight decay)
//!              s_l = min(cap, L_l ‖G_l‖ / (A_l + ε)) ,  L_l = η ‖x_l‖ / (‖G_l‖ + ε) , or 1 if ‖x_l‖ or ‖G_l‖ is 0
//!              s_l = 1 for biases and normalisation
//!              m_l ← μ m_l + G_l ;  x_l ← x_l - γ s_l m_l
//! ```
//!
//! The norms are those of the step's own gradients. (The authors' code takes them from another loader after the step.)
//!
//! Reference: Huo, Gu and Huang, "Large Batch Optimization for Deep Learning Using New Complete Layer-Wise Adaptive
//! Rate Scaling", arXiv 2002.01576, with the cap and the constants of the authors' code.

use super::{
    lars::{decayed, scale},
    layers::Tensor,
    problem::{Problem, Rate},
    vectors::mean,
};

/// The gradients of a worker's micro-batches: `(worker, step, x)`.
pub type Micro<'a> = &'a dyn Fn(usize, u64, &[f64]) -> Vec<Vec<f64>>;

/// The row's settings.
pub struct Settings<'a> {
    /// γ of every step.
    pub rate: Rate<'a>,
    /// μ.
    pub momentum: f64,
    /// wd.
    pub decay: f64,
    /// Decay biases and normalisation too, as the code does.
    pub decay_rest: bool,
    /// η, the trust coefficient; 0.01 in the code.
    pub trust: f64,
    /// ε, 1e-6 in the code.
    pub epsilon: f64,
    /// The largest `s_l` of a weight; 0.1 in the code.
    pub cap: f64,
    /// The tensors, which cover the vector.
    pub tensors: Vec<Tensor>,
    /// What the gradients are made of; every worker has as many micro-batches.
    pub micro: Micro<'a>,
}

/// The model at the start and after every round; a round is a step. The problem gives the start and the workers.
pub fn trajectory(problem: &dyn Problem, settings: &Settings, rounds: usize) -> Vec<Vec<f64>> {
    let mut x = problem.start();
    let mut m = vec![0.0; problem.dim()];
    let mut out = vec![x.clone()];
    for t in 0..rounds as u64 {
        let micro: Vec<Vec<Vec<f64>>> = (0..problem.workers()).map(|k| (settings.micro)(k, t, &x)).collect();
        let rows: Vec<Vec<f64>> = micro.iter().map(|own| mean(own)).collect();
        let big = decayed(&mean(&rows), &x, settings.decay, settings.decay_rest, &settings.tensors);
        for tensor in &settings.tensors {
            let mut s = scale(tensor, &x, &big, settings.trust, settings.epsilon);
            if tensor.weight {
                let norms: Vec<f64> = micro.iter().flatten().map(|g| tensor.norm(g)).collect();
                let a = norms.iter().sum::<f64>() / norms.len() as f64;
                s = settings.cap.min(s * tensor.norm(&big) / (a + settings.epsilon));
            }
            for j in tensor.start..tensor.end {
                m[j] = settings.momentum * m[j] + big[j];
                x[j] -= (settings.rate)(t) * s * m[j];
            }
        }
        out.push(x.clone());
    }
    out
}
