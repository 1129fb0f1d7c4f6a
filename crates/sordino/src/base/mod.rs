//! What everything stands on: flat vectors, keyed randomness, messages, the ledger, the error. Kernels for the widest vectors. A closed list of six.

pub mod error;
pub mod flat;
pub mod ledger;
pub mod rng;
pub mod simd;
pub mod wire;

pub use error::{Error, Kind, Result};
pub use flat::{Aside, Former, Layout, Role, State, Tensor};
pub use ledger::{Ledger, Link, Party, Purpose};
pub use rng::{Cursor, Stream, Use};
pub use wire::{Reader, Slot, Writer};
