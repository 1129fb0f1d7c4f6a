//! Slowed: a clock that makes some workers wait after they have worked, as if their machines were slower.
//!
//! # What it does
//! Once a slow client's steps are spent it sleeps for what they took, as many times more as its factor asks for.
//!
//! # The step
//! ```text
//! worked in s seconds:   sleep (factor − 1)·s          for the `slow` clients with the highest ids; nobody else
//! ```
//! # Contract
//! Time is that of the clock beneath, which hears of the work too; on one that stands still nobody sleeps. The sleep is
//! over before the work is counted, so it is part of what computing took, and no processor time. Who is slow is who
//! would be in a simulated world of the same `slow` and `factor`. No number of the run depends on it but where the order
//! of arrivals does, which is recorded.
//!
//! # When it helps, when it hurts
//! Stragglers in real seconds on one machine, for whom a simulated world has assumptions. Whoever sleeps leaves its core
//! to others, which a slow machine does not: where there are fewer cores than workers the others gain.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sordino::fabric::{Clock, Slow, Trip};

/// A clock by which some clients are slow.
struct Slowed<S> {
    inner: Arc<dyn Clock>,
    slow: Slow,
    /// How many there are.
    clients: u64,
    /// Sleeps for so many seconds.
    sleep: S,
}

/// The clock by which `slow` of so many clients are really slow: the one that is given, where nobody is.
pub fn slowed(clock: &Arc<dyn Clock>, slow: Slow, clients: usize) -> Arc<dyn Clock> {
    if slow.count == 0 {
        return Arc::clone(clock);
    }
    Arc::new(Slowed { inner: Arc::clone(clock), slow, clients: clients as u64, sleep })
}

#[allow(clippy::disallowed_methods, reason = "a thread that is to be slow waits; what it computes does not change")]
fn sleep(seconds: f64) {
    if let Ok(time) = Duration::try_from_secs_f64(seconds) {
        std::thread::sleep(time);
    }
}

impl<S: Fn(f64) + Send + Sync> Slowed<S> {
    fn dawdle(&self, client: u64, seconds: f64) {
        let more = self.slow.times(client, self.clients) - 1.0;
        if more > 0.0 && seconds > 0.0 {
            (self.sleep)(more * seconds);
        }
    }
}

impl<S: Fn(f64) + Send + Sync> Clock for Slowed<S> {
    fn now(&self) -> f64 {
        self.inner.now()
    }

    fn cpu(&self) -> f64 {
        self.inner.cpu()
    }

    fn worked(&self, client: u64, round: u64, steps: Range<u64>, seconds: f64) {
        self.inner.worked(client, round, steps, seconds);
        self.dawdle(client, seconds);
    }

    fn laboured(&self, worker: u64, step: u64, fraction: f64, seconds: f64) {
        self.inner.laboured(worker, step, fraction, seconds);
        self.dawdle(worker, seconds);
    }

    fn reports(&self, round: u64, asked: &[Trip]) -> Option<Vec<f64>> {
        self.inner.reports(round, asked)
    }

    fn advance(&self, seconds: f64) {
        self.inner.advance(seconds);
    }
}

#[cfg(test)]
mod tests;
