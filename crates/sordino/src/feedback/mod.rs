//! What was not said is remembered.

mod ef21;
mod none;
mod residual;

pub use ef21::Ef21;
pub use none::None;
pub use residual::Residual;

use crate::base::{Former, Layout, Result, State};
use crate::grammar::{self, Element, Entry};

/// Memory of what a compressor left unsaid. Five moments, each optional, in the order of the round.
///
/// # Contract
/// For residuals: given = said + kept. For EF21: the copies at both ends stay equal. Fresh state means nothing is
/// owed. State grows only where a moment needs it.
pub trait Feedback: Send {
    /// Told once, before the first round: how many times its own moves local work takes for what all together move.
    fn pace(&mut self, _ahead: f64) {}

    /// Share: a vector that all ranks are to average densely before round `round` (from 0), in place; none for most
    /// rounds.
    fn share(&mut self, _round: u64) -> Option<&mut Vec<f32>> {
        Option::None
    }

    /// Look ahead: moves the point where the next gradients are taken.
    fn look_ahead(&self, _start: &mut [f32]) {}

    /// Compensate: turns an offer into what is given to the exchange.
    fn compensate(&mut self, _offer: &mut [f32]) {}

    /// Settle: what was given, and what of it was understood to have been said.
    fn settle(&mut self, _given: &[f32], _said: &[f32]) {}

    /// Restore: turns what was agreed on into what it stands for. `share` is the fraction of workers that spoke.
    fn restore(&mut self, _agreed: &mut [f32], _share: f32) {}

    /// Whether it does nothing at any moment, and so needs neither what was given nor what was said.
    fn forgets(&self) -> bool {
        false
    }

    /// What belongs to a client and not to everybody: checked out before its round and put back after it. Empty
    /// vectors are fresh.
    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        Vec::new()
    }

    /// What is owed, for those who evaluate at x minus the mean of it.
    fn owed(&self) -> Option<&[f32]> {
        Option::None
    }

    /// Whether evaluation is at x minus the mean of what is owed.
    fn evaluates_ahead(&self) -> bool {
        false
    }

    /// Whether `look_ahead` moves anything: refused over gradient offers.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// ‖what is remembered‖₂, for the record.
    fn norm(&self) -> Option<f64> {
        self.owed().map(crate::base::flat::norm)
    }

    /// Puts what is remembered into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// What every rank of a run with another number of ranks takes back, so that the model is owed what it was owed: the
    /// mean of what belonged to a rank, `former.crowd()` times where words are added up. Here: what is the same on all.
    fn deal(&self, former: &Former) -> Result<State> {
        former.same_but(&[])
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Feedback>>] = &[&ef21::ENTRY, &none::ENTRY, &residual::ENTRY];

/// Builds the feedback that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Feedback>> {
    grammar::build("feedback", ENTRIES, element)
}

/// Loads a vector that is empty until first used.
fn load_lazy(state: &State, name: &str, vector: &mut Vec<f32>, layout: &Layout) -> Result<()> {
    vector.clear();
    if state.vectors.contains_key(name) {
        vector.resize(layout.len(), 0.0);
        state.take(name, vector)?;
    }
    Ok(())
}
