//! How parameters begin: fan-in rules drawn from keyed streams, never from Burn's generator.

use sordino::base::{Role, Stream};

use crate::crossing::Slot;

/// The distribution of one tensor's initial entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every entry is this number.
    Constant(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
}

impl Rule {
    /// Fills `out` from `stream`.
    pub fn fill(self, stream: &mut Stream, out: &mut [f32]) {
        match self {
            Self::Constant(c) => out.fill(c),
            Self::Uniform(bound) => out.fill_with(|| (2.0 * stream.uniform() - 1.0) * bound),
            Self::Normal(deviation) => out.fill_with(|| stream.normal() * deviation),
        }
    }
}

/// What holds for any module: weights uniform within ±1/√fan-in, embeddings standard normal, biases 0, norms 1 and 0.
pub fn usual(slot: &Slot) -> Rule {
    match slot.tensor.role {
        Role::Norm if slot.leaf() == "gamma" => Rule::Constant(1.0),
        Role::Weight if slot.container == "Embedding" => Rule::Normal(1.0),
        Role::Weight => Rule::Uniform(1.0 / (slot.fan_in() as f32).sqrt()),
        Role::Norm | Role::Bias | Role::Buffer => Rule::Constant(0.0),
    }
}

/// For networks of rectifiers: weights normal with deviation √(2/fan-in) (He et al. 2015), else as [`usual`].
pub fn kaiming(slot: &Slot) -> Rule {
    match slot.tensor.role {
        Role::Weight => Rule::Normal((2.0 / slot.fan_in() as f32).sqrt()),
        _ => usual(slot),
    }
}
