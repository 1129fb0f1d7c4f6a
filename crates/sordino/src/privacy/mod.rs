//! Differential privacy: what noise hides one contribution, and what has been spent so far.
//!
//! Whoever adds noise says so in an [`Event`]; an [`Accountant`] composes events and answers in (ε, δ). [`noise_for`]
//! and [`steps_for`] turn the question round: the noise that a budget asks for, the steps that it allows. [`Noise`] is
//! where the random numbers come from, apart from every stream that training uses.
//!
//! Two datasets are neighbours if one holds one *unit* more, and sensitivity is what a unit can move the noisy sum by:
//! `C` if its contribution is clipped to norm `C`. What a unit is - an example, a client with everything it holds - is
//! for the caller to say, and the guarantee is about that unit and no other. If neighbours *replace* a unit instead,
//! sensitivity is `2C`, and only the rate 1 is covered.

mod accountant;
mod budget;
mod gaussian;
mod noise;
mod none;

pub use accountant::{Accountant, Event};
pub use budget::{noise_for, steps_for};
pub use gaussian::{Gaussian, Unit};
pub use noise::Noise;

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// Whose message is hidden, and among how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voiced {
    /// The rank or the client that speaks.
    pub client: u64,
    /// The round, from 0.
    pub round: u64,
    /// How many speak in this round, at least 1.
    pub voices: usize,
    /// Rows that the message is divided by: the expected size of a batch.
    pub lot: f64,
}

/// Hides one contribution.
///
/// # Contract
/// `bound` leaves nothing longer than what `hide` hides; each round is exactly one event. Noise is drawn once per client
/// and round, so each is hidden at most once.
pub trait Mechanism: Send {
    /// Bounds what a voice gives; whether it was shortened.
    fn bound(&self, given: &mut [f32]) -> bool;

    /// Adds the noise.
    fn hide(&self, voiced: &Voiced, given: &mut [f32]) -> Result<()>;

    /// What a round spends, where a unit is drawn at this rate.
    fn event(&self, rate: f64) -> Event;

    /// What is hidden.
    fn unit(&self) -> Unit;

    /// Whether feedback takes the bounded vector before noise for what was said.
    fn remembers_clean(&self) -> bool;

    /// The delta that epsilon is told for.
    fn delta(&self) -> f64;

    /// The epsilon at which the run ends.
    fn budget(&self) -> Option<f64>;

    /// Whether only the sum of messages is private.
    fn trusts_server(&self) -> bool;

    /// Takes entropy, unless a seed was chosen.
    fn key(&mut self, key: [u8; 32]);
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Option<Box<dyn Mechanism>>>] = &[&gaussian::ENTRY, &none::ENTRY];

/// Builds the mechanism that an element names, if it is one.
pub fn build(element: &Element) -> Result<Option<Box<dyn Mechanism>>> {
    grammar::build("privacy", ENTRIES, element)
}
