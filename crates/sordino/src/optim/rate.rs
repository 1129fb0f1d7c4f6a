//! Rate: the learning rate, with CELGC's clip as a cap on it.
//!
//! # What it does
//! Multiplies the update by the rate, or by less where the raw local gradient is long.
//!
//! # The step
//! ```text
//! u ← min(η, γ/‖g‖)·u          γ/η fixed while η anneals
//! ```
//! # Contract
//! ‖g‖ is over all parameters of the raw local gradient, before decay, momentum and compression; g = 0 is not clipped.
//! Without momentum a step is at most γ long. Without a threshold it is plain multiplication by the rate.
//!
//! # When it helps, when it hurts
//! Where smoothness grows with the gradient (recurrent networks, steep polynomials) it keeps local steps from
//! exploding between meetings. A threshold below the heterogeneity of the workers leaves a bias.
//!
//! # Reference
//! Liu, Zhuang, Lei, Liao: A communication-efficient distributed gradient clipping algorithm (2205.05040).
//!
//! # Deviations from the paper
//! The authors' code adds 1e-10 to the norm; here a zero gradient is handled by itself.

use super::{At, Transform};
use crate::base::flat;

/// The last link of a base optimizer.
#[derive(Clone, Debug)]
pub struct Rate {
    threshold: Option<f64>,
    clipped: u64,
}

impl Rate {
    /// With `threshold` = γ/η on the norm of the raw gradient, or none.
    pub fn new(threshold: Option<f64>) -> Self {
        Self { threshold, clipped: 0 }
    }
}

impl Transform for Rate {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        let mut factor = at.rate;
        if let Some(threshold) = self.threshold
            && at.gradient_norm() > threshold
        {
            factor = at.rate * (threshold / at.gradient_norm());
            self.clipped += 1;
        }
        flat::scale(update, factor as f32);
    }

    fn clipped_steps(&mut self) -> u64 {
        std::mem::take(&mut self.clipped)
    }
}

/// Divides by the rate, then lets a chain work in gradient units, then multiplies by it again: `SlowMo`'s outer step.
pub struct PerRate<T>(pub T);

impl<T: Transform> Transform for PerRate<T> {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        if at.rate == 0.0 {
            return;
        }
        flat::divide(update, at.rate as f32);
        self.0.apply(at, update);
        flat::scale(update, at.rate as f32);
    }

    fn needs(&self) -> Option<&'static str> {
        self.0.needs()
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        self.0.moments()
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn save(&self, state: &mut crate::base::State) {
        self.0.save(state);
    }

    fn load(&mut self, state: &crate::base::State, layout: &crate::base::Layout) -> crate::Result<()> {
        self.0.load(state, layout)
    }

    fn deal(&self, former: &crate::base::Former) -> crate::Result<crate::base::State> {
        self.0.deal(former)
    }
}
