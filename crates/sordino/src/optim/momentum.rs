//! Momentum: a running sum of updates, heavy-ball or Nesterov.
//!
//! # What it does
//! Replaces the update by a geometrically weighted sum of all updates so far.
//!
//! # The step
//! ```text
//! m ← μ·m + u
//! u ← m                 heavy ball
//! u ← u + μ·m           Nesterov
//! ```
//! # Contract
//! PyTorch's form: no damping, no bias correction, m starts at 0, so the first update passes unchanged (heavy ball).
//! Outside, over mean displacements D with Nesterov, it is `FedMom` and `DiLoCo`: with v₀ = w₀,
//! `v⁺ = w − ηD, w⁺ = v⁺ + β(v⁺ − v)` equals `m ← βm + D, w⁺ = w − η(D + βm)` (put ηm = v − v⁺ before).
//!
//! # When it helps, when it hurts
//! Helps nearly always; with compressed gradients apply it where its noise is smallest (after the mean).
//!
//! # Reference
//! Sutskever et al. (ICML 2013); outer use: Huo et al., Faster on-device training using new federated momentum
//! algorithm (2002.02090); Douillard et al., `DiLoCo` (2311.08105).
//!
//! # Deviations from the paper
//! None.

use super::{At, Transform};
use crate::base::{Layout, Result, State};

/// Momentum with a buffer of one vector.
#[derive(Clone, Debug)]
pub struct Momentum {
    mu: f32,
    nesterov: bool,
    buffer: Vec<f32>,
}

impl Momentum {
    /// With factor `mu` in [0, 1).
    pub fn new(mu: f64, nesterov: bool) -> Self {
        Self { mu: mu as f32, nesterov, buffer: Vec::new() }
    }

    /// The link, or none where `mu` is 0.
    pub fn link(mu: f64, nesterov: bool) -> Option<Box<dyn Transform>> {
        (mu > 0.0).then(|| Box::new(Self::new(mu, nesterov)) as Box<dyn Transform>)
    }
}

impl Transform for Momentum {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        self.buffer.resize(update.len(), 0.0);
        let mu = self.mu;
        if self.nesterov {
            for (m, u) in self.buffer.iter_mut().zip(update) {
                *m = mu * *m + *u;
                *u += mu * *m;
            }
        } else {
            for (m, u) in self.buffer.iter_mut().zip(update) {
                *m = mu * *m + *u;
                *u = *m;
            }
        }
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.buffer]
    }

    fn save(&self, state: &mut State) {
        if !self.buffer.is_empty() {
            state.put("momentum", &self.buffer);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.buffer.clear();
        if state.vectors.contains_key("momentum") {
            self.buffer.resize(layout.len(), 0.0);
            state.take("momentum", &mut self.buffer)?;
        }
        Ok(())
    }
}
