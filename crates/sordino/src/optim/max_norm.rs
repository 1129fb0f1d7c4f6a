//! Max-norm: rescales the update to at most a norm.
//!
//! # What it does
//! Shortens an update that is longer than `c` to length `c`; at the head of a chain that is PyTorch's gradient
//! clipping.
//!
//! # The step
//! ```text
//! u ← min(1, c/‖u‖)·u
//! ```
//! # Contract
//! Whole-vector norm over parameters; direction kept; u = 0 stays.
//!
//! # When it helps, when it hurts
//! Guards against single bad batches. Unlike CELGC's clip it acts before momentum, which then remembers the short one.
//!
//! # Reference
//! Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks (1211.5063).
//!
//! # Deviations from the paper
//! None.

use super::{At, Transform};
use crate::base::flat;

/// Cap on the norm of an update.
#[derive(Clone, Debug)]
pub struct MaxNorm {
    norm: f64,
    clipped: u64,
}

impl MaxNorm {
    /// At most `norm` long.
    pub fn new(norm: f64) -> Self {
        Self { norm, clipped: 0 }
    }
}

impl Transform for MaxNorm {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        let norm = flat::norm(update);
        if norm > self.norm {
            flat::scale(update, (self.norm / norm) as f32);
            self.clipped += 1;
        }
    }

    fn clipped_steps(&mut self) -> u64 {
        std::mem::take(&mut self.clipped)
    }
}
