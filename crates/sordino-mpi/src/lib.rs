//! Sordino over MPI: ranks are the processes of one job, started by `mpirun` or `srun`.
//!
//! [`join`] makes this process a rank and gives its [`MpiPort`], a [`sordino::fabric::Port`] like that of threads: the
//! same recipe gives the same bits on both. What MPI adds is `exchange=reduce(engine)`, its own all-reduce.
//!
//! ```no_run
//! use std::time::Duration;
//! use sordino::base::Purpose;
//! use sordino::fabric::{Port, Tag};
//!
//! let mut port = sordino_mpi::join(Duration::from_secs(60))?;
//! let (next, before) = ((port.rank() + 1) % port.size(), (port.rank() + port.size() - 1) % port.size());
//! let (tag, mut heard) = (Tag::across(Purpose::Control), Vec::new());
//! if let Err(e) = port.send(next, &tag, b"hello").and_then(|()| port.receive(before, &tag, &mut heard)) {
//!     eprintln!("rank {}: {e}", port.rank());
//!     port.abort(1);
//! }
//! port.finish()?;
//! # Ok::<(), sordino::Error>(())
//! ```
//!
//! # Who is to blame
//! Nothing here waits without a deadline. A rank that waits asks all others, from half its patience on, whether they are
//! there and whom they wait for; whoever is at the end of that chain and does not answer is given up, by all ranks and
//! by name. A rank answers whenever it is inside a call of its port, so one that has not answered for that long is
//! stopped, or at a local step longer than the patience.

#![deny(unsafe_code)]
// A fabric is above the wall: it waits, and so it reads the clock and sleeps.
#![allow(clippy::disallowed_methods)]

mod port;
mod rank;
#[allow(unsafe_code)]
mod raw;
mod watch;

pub use port::{MpiPort, join};
pub use raw::abort;
