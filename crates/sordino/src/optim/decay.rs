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
//! Before momentum or Adam it is L2 regularisation; after Adam it is decoupled (`AdamW`). Parameters only, all of them.
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
use crate::base::{Result, flat};
use crate::grammar::Args;

/// Weight decay.
#[derive(Clone, Debug)]
pub struct Decay(f32);

impl Decay {
    /// The link that `decay` of an optimizer asks for, or none.
    pub fn link(args: &Args) -> Result<Option<Box<dyn Transform>>> {
        let decay = args.positive_or_zero("decay")?;
        Ok((decay > 0.0).then(|| Box::new(Self(decay as f32)) as Box<dyn Transform>))
    }
}

impl Transform for Decay {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        flat::add_scaled(update, self.0, at.parameters);
    }
}
