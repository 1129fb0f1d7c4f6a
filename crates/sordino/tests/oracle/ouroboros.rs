//! Ouroboros (`ouroboros`): every block takes the gradient that has just come back to it, of a batch that went forward
//! a few iterations ago, at the weights of then.
//!
//! ```text
//! iteration t, block k = 1..K:   s = t - (K - k)
//!   s ≥ 0:   g_k = ∂F(W^s; batch s) / ∂W_k ,   W_k^{t+1} = W_k^t - η_t g_k       (or the optimizer's step)
//!   s < 0:   the block waits
//! tensors that two blocks share:   one step with the sum of what the two have, of different ages
//! ```
//!
//! Reference: Yang et al., "Ouroboros: On Accelerating Training of Transformer-Based Language Models", arXiv 1909.06695.
//! The warm-up of the paper is not known and left out.

use super::{
    chain::{Batch, Chain, Weights, states},
    inner::Inner,
    problem::Rate,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every iteration.
    pub rate: Rate<'a>,
    /// What takes the steps, one state a tensor.
    pub inner: Inner,
    /// Layers that are one tensor: `(a, b)`, b follows a. They start equal.
    pub tied: Vec<(usize, usize)>,
    /// What an iteration sends forward.
    pub batch: &'a dyn Fn(u64) -> Batch,
}

/// The gradients that the layers get in iteration t, none for those that wait.
pub fn arrived(chain: &Chain, settings: &Settings, models: &[Weights], t: usize) -> Vec<Option<Vec<f64>>> {
    let blocks = chain.blocks.len();
    let mut out = Vec::new();
    for k in 0..blocks {
        let age = blocks - 1 - k;
        let whole = (t >= age).then(|| chain.gradient(&models[t - age], &(settings.batch)((t - age) as u64)));
        for l in chain.blocks[k].clone() {
            out.push(whole.as_ref().map(|g| g[l].clone()));
        }
    }
    out
}

/// The weights at the start and after every iteration.
pub fn trajectory(chain: &Chain, settings: &Settings, start: &Weights, steps: usize) -> Vec<Weights> {
    let mut states = states(start);
    let mut out = vec![start.clone()];
    for t in 0..steps {
        let mut gradients = arrived(chain, settings, &out, t);
        for &(a, b) in &settings.tied {
            let second = gradients[b].take();
            gradients[a] = match (gradients[a].take(), second) {
                (Some(g), Some(h)) => Some((0..g.len()).map(|j| g[j] + h[j]).collect()),
                (g, h) => g.or(h),
            };
        }
        let mut weights = out[t].clone();
        for (l, gradient) in gradients.iter().enumerate() {
            if let Some(g) = gradient {
                states[l].step(settings.inner, (settings.rate)(t as u64), &mut weights[l], g);
            }
        }
        for &(a, b) in &settings.tied {
            let shared = weights[a].clone();
            weights[b] = shared;
        }
        out.push(weights);
    }
    out
}
