//! Jobs of MPI, started by these tests: every named row gives the bits of threads, words arrive, and whoever does not
//! answer is named.
//!
//! The tests start this very program once per rank, as the ignored test `rank`, which plays the act that an environment
//! variable names.

#![allow(clippy::disallowed_methods)] // A test reads the environment, the clock, and waits.

mod launch;
/// What the shared problems ask of the references.
#[allow(dead_code, clippy::needless_range_loop)] // Formulas, indexed as the references write them.
#[path = "../../../sordino/tests/oracle"]
mod oracle {
    pub mod problem;
}
mod rows;
mod silence;
mod words;
#[allow(dead_code)]
#[path = "../../../sordino/tests/it/worlds.rs"]
mod worlds;

use std::time::Duration;

use launch::{ACT, act};
use sordino_mpi::{MpiPort, abort, join};

/// One rank of a job; without a job there is nothing to do.
#[test]
#[ignore = "a rank of the jobs that the other tests start"]
fn rank() {
    let Some(act) = act() else { return };
    let played = match act.as_str() {
        "rows" => rows::play(),
        "words" => words::play(),
        act => silence::play(act),
    };
    // Whoever ends well has finished its port.
    if let Err(e) = played {
        silence::say(&format!("a rank says: {e}\n"));
        abort(1);
    }
    std::process::exit(0);
}

/// This rank's port, in a job that ought to go well.
fn patient() -> sordino::Result<MpiPort> {
    join(Duration::from_mins(1))
}

/// A panic on one rank ends the job.
fn or_abort(play: impl FnOnce() -> sordino::Result<()>) -> sordino::Result<()> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(play)).unwrap_or_else(|_| abort(101))
}

#[test]
fn a_rank_without_an_act_does_nothing() {
    assert!(std::env::var_os(ACT).is_none());
    assert_eq!(act(), None);
}
