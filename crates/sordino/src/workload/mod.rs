//! What is trained: the [`Workload`] contract, and worlds that need no framework.

mod chain;
mod logistic;
mod polynomial;
mod quadratic;
mod ridge;
mod rows;
mod sparse;
mod stage;
mod valley;

pub use chain::Chain;
pub use logistic::Logistic;
pub use polynomial::Polynomial;
pub use quadratic::{Bowl, Bowls, Quadratic};
pub use ridge::Ridge;
pub use rows::{Deal, Rows};
pub use sparse::{Example, Made, SparseRows};
pub use stage::{Back, Flow, Piece, Stage};
pub use valley::Valley;

use std::ops::Range;

use crate::base::{Aside, Error, Former, Layout, Result, State, Stream, Use};

/// How many rows one local step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// That many rows of this worker.
    Rows(usize),
    /// All rows of this worker.
    Full,
    /// Every row by itself with the probability that makes this the expected number: what privacy accounting assumes.
    /// Nothing, or everything, may come.
    Poisson(usize),
    /// One row of this worker: the one at this place of a full batch, from 0. What tells rows apart asks for it.
    Row(usize),
}

impl Batch {
    /// How many rows it has, on average; `None` for all.
    pub fn rows(self) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Rows(rows) | Self::Poisson(rows) => Some(rows),
            Self::Row(_) => Some(1),
        }
    }
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
    /// The stream for noise inside the workload (dropout, synthetic noise) at this step. A row that is asked for by
    /// itself has its own.
    pub fn noise(&self) -> Stream {
        let noise = Stream::new(self.seed, Use::Noise, self.client, self.step);
        match self.batch {
            Batch::Row(row) => noise.part(row as u64),
            _ => noise,
        }
    }
}

/// Which rows to evaluate on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All training examples of all workers, or the first 10 000 (characters, for text; where a text has clients of its
    /// own, 10 000 evenly from all of it).
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

/// What a workload tells about each part of a batch: the part's gradient, its rows and its mean loss.
pub type Part<'a> = dyn FnMut(&[f32], usize, f64) -> Result<()> + 'a;

/// A training problem with everybody's rows: a draw says whose are looked at.
///
/// # Contract
/// The same parameters, buffers and draw give the same loss and gradient, bit for bit. Losses are means in nats over
/// the rows looked at; gradients are of that mean, `layout().len()` long, overwritten rather than added to; a draw
/// without rows has loss 0 and gradient 0. Buffers
/// (running statistics) come in, and what training changes about them goes out the same way: a workload keeps nothing
/// that matters between calls, except for an estimate that says so in its file: what it remembers is saved and taken
/// back with everything else of a session. Everything random comes from the draw. A loss that is not finite is returned
/// as it is and is the caller's finding.
pub trait Workload: Send {
    /// The model's tensors.
    fn layout(&self) -> &Layout;

    /// Where training begins: a function of the seed alone, the same on every rank.
    fn start(&self, seed: u64) -> Start;

    /// How many training rows a client holds (its weight in a weighted mean); 1 where rows have no meaning.
    fn rows(&self, _client: u64) -> usize {
        1
    }

    /// Mean loss over the drawn rows, and its gradient.
    fn gradient(&mut self, parameters: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64>;

    /// Mean loss over the drawn rows alone, in training mode: what `gradient` tells, to rounding. Buffers stay.
    fn loss(&mut self, parameters: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        let (mut buffers, mut gradient) = (buffers.to_vec(), vec![0.0; parameters.len()]);
        self.gradient(parameters, &mut buffers, draw, &mut gradient)
    }

    /// The gradients of parts of the drawn rows, of at most `most` rows each, told one after another in the order of
    /// the rows; `gradient` is room for one. Where rows have no meaning the whole is one part of one row. A workload
    /// that holds rows and cannot part them says so in an error.
    fn parts(
        &mut self,
        parameters: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        _most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        if self.rows(draw.client) > 1 {
            return Err(Error::request(
                "this problem tells the gradient of a batch but of no part of it, and `local.estimate` asks for parts; \
                 use local.estimate=plain",
            ));
        }
        let loss = self.gradient(parameters, buffers, draw, gradient)?;
        each(gradient, 1, loss)
    }

    /// What the last gradient came with, to travel beside the update: named short lists, always the same ones.
    fn asides(&self) -> &[Aside] {
        &[]
    }

    /// A network as layers that follow one another, between any two of which it can be cut: for each, the positions in
    /// the layout of the parameter tensors it uses. A tensor may be used by several. Empty where there is no cutting.
    fn layers(&self) -> Vec<Vec<usize>> {
        Vec::new()
    }

    /// The layers of a range, to be run by themselves.
    fn stage(&self, _layers: Range<usize>) -> Result<Box<dyn Stage>> {
        Err(Error::request(
            "this problem is not a network of layers, so it cannot be cut into blocks; set placement=replicate",
        ))
    }

    /// How many rows had their gradients shortened by clipping since the last call.
    fn clipped_rows(&mut self) -> u64 {
        0
    }

    /// Puts what is remembered between calls into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }

    /// What a rank of a run with another number of ranks takes back: nothing, where nothing is remembered. What is
    /// remembered is of the rows that a rank held, and others hold them now.
    fn deal(&self, former: &Former) -> Result<State> {
        undealt(former, "this problem remembers something of every worker's rows")
    }

    /// Loss and accuracy over a client's own training rows, in evaluation mode; `None` where rows have no meaning.
    fn evaluate_client(&mut self, _parameters: &[f32], _buffers: &[f32], _client: u64) -> Result<Option<Metrics>> {
        Ok(None)
    }

    /// The problem's dual, where it is a linear model whose dual can be ascended one row at a time.
    fn duals(&mut self) -> Option<&mut dyn Duals> {
        None
    }

    /// Loss and accuracy over a whole split, in evaluation mode; `None` where the task has no such split.
    fn evaluate(&mut self, parameters: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>>;
}

/// A linear model seen from its dual: one variable β a row.
///
/// ```text
/// P(w) = (1/n) Σᵢ φ(xᵢ·w, yᵢ) + (l2/2)‖w‖²       D(β) = −(1/n) Σᵢ φ*(−βᵢ, yᵢ) − (l2/2)‖w(β)‖²
/// w(β) = (1/(l2·n)) Σᵢ βᵢxᵢ
/// ```
/// # Contract
/// n counts the rows of *all* clients. A client's rows are the same ones in every round: the shard, or the hand dealt in
/// epoch 0. P(w) − D(β) is never below 0 at w = w(β), and 0 at the optimum.
pub trait Duals {
    /// n: rows over all clients.
    fn total(&self) -> usize;

    /// Weight of ½‖w‖².
    fn l2(&self) -> f64;

    /// Turns to a client's rows, which are counted from 0 in ascending order: how many there are.
    fn hold(&mut self, seed: u64, client: u64) -> Result<usize>;

    /// Row `i` of the client that was turned to last.
    fn held(&self, i: usize) -> Example<'_>;

    /// The best β for one row alone, the maximiser of −φ*(−β, y) − β·at − (curvature/2)(β − dual)²: the row stands at
    /// `at` = x·w while its variable is `dual`, and is moved by `curvature` when that is moved by 1.
    fn ascend(&self, label: f64, dual: f64, at: f64, curvature: f64) -> f64;

    /// The number of that row among all, the same whoever holds it.
    fn row(&self, i: usize) -> u64;

    /// φ(at, y) + φ*(−β, y) + β·at, at least 0: what the row adds to n(P(w) − D(β)) where w = w(β).
    fn slack(&self, label: f64, dual: f64, at: f64) -> f64;
}

/// Nothing, where no rank remembered anything; else refuses with `what` was remembered.
pub fn undealt(former: &Former, what: &str) -> Result<State> {
    if former.each().all(|theirs| theirs.is_empty()) {
        return Ok(State::default());
    }
    Err(Error::request(format!(
        "{what}, and other workers hold these now: it cannot be dealt to another number of workers; resume with as many as \
         the checkpoint is of, {}",
        former.each().count()
    )))
}

/// What belongs to a client, or an error that names it.
fn of<T>(all: &[T], client: u64) -> Result<&T> {
    all.get(client as usize).ok_or_else(|| stranger(client, all.len()))
}

fn stranger(client: u64, clients: usize) -> Error {
    Error::mismatch(format!("the problem was dealt to {clients} clients, so there is no client {client}"))
}

/// A training problem before it is dealt to clients.
pub trait Task: Sync {
    /// Its name on the command line.
    fn name(&self) -> &str;

    /// The problem dealt to `clients` clients (the workers, where all of them take part). Every rank makes its own, with
    /// the same layout and start.
    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>>;

    /// How many layers its network can be cut into, however its rows are dealt; 0 where there is no cutting.
    fn layers(&self) -> Result<usize> {
        Ok(0)
    }

    /// Training rows over all clients; 1 where rows have no meaning.
    fn rows(&self) -> usize {
        1
    }

    /// A hash of the data and of what else defines the problem, for checkpoints to compare.
    fn fingerprint(&self) -> u64;
}
