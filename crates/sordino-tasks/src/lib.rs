//! The tasks that come with Sordino, and plans of runs on them: where the laboratory's data and the networks meet, once
//! for every face.

#![forbid(unsafe_code)]

pub mod clock;
pub mod plans;
pub mod tasks;

pub use plans::{Planned, Wish, plan};
pub use tasks::{ENTRIES, Entry, Made, entry};
