//! What is trained: the [`Workload`] contract, and worlds that need no framework.

mod logistic;
mod polynomial;
mod quadratic;
mod rows;

pub use logistic::{Logistic, SparseRows};
pub use polynomial::Polynomial;
pub use quadratic::{Bowl, Bowls, Quadratic};
pub use rows::{Deal, Rows};

use crate::base::{Layout, Result, Stream, Use};

/// How many rows one local step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// That many rows of this worker.
    Rows(usize),
    /// All rows of this worker.
    Full,
}

/// Everything random about one gradient. Keyed by local *step* and client, so that every method sees the same batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// Whose data: a rank or a federated client's id.
    pub client: u64,
    /// The local step, from 0.
    pub step: u64,
    /// How many rows.
    pub batch: Batch,
}

impl Draw {
    /// The stream for noise inside the workload (dropout, synthetic noise) at this step.
    pub fn noise(&self) -> Stream {
        Stream::new(self.seed, Use::Noise, self.client, self.step)
    }
}

/// Which rows to evaluate on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All training examples of all workers, or the first 10 000 (characters, for text).
    Train,
    /// Held-out rows.
    Test,
}

/// The most training examples an evaluation looks at.
pub const EVALUATED_ROWS: usize = 10_000;

/// What an evaluation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Mean loss in nats per example (per character for text).
    pub loss: f64,
    /// Fraction of right answers, 0..1, where the task has answers.
    pub accuracy: Option<f64>,
    /// How many examples were looked at.
    pub examples: usize,
}

/// Parameters and buffers to begin from.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// `layout.len()` parameters.
    pub parameters: Vec<f32>,
    /// `layout.buffer_len()` buffer entries.
    pub buffers: Vec<f32>,
}

/// One worker's share of a training problem.
///
/// # Contract
/// The same parameters, buffers and draw give the same loss and gradient, bit for bit. Losses are means in nats over
/// the rows looked at; gradients are of that mean, `layout().len()` long, overwritten rather than added to. Buffers
/// (running statistics) come in, and what training changes about them goes out the same way: a workload keeps nothing
/// that matters between calls. Everything random comes from the draw. A loss that is not finite is returned as it is
/// and is the caller's finding.
pub trait Workload: Send {
    /// The model's tensors.
    fn layout(&self) -> &Layout;

    /// Where training begins: a function of the seed alone, the same on every rank.
    fn start(&self, seed: u64) -> Start;

    /// How many training rows this worker holds (its weight in a weighted mean); 1 where rows have no meaning.
    fn rows(&self) -> usize {
        1
    }

    /// Mean loss over the drawn rows, and its gradient.
    fn gradient(&mut self, parameters: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64>;

    /// Loss and accuracy over a whole split, in evaluation mode; `None` where the task has no such split.
    fn evaluate(&mut self, parameters: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>>;
}

/// A training problem before it is dealt to workers.
pub trait Task: Sync {
    /// Its name on the command line.
    fn name(&self) -> &str;

    /// Worker `rank` of `workers`' share. Every rank's layout and start are the same.
    fn workload(&self, rank: usize, workers: usize, seed: u64) -> Result<Box<dyn Workload>>;

    /// Training rows over all workers; 1 where rows have no meaning.
    fn rows(&self) -> usize {
        1
    }

    /// A hash of the data and of what else defines the problem, for checkpoints to compare.
    fn fingerprint(&self) -> u64;
}
