//! Valley: a line of minima, of which some are flatter than others.
//!
//! # What it does
//! Gives every worker the function L(u, v) = ½(1 + u²)v² and noise across the valley alone.
//!
//! # The step
//! ```text
//! ∂L/∂u = u v²        ∂L/∂v = (1 + u²) v + noise·N(0, 1)
//! ```
//! # Contract
//! All points with v = 0 are minima; the curvature across the valley, 1 + u², is least at u = 0. Noise is drawn per worker
//! and step, and in gradients alone, not in losses. Batches do not matter.
//!
//! # When it helps, when it hurts
//! Where one wants to see whether noise carries a method along the minima towards flat ones, and how fast: gradient descent
//! without noise stays where it is.
//!
//! # Reference
//! The slow motion along minimisers that 2310.14423 argues with; the function is the smallest that shows it.
//!
//! # Deviations from the paper
//! None.

use super::{Draw, Metrics, Split, Start, Task, Workload, of};
use crate::base::{Layout, Result, flat};

/// ½(1 + u²)v².
#[derive(Clone, Debug)]
pub struct Valley {
    /// Standard deviation of the noise in ∂L/∂v.
    pub noise: f64,
    /// u at the start: how sharp it is there.
    pub start: f64,
    /// v at the start.
    pub across: f64,
}

impl Default for Valley {
    fn default() -> Self {
        Self { noise: 1.0, start: 1.0, across: 0.0 }
    }
}

impl Task for Valley {
    fn name(&self) -> &'static str {
        "valley"
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        Ok(Box::new(Floor { task: self.clone(), clients: vec![(); clients], layout: Layout::vector(2) }))
    }

    fn fingerprint(&self) -> u64 {
        flat::fingerprint(&[self.noise, self.start, self.across].map(|v| v as f32))
    }
}

struct Floor {
    task: Valley,
    clients: Vec<()>,
    layout: Layout,
}

fn loss(x: &[f32]) -> f64 {
    let (u, v) = (f64::from(x[0]), f64::from(x[1]));
    0.5 * (1.0 + u * u) * v * v
}

impl Workload for Floor {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![self.task.start as f32, self.task.across as f32], buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        of(&self.clients, draw.client)?;
        let (u, v) = (x[0], x[1]);
        gradient[0] = u * v * v;
        gradient[1] = (1.0 + u * u) * v + self.task.noise as f32 * draw.noise().normal();
        Ok(loss(x))
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        of(&self.clients, draw.client)?;
        Ok(loss(x))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let found = Metrics { loss: loss(x), accuracy: None, examples: self.clients.len() };
        Ok(Some(found).filter(|_| split == Split::Train))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Batch;

    #[test]
    fn gradients_are_slopes_of_the_loss_and_noise_is_across_alone() {
        let mut quiet = Valley { noise: 0.0, ..Valley::default() }.workload(1, 0).unwrap();
        let mut loud = Valley::default().workload(1, 0).unwrap();
        let draw = Draw { seed: 0, client: 0, step: 3, batch: Batch::Full };
        let (x, mut slopes, mut noisy) = ([0.7f32, -1.2], [0.0f32; 2], [0.0f32; 2]);
        quiet.gradient(&x, &mut [], &draw, &mut slopes).unwrap();
        loud.gradient(&x, &mut [], &draw, &mut noisy).unwrap();
        for i in 0..2 {
            let along = |by: f32| {
                let mut there = x;
                there[i] += by;
                loss(&there)
            };
            let slope = (along(1e-3) - along(-1e-3)) / 2e-3;
            assert!((slope - f64::from(slopes[i])).abs() < 1e-3, "{i}: {slope} {slopes:?}");
        }
        assert!(noisy[0] == slopes[0] && noisy[1] != slopes[1], "{noisy:?} {slopes:?}");
    }

    #[test]
    fn a_client_that_does_not_exist_is_refused() {
        let mut valley = Valley::default().workload(2, 0).unwrap();
        let draw = Draw { seed: 0, client: 2, step: 0, batch: Batch::Full };
        assert!(valley.gradient(&[1.0, 0.0], &mut [], &draw, &mut [0.0; 2]).is_err());
    }
}
