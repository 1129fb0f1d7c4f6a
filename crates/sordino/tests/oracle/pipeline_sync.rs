//! A pipeline without staleness (`pipeline-sync`): a batch goes forward through all blocks, back through all of them,
//! and only then does anybody step.
//!
//! ```text
//! h_1 = inputs ;  h_{k+1} = Block_k(h_k; W_k) , k = 1..K
//! e_{K+1} = error of h_{K+1} ;  (g_k, e_k) = backward of block k at (h_k, e_{k+1}) , k = K..1
//! W_k ← W_k - η g_k                                                    (or the optimizer's step)
//! ```

use super::{
    chain::{Batch, Chain, Weights, states, step},
    inner::Inner,
    problem::Rate,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// What takes the steps.
    pub inner: Inner,
    /// What a step sees.
    pub batch: &'a dyn Fn(u64) -> Batch,
}

/// The weights at the start and after every step.
pub fn trajectory(chain: &Chain, settings: &Settings, start: &Weights, steps: u64) -> Vec<Weights> {
    let (mut weights, mut states) = (start.clone(), states(start));
    let mut out = vec![weights.clone()];
    for t in 0..steps {
        let g = chain.gradient(&weights, &(settings.batch)(t));
        step((&mut states, settings.inner, (settings.rate)(t)), &mut weights, 0..g.len(), &g);
        out.push(weights.clone());
    }
    out
}
