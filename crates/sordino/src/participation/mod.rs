//! Who is asked in a round, and when enough have come.

mod everyone;
mod poisson;
mod sampled;

pub use everyone::Everyone;
pub use poisson::Poisson;
pub use sampled::Sampled;

use crate::base::Result;
use crate::grammar::{self, Element, Entry};

/// Decides who takes part.
///
/// # Contract
/// From seed and round alone, and on a virtual clock from when reports would be in, so that every rank gets the same
/// answer. Clients are numbered from 0; each is asked at most once a round.
pub trait Participation: Send {
    /// Overwrites `asked` with the clients of round `round`, ascending.
    fn asked(&self, seed: u64, round: u64, workers: usize, asked: &mut Vec<u64>);

    /// How many clients there are when `workers` ranks run.
    fn clients(&self, workers: usize) -> usize {
        workers
    }

    /// How many speak in a round, on average over rounds.
    fn expected(&self, workers: usize) -> f64 {
        workers as f64
    }

    /// Whether voices are clients, played by ranks, and not the ranks themselves.
    fn federated(&self) -> bool {
        false
    }

    /// The probability with which each client is asked, where each is drawn by itself: what privacy accounting assumes.
    fn poisson(&self, _workers: usize) -> Option<f64> {
        None
    }

    /// Whether who is late matters, so that a virtual clock must say when reports would be in.
    fn hurries(&self) -> bool {
        false
    }

    /// Of clients with the seconds after which their reports would be in (infinite: never), those that are waited for,
    /// ascending, and how long that takes. Without a hurry: everybody that ever reports.
    fn taken(&self, reports: &[(u64, f64)]) -> (Vec<u64>, f64) {
        let come = reports.iter().filter(|(_, seconds)| seconds.is_finite());
        let last = come.clone().fold(0.0, |last: f64, (_, seconds)| last.max(*seconds));
        (come.map(|(client, _)| *client).collect(), last)
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Participation>>] = &[&everyone::ENTRY, &poisson::ENTRY, &sampled::ENTRY];

/// Builds the participation that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Participation>> {
    grammar::build("participation", ENTRIES, element)
}
