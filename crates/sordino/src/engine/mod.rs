//! The round, who carries it out, and the handle that callers hold.

mod ahead;
mod beside;
mod caller;
mod errand;
mod evaluate;
mod fragments;
mod guard;
mod hosts;
mod memory;
mod pipeline;
mod premises;
mod round;
mod seats;
mod server;
mod serving;
mod session;
mod store;
mod told;
mod voice;
mod worker;

pub use beside::Lanes;
pub use caller::Pace;
pub use errand::{Note, Word};
pub use evaluate::Gap;
pub use pipeline::{Seat, weigh};
pub use premises::fingerprint;
pub use seats::epoch_of;
pub use server::{Heard, Server, Update};
pub use serving::Serving;
pub use session::{Parts, Session};
pub use store::{Memory, Store};
pub use told::{Times, Told};
pub use worker::Worker;
