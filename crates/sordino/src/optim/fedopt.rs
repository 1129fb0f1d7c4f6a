//! `FedOpt`: adaptive steps over rounds, `FedAdam` and `FedYogi`.
//!
//! # What it does
//! Divides a running mean of the agreed displacement by the root of a running second moment, entry by entry.
//!
//! # The step
//! ```text
//! m ← β₁m + (1 − β₁)D
//! v ← β₂v + (1 − β₂)D²                        Adam
//! v ← v − (1 − β₂)D²·sign(v − D²)             Yogi
//! u ← m / (√v + τ)                            m₀ = 0, v₀ = τ²; no bias correction
//! ```
//! # Contract
//! D is subtracted in the end: the paper's pseudo-gradient Δ is −D, and m carries the sign while v does not see it. A
//! rate follows. u has no unit, so a rate is the length of an entry's step where displacements are large against τ; where
//! they are small the step is rate·D/(2τ). Yogi's v moves by no more than (1 − β₂)D² a round and stays at least 0.
//!
//! # When it helps, when it hurts
//! Sparse or unequal gradients, many clients of which few are asked. The rate must be tuned anew: 1 is far too much. A
//! small τ makes it a method of signs. Yogi forgets a large D slower than Adam, and rises as fast.
//!
//! # Reference
//! Reddi et al.: Adaptive federated optimization (2003.00295).
//!
//! # Deviations from the paper
//! None; its third method, with Adagrad's second moment, is not here.

use super::{At, Transform};
use crate::base::{Layout, Result, State};

/// How the second moment follows the squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondMoment {
    /// Geometrically.
    Adam,
    /// By steps whose size does not depend on how far it is.
    Yogi,
}

/// Two moments of the displacement over rounds; a rate follows.
#[derive(Clone, Debug)]
pub struct FedOpt {
    kind: SecondMoment,
    betas: (f64, f64),
    tau: f32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl FedOpt {
    /// With decays of the two moments and the adaptivity `tau`.
    pub fn new(kind: SecondMoment, beta1: f64, beta2: f64, tau: f64) -> Self {
        Self { kind, betas: (beta1, beta2), tau: tau as f32, first: Vec::new(), second: Vec::new() }
    }
}

impl Transform for FedOpt {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        let (tau, kind) = (self.tau, self.kind);
        self.first.resize(update.len(), 0.0);
        self.second.resize(update.len(), tau * tau);
        let (b1, b2) = (self.betas.0 as f32, self.betas.1 as f32);
        let (c1, c2) = ((1.0 - self.betas.0) as f32, (1.0 - self.betas.1) as f32);
        for ((m, v), u) in self.first.iter_mut().zip(&mut self.second).zip(update) {
            let square = *u * *u;
            *m = b1 * *m + c1 * *u;
            *v = match kind {
                SecondMoment::Adam => b2 * *v + c2 * square,
                SecondMoment::Yogi if *v > square => *v - c2 * square,
                SecondMoment::Yogi if *v < square => *v + c2 * square,
                SecondMoment::Yogi => *v,
            };
            *u = *m / (v.sqrt() + tau);
        }
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.first, &mut self.second]
    }

    fn reset(&mut self) {
        self.first.fill(0.0);
        self.second.fill(self.tau * self.tau);
    }

    fn save(&self, state: &mut State) {
        if !self.first.is_empty() {
            state.put("first", &self.first);
            state.put("second", &self.second);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
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
