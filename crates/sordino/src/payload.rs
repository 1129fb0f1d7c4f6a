//! What is offered at a meeting, and in which unit.

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// What a worker offers.
///
/// # Contract
/// Alone and lossless it changes nothing: agreeing on parameters or on displacements gives the same model to rounding.
/// In parameter units (parameters, displacement) the rate is inside, and so it is in any residual; in gradient units
/// the whole optimizer runs after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The worker's parameters; what is agreed *is* the model.
    Parameters,
    /// What the worker's steps added up to; what is agreed is subtracted from the model. The neutral element.
    Displacement,
    /// A raw gradient; what is agreed goes through the optimizer.
    Gradient,
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Payload>] = &[
    &Entry {
        name: "displacement",
        about: "what the local steps added up to, in parameter units",
        keys: &[],
        build: |_| Ok(Payload::Displacement),
    },
    &Entry {
        name: "gradient",
        about: "the raw gradient; the optimizer runs after the exchange, once on every rank",
        keys: &[],
        build: |_| Ok(Payload::Gradient),
    },
    &Entry {
        name: "parameters",
        about: "the parameters themselves, averaged",
        keys: &[],
        build: |_| Ok(Payload::Parameters),
    },
];

/// Builds the payload that an element names.
pub fn build(element: &Element) -> Result<Payload> {
    grammar::build("payload", ENTRIES, element)
}
