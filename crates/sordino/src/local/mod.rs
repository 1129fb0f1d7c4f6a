//! How a worker spends its silent steps.

mod descent;

pub use descent::Descent;

use crate::base::{Error, Layout, Result};
use crate::grammar::{Args, Entry, Key, Value};
use crate::optim::Optimizer;
use crate::workload::{Batch, Workload};

/// Where a worker works: its problem, its optimizer, and who it is.
pub struct Ground<'a> {
    /// The problem.
    pub workload: &'a mut dyn Workload,
    /// The base optimizer; it steps here unless raw gradients are offered.
    pub optimizer: &'a mut Optimizer,
    /// The run's seed.
    pub seed: u64,
    /// Whose data: a rank or a federated client's id.
    pub client: u64,
    /// The first step of this round, from 0.
    pub step: u64,
    /// The tensors.
    pub layout: &'a Layout,
}

/// What a worker found while it was silent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Mean mini-batch loss over the steps.
    pub loss: f64,
    /// How many steps were shortened by clipping.
    pub clipped: u64,
}

/// Spends silent steps.
///
/// # Contract
/// Spends exactly the steps it was given, from `point`, which it moves; overwrites `offer` with the displacement it
/// *accumulated* (what was subtracted from `point`, summed in the same order), or with the raw gradient where that is
/// what is offered. Never speaks.
pub trait Local: Send {
    /// Spends `steps` steps.
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        buffers: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent>;
}

/// What a meeting does to optimizer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Everybody keeps their own. The neutral element.
    Keep,
    /// Moments are forgotten.
    Reset,
    /// Moments are averaged densely, as the aside `moments`.
    Average,
}

/// The axis `local`, as settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rows per worker and step.
    pub batch: Batch,
    /// What a meeting does to optimizer state.
    pub state: Meeting,
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Settings>] = &[&Entry {
    name: "descent",
    about: "steps of the base optimizer on mini-batches",
    keys: &[
        Key { name: "batch", default: "auto", about: "rows per worker and step, or full; auto takes the task's" },
        Key {
            name: "state",
            default: "keep",
            about: "what a meeting does to optimizer state: keep, reset, average; auto: reset for SGD, keep for Adam",
        },
    ],
    build: |args| {
        let state = [Meeting::Keep, Meeting::Reset, Meeting::Average];
        Ok(Settings { batch: batch(args)?, state: state[args.choice("state", &["keep", "reset", "average"])?] })
    },
}];

/// The most rows of a mini-batch.
const MOST_ROWS: u64 = 1_000_000;

fn batch(args: &Args) -> Result<Batch> {
    if let Ok(Value::Element(_)) = args.element("batch").map(|e| Value::Element(e.clone())) {
        args.choice("batch", &["full"])?;
        return Ok(Batch::Full);
    }
    let rows = args.count("batch", 1)?;
    if rows > MOST_ROWS {
        return Err(Error::request(format!(
            "`batch` of `descent` is at most {MOST_ROWS} rows, {rows} came; `full` takes all rows of a worker"
        )));
    }
    Ok(Batch::Rows(rows as usize))
}

/// Builds the settings that an element names.
pub fn build(element: &crate::grammar::Element) -> Result<Settings> {
    crate::grammar::build("local", ENTRIES, element)
}
