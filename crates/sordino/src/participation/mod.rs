//! Who is asked in a round, and when enough have come.

mod everyone;

pub use everyone::Everyone;

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// Decides who takes part.
///
/// # Contract
/// From seed and round alone, so that every rank gets the same answer.
pub trait Participation: Send {
    /// Overwrites `asked` with the workers of round `round`, ascending.
    fn asked(&self, seed: u64, round: u64, workers: usize, asked: &mut Vec<usize>);
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Participation>>] = &[&everyone::ENTRY];

/// Builds the participation that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Participation>> {
    grammar::build("participation", ENTRIES, element)
}
