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
mod noise;

pub use accountant::{Accountant, Event};
pub use budget::{noise_for, steps_for};
pub use noise::Noise;
