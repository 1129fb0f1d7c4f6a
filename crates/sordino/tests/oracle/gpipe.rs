//! GPipe (`gpipe`): a batch is cut into micro-batches that fill the pipeline one after the other; only inputs of blocks
//! are kept, and the mean gradient of the micro-batches makes one step.
//!
//! ```text
//! micro-batch m = 1..M:   forward through all blocks, every block keeps its input
//!                 m = M..1:   backward through all blocks, each forward once more, all at the same W
//! W ← W - η Σ_m (B_m / B) g_m                                    (B_m of the B rows are in micro-batch m)
//! ```
//!
//! Where M does not divide B, micro-batches end at ⌊m B / M⌋ and count by their rows, so that the step is still that of
//! the whole batch.
//!
//! Reference: Huang et al., "GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism", arXiv
//! 1811.06965.

use super::{
    chain::{Batch, Chain, Weights, error, states, step},
    inner::Inner,
    problem::Rate,
};

/// The row's settings.
pub struct Settings<'a> {
    /// η of every step.
    pub rate: Rate<'a>,
    /// What takes the steps.
    pub inner: Inner,
    /// M.
    pub micro: usize,
    /// What a step sees.
    pub batch: &'a dyn Fn(u64) -> Batch,
}

/// The weights at the start and after every step.
pub fn trajectory(chain: &Chain, settings: &Settings, start: &Weights, steps: u64) -> Vec<Weights> {
    let (mut weights, mut states) = (start.clone(), states(start));
    let blocks = chain.blocks.len();
    let mut out = vec![weights.clone()];
    for t in 0..steps {
        let batch = (settings.batch)(t);
        let size = batch.inputs.len();
        let rows = |m: usize| m * size / settings.micro..(m + 1) * size / settings.micro;
        let mut kept = Vec::new();
        for m in 0..settings.micro {
            let mut a = vec![batch.inputs[rows(m)].to_vec()];
            for k in 0..blocks {
                a.push(chain.forward(k, &weights, &a[k]));
            }
            kept.push(a);
        }
        let mut mean: Weights = weights.iter().map(|w| vec![0.0; w.len()]).collect();
        for m in (0..settings.micro).rev() {
            let (targets, share) = (batch.targets[rows(m)].to_vec(), rows(m).len() as f64 / size as f64);
            let mut errors = error(&kept[m][blocks], &targets);
            for k in (0..blocks).rev() {
                let (own, before) = chain.backward(k, &weights, &kept[m][k], &errors);
                for (l, g) in chain.blocks[k].clone().zip(own) {
                    for j in 0..g.len() {
                        mean[l][j] += share * g[j];
                    }
                }
                errors = before;
            }
        }
        step((&mut states, settings.inner, (settings.rate)(t)), &mut weights, 0..mean.len(), &mean);
        out.push(weights.clone());
    }
    out
}
