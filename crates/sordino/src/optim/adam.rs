//! Adam: the update divided by the root of its running second moment.
//!
//! # What it does
//! Keeps running means of the update and its square, corrects their bias, and divides.
//!
//! # The step
//! ```text
//! m ← β₁m + (1 − β₁)u        v ← β₂v + (1 − β₂)u²        (t counts from 1)
//! u ← (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//! ```
//! # Contract
//! PyTorch's form and defaults. With decoupled decay behind it, `AdamW`.
//!
//! # When it helps, when it hurts
//! Transformers and recurrent networks want it. Second moments differ between workers, so local `AdamW` with H = 1 is
//! not parallel `AdamW`.
//!
//! # Reference
//! Kingma, Ba: Adam (1412.6980).
//!
//! # Deviations from the paper
//! None.

use super::{At, Transform};
use crate::base::{Layout, Result, State};

/// Adam's two moments and its step count.
#[derive(Clone, Debug)]
pub struct Adam {
    betas: (f64, f64),
    eps: f32,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
}

impl Adam {
    /// With decays of the two moments and the epsilon in the denominator.
    pub fn new(beta1: f64, beta2: f64, eps: f64) -> Self {
        Self { betas: (beta1, beta2), eps: eps as f32, first: Vec::new(), second: Vec::new(), steps: 0 }
    }
}

impl Transform for Adam {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        self.first.resize(update.len(), 0.0);
        self.second.resize(update.len(), 0.0);
        self.steps += 1;
        let (b1, b2) = (self.betas.0 as f32, self.betas.1 as f32);
        let (c1, c2) = ((1.0 - self.betas.0) as f32, (1.0 - self.betas.1) as f32);
        let correction1 = (1.0 - libm::pow(self.betas.0, self.steps as f64)) as f32;
        let correction2 = libm::sqrt(1.0 - libm::pow(self.betas.1, self.steps as f64)) as f32;
        let eps = self.eps;
        for ((m, v), u) in self.first.iter_mut().zip(&mut self.second).zip(update) {
            *m = b1 * *m + c1 * *u;
            *v = b2 * *v + c2 * (*u * *u);
            *u = (*m / correction1) / (v.sqrt() / correction2 + eps);
        }
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.first, &mut self.second]
    }

    fn reset(&mut self) {
        self.first.fill(0.0);
        self.second.fill(0.0);
        self.steps = 0;
    }

    fn save(&self, state: &mut State) {
        state.put_numbers("steps", &[self.steps]);
        if !self.first.is_empty() {
            state.put("first", &self.first);
            state.put("second", &self.second);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        [self.steps] = state.take_numbers("steps")?;
        for (name, moment) in [("first", &mut self.first), ("second", &mut self.second)] {
            moment.clear();
            if state.vectors.contains_key(name) {
                moment.resize(layout.len(), 0.0);
                state.take(name, moment)?;
            }
        }
        Ok(())
    }
}
