//! Descent: steps of the base optimizer on mini-batches.
//!
//! # What it does
//! Takes the gradient of a mini-batch, lets the optimizer make a step of it, and remembers what the steps add up to.
//!
//! # The step
//! ```text
//! g = ∇f_k(x; ξ_t) ;  u = optim(g) ;  x ← x − u ;  D ← D + u
//! ```
//! # Contract
//! D is accumulated, not a difference of parameters, so no bits are lost and one step with the neutral optimizer
//! offers exactly ηg. Where raw gradients are offered the point does not move and D is the mean of the gradients seen.
//!
//! # When it helps, when it hurts
//! The usual local work of everything here.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use super::{Ground, Local, Spent};
use crate::base::{Result, flat};
use crate::optim::{At, Transform};
use crate::workload::{Batch, Draw};

/// Steps of the base optimizer, or raw gradients.
#[derive(Clone, Debug)]
pub struct Descent {
    batch: Batch,
    raw: bool,
    gradient: Vec<f32>,
    update: Vec<f32>,
}

impl Descent {
    /// Mini-batches of `batch`; `raw` offers gradients and leaves the steps to what follows the exchange.
    pub fn new(batch: Batch, raw: bool) -> Self {
        Self { batch, raw, gradient: Vec::new(), update: Vec::new() }
    }

    fn step(&mut self, ground: &mut Ground, step: u64, point: &mut [f32]) {
        let rate = ground.optimizer.anneal.rate(step);
        self.update.clear();
        self.update.extend_from_slice(&self.gradient);
        let at = At::new(point, &self.gradient, rate, step, ground.layout);
        ground.optimizer.chain.apply(&at, &mut self.update);
        flat::subtract(point, &self.update);
    }
}

impl Local for Descent {
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        buffers: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent> {
        self.gradient.resize(point.len(), 0.0);
        let mut loss = 0.0;
        for i in 0..steps {
            let step = ground.step + i;
            let draw = Draw { seed: ground.seed, client: ground.client, step, batch: self.batch };
            loss += ground.workload.gradient(point, buffers, &draw, &mut self.gradient)?;
            if !self.raw {
                self.step(ground, step, point);
            }
            let found = if self.raw { &self.gradient } else { &self.update };
            if i == 0 {
                offer.copy_from_slice(found);
            } else {
                flat::add(offer, found);
            }
        }
        if self.raw && steps > 1 {
            flat::divide(offer, steps as f32);
        }
        Ok(Spent { loss: loss / steps as f64, clipped: ground.optimizer.chain.clipped_steps() })
    }
}
