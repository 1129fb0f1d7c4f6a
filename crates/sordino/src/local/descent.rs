//! Descent: steps of the base optimizer on mini-batches.
//!
//! # What it does
//! Takes the gradient of a mini-batch, lets the optimizer make a step of it, and remembers what the steps add up to.
//!
//! # The step
//! ```text
//! g = ∇f_k(x; ξ_t) + μ(x − x₀) ;  u = optim(g) ;  x ← x − u ;  D ← D + u
//! x₀ is where the silent steps began; μ = 0 unless `prox` is set
//! ```
//! # Contract
//! D is accumulated, not a difference of parameters, so no bits are lost and one step with the neutral optimizer
//! offers exactly ηg. Where raw gradients are offered the point does not move and D is the mean of the gradients seen;
//! what the gradients came with (micro-batch norms) travels beside it, averaged likewise.
//!
//! # When it helps, when it hurts
//! The usual local work of everything here. A proximal term keeps clients with unlike data near the model they started
//! from, at the price of slower local progress.
//!
//! # Reference
//! The proximal term: Li et al.: Federated optimization in heterogeneous networks, FedProx (1812.06127).
//!
//! # Deviations from the paper
//! None.

use super::{Ground, Local, Spent};
use crate::base::{Aside, Result, flat};
use crate::optim::{At, Transform};
use crate::workload::{Batch, Workload};

/// Steps of the base optimizer, or raw gradients.
#[derive(Clone, Debug)]
pub struct Descent {
    batch: Batch,
    raw: bool,
    prox: f32,
    gradient: Vec<f32>,
    update: Vec<f32>,
    start: Vec<f32>,
}

impl Descent {
    /// Mini-batches of `batch`; `raw` offers gradients and leaves the steps to what follows the exchange.
    pub fn new(batch: Batch, raw: bool) -> Self {
        Self { batch, raw, prox: 0.0, gradient: Vec::new(), update: Vec::new(), start: Vec::new() }
    }

    /// The same with a proximal term of weight `mu`.
    #[must_use]
    pub fn prox(mut self, mu: f64) -> Self {
        self.prox = mu as f32;
        self
    }
}

impl Local for Descent {
    fn is_plain(&self) -> bool {
        self.prox == 0.0
    }

    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        buffers: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent> {
        let mut gradient = std::mem::take(&mut self.gradient);
        gradient.resize(point.len(), 0.0);
        self.begin(point);
        let (mut loss, mut asides, part) = (0.0, self.asides(ground.workload), ground.part.clone());
        for i in part.clone() {
            let draw = ground.draws(i, self.batch);
            loss += ground.workload.gradient(point, buffers, &draw, &mut gradient)?;
            for (sum, aside) in asides.iter_mut().zip(ground.workload.asides()) {
                flat::add(&mut sum.values, &aside.values);
            }
            let found =
                if self.raw { &gradient } else { self.step(ground, ground.at(i, steps), point, &mut gradient)? };
            if i == 0 {
                offer.copy_from_slice(found);
            } else {
                flat::add(offer, found);
            }
        }
        self.gradient = gradient;
        if self.raw && steps > 1 {
            flat::divide(offer, steps as f32);
            for aside in &mut asides {
                flat::divide(&mut aside.values, steps as f32);
            }
        }
        Ok(Spent {
            loss: loss / (part.end - part.start) as f64,
            clipped: ground.optimizer.chain.clipped_steps(),
            clipped_rows: ground.workload.clipped_rows(),
            asides,
        })
    }

    fn begin(&mut self, point: &[f32]) {
        if self.prox > 0.0 {
            self.start.clear();
            self.start.extend_from_slice(point);
        }
    }

    fn step(&mut self, ground: &mut Ground, step: u64, point: &mut [f32], gradient: &mut [f32]) -> Result<&[f32]> {
        if self.prox > 0.0 {
            for ((g, x), x0) in gradient.iter_mut().zip(&*point).zip(&self.start) {
                *g += self.prox * (x - x0);
            }
        }
        let rate = ground.optimizer.anneal.rate(step);
        self.update.clear();
        self.update.extend_from_slice(gradient);
        let at = At::new(point, gradient, rate, step, ground.layout).beside(ground.workload.asides());
        ground.optimizer.chain.apply(&at, &mut self.update);
        flat::subtract(point, &self.update);
        Ok(&self.update)
    }

    fn asides(&self, workload: &dyn Workload) -> Vec<Aside> {
        if !self.raw {
            return Vec::new();
        }
        workload.asides().iter().map(|aside| Aside::zeros(aside.name, aside.values.len())).collect()
    }
}
