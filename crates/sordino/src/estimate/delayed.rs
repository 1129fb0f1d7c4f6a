//! Delayed: gradients of the past, of another past for every tensor.
//!
//! # What it does
//! Gives of each tensor the gradient that was found so many calls ago, all of it at the one point of that time.
//!
//! # The step
//! ```text
//! g_l = ∇_l f(x_{t−d_l}; ξ_{t−d_l})    for each parameter tensor l; 0 while t < d_l
//! ```
//! # Contract
//! A call is a step. The loss is that of the call. It remembers gradients between calls, which no workload may and no
//! checkpoint keeps: it is the reference that stale pipelines are held to, and no choice of `local.estimate`. With all
//! delays 0 it is invisible.
//!
//! # When it helps, when it hurts
//! Shows what staleness does to a method without a pipeline, at the price of a whole gradient a step.
//!
//! # Reference
//! Ouroboros (1909.06695): with blocks 1..K of layers, d_l = K − k for the tensors of block k.
//!
//! # Deviations from the paper
//! A tensor of two blocks has two delays there; here it is two tensors, whose sum is the caller's to take.

use std::collections::VecDeque;

use crate::base::{Aside, Layout, Result};
use crate::workload::{Draw, Metrics, Split, Start, Workload};

/// A workload whose gradients are late.
pub struct Delayed {
    inner: Box<dyn Workload>,
    layout: Layout,
    delays: Vec<usize>,
    /// The newest gradient first.
    past: VecDeque<Vec<f32>>,
}

impl Delayed {
    /// The gradients of `inner`, each tensor's so many calls late; tensors that `delays` does not reach are in time.
    pub fn new(inner: Box<dyn Workload>, mut delays: Vec<usize>) -> Self {
        let layout = inner.layout().clone();
        delays.resize(layout.ranges().len(), 0);
        Self { inner, layout, delays, past: VecDeque::new() }
    }
}

impl Workload for Delayed {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let most = self.delays.iter().copied().max().unwrap_or(0);
        let mut newest = if self.past.len() > most { self.past.pop_back() } else { None }.unwrap_or_default();
        newest.resize(x.len(), 0.0);
        let loss = self.inner.gradient(x, buffers, draw, &mut newest)?;
        self.past.push_front(newest);
        for (delay, range) in self.delays.iter().zip(self.layout.ranges()) {
            match self.past.get(*delay) {
                Some(old) => gradient[range.clone()].copy_from_slice(&old[range.clone()]),
                None => gradient[range.clone()].fill(0.0),
            }
        }
        Ok(loss)
    }

    fn asides(&self) -> &[Aside] {
        self.inner.asides()
    }

    fn clipped_rows(&mut self) -> u64 {
        self.inner.clipped_rows()
    }

    fn evaluate_client(&mut self, x: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.inner.evaluate_client(x, buffers, client)
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, buffers, split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Batch, Chain, Task};

    #[test]
    fn every_tensor_is_as_late_as_it_is_told() {
        let chain = Chain { layers: 3, bias: false, ..Chain::default() };
        let (mut plain, late) = (chain.workload(1, 0).unwrap(), chain.workload(1, 0).unwrap());
        let (mut late, x) = (Delayed::new(late, vec![2, 1]), plain.start(0).parameters);
        let draw = |step| Draw { seed: 0, client: 0, step, batch: Batch::Rows(4) };
        let mut history = Vec::new();
        for step in 0..6u64 {
            let at: Vec<f32> = x.iter().map(|v| v + step as f32 * 0.1).collect();
            let (mut now, mut found) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
            let loss = plain.gradient(&at, &mut [], &draw(step), &mut now).unwrap();
            history.push(now);
            assert_eq!(late.gradient(&at, &mut [], &draw(step), &mut found).unwrap(), loss);
            for (delay, range) in [2, 1, 0].into_iter().zip(late.layout().ranges()) {
                let zeros = vec![0.0; x.len()];
                let then = (step as usize).checked_sub(delay).map_or(&zeros, |t| &history[t]);
                assert_eq!(found[range.clone()], then[range.clone()], "step {step}");
            }
        }
        assert_ne!(history[5], history[4]);
    }
}
