//! The tensors of a flat vector, for methods that treat layer by layer.

use super::vectors::norm;

/// One tensor: entries `start..end`.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// First entry.
    pub start: usize,
    /// One past the last entry.
    pub end: usize,
    /// A weight, to be scaled; biases and the parameters of normalisation are not.
    pub weight: bool,
}

impl Tensor {
    /// One weight for the whole vector.
    pub fn whole(dim: usize) -> Vec<Self> {
        vec![Self { start: 0, end: dim, weight: true }]
    }

    /// `‖v_l‖₂`.
    pub fn norm(&self, v: &[f64]) -> f64 {
        norm(&v[self.start..self.end])
    }
}
