//! Decay: weight decay.
//!
//! # What it does
//! Adds a multiple of the parameters to the update.
//!
//! # The step
//! ```text
//! u ← u + λ·x
//! ```
//! # Contract
//! Before momentum or Adam it is L2 regularisation; after Adam it is decoupled (`AdamW`). All parameters, or weights
//! alone, as LAMB asks for.
//!
//! # When it helps, when it hurts
//! Usual regularisation; decoupled decay keeps its strength whatever Adam's denominators are.
//!
//! # Reference
//! Loshchilov, Hutter: Decoupled weight decay regularization (1711.05101).
//!
//! # Deviations from the paper
//! None.

use super::{At, Transform};
use crate::base::{Result, Role, flat};
use crate::grammar::Args;

/// Weight decay.
#[derive(Clone, Debug)]
pub struct Decay {
    factor: f32,
    weights_only: bool,
}

impl Decay {
    /// The link that `decay` of an optimizer asks for, or none.
    pub fn link(args: &Args) -> Result<Option<Box<dyn Transform>>> {
        Self::made(args, false)
    }

    /// The same, which leaves biases and norms as they are.
    pub fn on_weights(args: &Args) -> Result<Option<Box<dyn Transform>>> {
        Self::made(args, true)
    }

    fn made(args: &Args, weights_only: bool) -> Result<Option<Box<dyn Transform>>> {
        let factor = args.positive_or_zero("decay")? as f32;
        Ok((factor > 0.0).then(|| Box::new(Self { factor, weights_only }) as Box<dyn Transform>))
    }
}

impl Transform for Decay {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        if !self.weights_only {
            return flat::add_scaled(update, self.factor, at.parameters);
        }
        for (_, range) in at.layout.tensors().filter(|(tensor, _)| tensor.role == Role::Weight) {
            flat::add_scaled(&mut update[range.clone()], self.factor, &at.parameters[range]);
        }
    }
}
