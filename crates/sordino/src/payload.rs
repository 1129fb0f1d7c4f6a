//! What is offered at a meeting, and in which unit.

use crate::base::{Error, Result};
use crate::grammar::{self, Element, Entry, Key};

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

/// The most fragments.
const MOST: u64 = 4096;

/// What a worker offers, and of how much of the model at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// In which unit.
    pub payload: Payload,
    /// Parts of the model that take turns, one a round: P of them make every meeting a P'th as large. What the others'
    /// entries have moved by stays unsaid, with the feedback, which keeps the worker where it has come to if it looks ahead
    /// of all of it: the fragments of Streaming `DiLoCo` (2501.18512).
    pub fragments: usize,
}

const fn whole(payload: Payload) -> Offer {
    Offer { payload, fragments: 1 }
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Offer>] = &[
    &Entry {
        name: "displacement",
        about: "what the local steps added up to, in parameter units",
        keys: &[Key {
            name: "fragments",
            default: "1",
            about: "parts of the model that take turns, one a round; others' moves stay with feedback=residual(lambda=1)",
        }],
        build: |args| match args.count("fragments", 1)? {
            fragments @ ..=MOST => Ok(Offer { payload: Payload::Displacement, fragments: fragments as usize }),
            more => Err(Error::request(format!("`fragments` of `displacement` is at most {MOST}, {more} came"))),
        },
    },
    &Entry {
        name: "gradient",
        about: "the raw gradient; the optimizer runs after the exchange, once on every rank",
        keys: &[],
        build: |_| Ok(whole(Payload::Gradient)),
    },
    &Entry {
        name: "parameters",
        about: "the parameters themselves, averaged",
        keys: &[],
        build: |_| Ok(whole(Payload::Parameters)),
    },
];

/// Builds the payload that an element names.
pub fn build(element: &Element) -> Result<Payload> {
    offer(element).map(|offer| offer.payload)
}

/// Builds the offer that an element names.
pub fn offer(element: &Element) -> Result<Offer> {
    grammar::build("payload", ENTRIES, element)
}
