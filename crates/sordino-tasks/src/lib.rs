//! The tasks that come with Sordino, and plans of runs on them: where the laboratory's data and the networks meet, once
//! for every face.

#![forbid(unsafe_code)]

pub mod clock;
mod explain;
pub mod plans;
mod sends;
pub mod tasks;

pub use explain::{axis, explain};
pub use plans::{Planned, Wish, plan};
pub use sends::sends;
pub use tasks::{ENTRIES, Entry, Made, entry};
