//! The round, who carries it out, and the handle that callers hold.

mod premises;
mod round;
mod session;
mod worker;

pub use premises::fingerprint;
pub use session::{Parts, Session};
pub use worker::{Times, Told, Worker};
