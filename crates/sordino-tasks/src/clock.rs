//! Real time: the only place where this program reads clocks.

use std::sync::Arc;
use std::time::Instant;

use cpu_time::ThreadTime;
use sordino::fabric::Clock;

/// Seconds since the program asked for the clock, and processor time of the calling thread.
struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn cpu(&self) -> f64 {
        ThreadTime::try_now().map_or(0.0, |t| t.as_duration().as_secs_f64())
    }
}

/// The real clock.
#[allow(clippy::disallowed_methods)] // This is where time enters as an argument.
pub fn real() -> Arc<dyn Clock> {
    Arc::new(Real(Instant::now()))
}
