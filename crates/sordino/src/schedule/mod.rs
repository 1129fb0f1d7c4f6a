//! When to speak: how many local steps of silence until the next meeting.

mod constant;
mod epochs;
mod growing;
mod post_local;
mod power;

pub use constant::Constant;
pub use epochs::Epochs;
pub use growing::Growing;
pub use post_local::PostLocal;
pub use power::Power;

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// What every rank knows alike when a round begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// The round, from 0.
    pub round: u64,
    /// The round's first step, from 0.
    pub step: u64,
    /// The rate of that step, unscaled by clipping.
    pub rate: f64,
    /// The rate at the previous round's first step; none in the first round.
    pub previous_rate: Option<f64>,
    /// The run's number of steps, where known.
    pub steps: Option<u64>,
    /// Whether warm-up is known to last at this step.
    pub warming: bool,
    /// Local steps of one pass over the rows of a client, on average over clients.
    pub epoch: f64,
}

/// Decides how many steps of silence come next.
///
/// # Contract
/// From shared facts alone, so that every rank gets the same answer; at least 1. The caller clamps the answer to the
/// steps that are left, so the last round ends at the last step.
pub trait Schedule: Send {
    /// How many local steps until the next meeting.
    fn silence(&self, facts: &Facts) -> u64;

    /// How many local steps a client makes instead, where that is its own affair: `pass` steps pass once over its rows.
    fn own(&self, _pass: u64) -> Option<u64> {
        None
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Schedule>>] =
    &[&constant::ENTRY, &epochs::ENTRY, &growing::ENTRY, &post_local::ENTRY, &power::ENTRY, &power::QSR];

/// Builds the schedule that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Schedule>> {
    grammar::build("schedule", ENTRIES, element)
}

/// The answer of `schedule`, at least 1 and clamped to the steps that are left.
pub fn clamped(schedule: &dyn Schedule, facts: &Facts) -> u64 {
    let left = facts.steps.map_or(u64::MAX, |s| s.saturating_sub(facts.step));
    schedule.silence(facts).min(left).max(1)
}
