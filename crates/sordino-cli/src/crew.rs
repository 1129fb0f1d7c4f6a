//! Who trains: threads of this process, or the processes that a launcher started.
//!
//! Process 0 reads the command line, plans, prints and keeps the record; the others take every plan from it, and say
//! nothing unless something goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use sordino::exchange::decree;
use sordino::fabric::{Parting, Port, Shared};
use sordino::{Error, Result};
use sordino_lab::experiment::{self, Ended, Observer, Plan};
use sordino_tasks::plans::{self, Planned};
use sordino_tasks::{Wish, clock};

use crate::launch::Launched;
use crate::progress::Quiet;

/// Seconds that a rank waits for a word before it gives up whoever does not answer.
pub const TIMEOUT: f64 = 600.0;

/// Who trains.
pub enum Crew {
    /// Threads of this process.
    Threads,
    /// This process and others: the port to all of them, and the launcher's own handle of it.
    Processes(Shared, Handle),
}

#[cfg(feature = "mpi")]
type Handle = sordino_mpi::MpiPort;
/// Without MPI there is none.
#[cfg(not(feature = "mpi"))]
pub struct Handle;

/// What process 0 tells the others to do.
#[derive(Serialize, Deserialize)]
struct Order {
    plan: String,
    out: Option<PathBuf>,
    resume: bool,
    replay: Option<Vec<usize>>,
}

impl Crew {
    /// Finds the other processes, if a launcher started any.
    pub fn gather(launched: Option<Launched>, timeout: f64) -> anyhow::Result<Self> {
        if !(timeout > 0.0 && timeout <= 1e6) {
            bail!("--timeout is a number of seconds above 0 and at most a million, {timeout} came");
        }
        match launched {
            None => Ok(Self::Threads),
            Some(launched) => {
                let (port, handle) = join(launched, Duration::from_secs_f64(timeout))?;
                Ok(Self::Processes(port, handle))
            }
        }
    }

    /// How many processes there are, where a launcher started them.
    pub fn processes(&self) -> Option<usize> {
        match self {
            Self::Threads => None,
            Self::Processes(port, _) => Some(port.size()),
        }
    }

    /// A wish for as many ranks as there are processes.
    pub fn wish(&self, wish: Wish) -> Wish {
        Wish { ranks: self.processes(), ..wish }
    }

    /// Whether this process takes its plans from another.
    pub fn follows(&self) -> bool {
        matches!(self, Self::Processes(port, _) if port.rank() > 0)
    }

    /// Trains a plan with everybody.
    pub fn train(&self, planned: &Planned, observer: &dyn Observer) -> Result<Ended> {
        let (task, plan) = (&*planned.made.task, &planned.plan);
        let Self::Processes(port, _) = self else { return experiment::run(task, plan, &clock::real(), observer) };
        // What no process could do is refused before any of them begins.
        plan.over(port.size())?;
        let order = Order {
            plan: plan.to_toml(),
            out: plan.out.as_ref().map(|out| std::path::absolute(out).unwrap_or_else(|_| out.clone())),
            resume: plan.resume,
            replay: plan.replay.clone(),
        };
        let words = serde_json::to_vec(&order).map_err(|e| Error::data(format!("a plan cannot be told: {e}")))?;
        decree(&mut port.clone(), &words)?;
        let ended = experiment::take_part(task, plan, port.clone(), &clock::real(), observer)?;
        ended.ok_or_else(|| Error::request("process 0 has no record of the run; this is a defect"))
    }

    /// Takes part in every plan of process 0, until it has no more.
    pub fn follow(&self) -> anyhow::Result<()> {
        let Self::Processes(port, _) = self else { return Ok(()) };
        loop {
            let words = decree(&mut port.clone(), &[])?;
            if words.is_empty() {
                return Ok(());
            }
            let taken = planned(&words).map_err(|e| {
                let e = e.context(format!("rank {}", port.rank()));
                // The others are about to begin: they hear why this one does not.
                Parting::new(port.clone()).leave(&Error::request(format!("{e:#}")));
                e
            })?;
            let ended = experiment::take_part(&*taken.made.task, &taken.plan, port.clone(), &clock::real(), &Quiet);
            ended.map_err(|e| anyhow!(e).context(format!("rank {}", port.rank())))?;
        }
    }

    /// Says to the others that there is no more to do.
    pub fn dismiss(&self) -> anyhow::Result<()> {
        match self {
            Self::Processes(port, _) if port.rank() == 0 => Ok(decree(&mut port.clone(), &[]).map(drop)?),
            _ => Ok(()),
        }
    }
}

/// The plan that process 0 has told.
fn planned(words: &[u8]) -> anyhow::Result<Planned> {
    let order: Order = serde_json::from_slice(words).context("the plan of process 0 cannot be read")?;
    let plan = Plan::from_toml(&order.plan)?;
    plans::remade(Plan { out: order.out, resume: order.resume, replay: order.replay, ..plan })
}

#[cfg(feature = "mpi")]
fn join(launched: Launched, patience: Duration) -> anyhow::Result<(Shared, Handle)> {
    let port = sordino_mpi::join(patience)?;
    if port.size() != launched.size {
        let (by, size, found) = (launched.by, launched.size, port.size());
        bail!(
            "{by} started {size} processes, but the MPI that this program was built with finds {found}: it is another \
             implementation's launcher; build again with the mpicc of that one first on the path, or name it in MPICC"
        );
    }
    Ok((Shared::new(Box::new(port.clone())), port))
}

#[cfg(not(feature = "mpi"))]
fn join(launched: Launched, _: Duration) -> anyhow::Result<(Shared, Handle)> {
    let Launched { size, by, .. } = launched;
    bail!(
        "{by} started {size} processes, but this program was built without MPI, so each would train alone; install an MPI \
         (on Debian: apt-get install libopenmpi-dev openmpi-bin libclang-dev) and build with `--features mpi`, such as \
         `cargo install --path crates/sordino-cli --features mpi`"
    )
}

/// Ends this process, and where there are others all of them, with a status.
pub fn abort(crew: &Crew, status: i32) -> ! {
    #[cfg(feature = "mpi")]
    if let Crew::Processes(_, port) = crew {
        port.clone().abort(status);
    }
    let _ = crew;
    std::process::exit(status)
}
