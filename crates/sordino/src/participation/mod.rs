//! Who is asked in a round, and when enough have come.

mod buffered;
mod everyone;
mod first_b;
mod poisson;
mod sampled;

pub use buffered::Buffered;
pub use everyone::Everyone;
pub use first_b::FirstB;
pub use poisson::Poisson;
pub use sampled::Sampled;

use crate::base::{Error, Result};
use crate::grammar::{self, Element, Entry};

/// How a server serves whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Words of an update.
    pub count: usize,
    /// Whether who has spoken waits for the update, so that an update has one word a worker.
    pub waits: bool,
    /// Federated clients that workers play; 0 where they speak for themselves.
    pub clients: usize,
}

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

    /// How workers come, each at its own pace, where there are no rounds of everybody: the server is then a rank of its
    /// own, the last one.
    fn served(&self) -> Option<Served> {
        None
    }

    /// Refuses a number of workers that cannot be.
    fn fits(&self, _workers: usize) -> Result<()> {
        Ok(())
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
pub const ENTRIES: &[&Entry<Box<dyn Participation>>] =
    &[&buffered::ENTRY, &everyone::ENTRY, &first_b::ENTRY, &poisson::ENTRY, &sampled::ENTRY];

/// Every rank remembers how many rows each client holds.
const MOST_CLIENTS: usize = 10_000_000;

/// Builds the participation that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Participation>> {
    let participation = grammar::build("participation", ENTRIES, element)?;
    match participation.clients(1) {
        clients if clients > MOST_CLIENTS => Err(Error::request(format!(
            "`participation.clients` is {clients}, but there is room for {MOST_CLIENTS} at most; lower it"
        ))),
        _ => Ok(participation),
    }
}
