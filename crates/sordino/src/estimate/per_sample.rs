//! Per sample: every row's gradient is clipped by itself, so that none moves the mean by more than a known length.
//!
//! # What it does
//! Takes the gradient of each row by itself, perturbs it if asked to, clips it to norm C, adds up and divides by the
//! number of rows that was to be expected.
//!
//! # The step
//! ```text
//! for each row i of the draw:  vᵢ = ∇f(x; i) + k ζᵢ,  ζᵢ ~ N(0, I) ;   vᵢ ← vᵢ · min(1, C/‖vᵢ‖)
//! g = (1/b) Σᵢ vᵢ
//! ```
//! # Contract
//! C and k are in gradient units; the norm is over all parameters. The sum is in f64 in the order of the rows. b is
//! what `poisson(b)` expects (all rows of the client, if they are fewer), not what it happened to draw; for a batch of
//! fixed size it is that size, for a full batch all rows. So a row that comes or goes moves g by at most **C/b**, and
//! one that is replaced by at most 2C/b, to rounding in f32; where a fixed batch is larger than what a client holds,
//! rows come several times and count as often. Where b is all rows of the client, their number is taken for public.
//! The loss is the mean over the rows looked at, and it, like every evaluation, hides nothing.
//!
//! Beside loss and g nothing comes out. Buffers stay as they are: passes run on a copy, since one row would be read
//! off running statistics that it moved. Asides of the workload are left out, and gradients of parts refused. Every
//! part is one row, else the workload is refused. [`Workload::clipped_rows`] counts rows that were shortened.
//!
//! The perturbation is ChaCha20 noise of its own, keyed by the run's seed, client, step and the row's place in the
//! draw; it is no noise of privacy and buys no ε. It costs none either, for a reader who does not know the seed: who
//! knows it also sees the places of later rows shift as one comes or goes, which only k = 0 keeps within C/b.
//!
//! # When it helps, when it hurts
//! With noise of deviation σC on the sum it is DP-SGD. Alone it withstands rows that are outliers. Clipping bends the
//! mean where rows disagree lopsidedly: gradients (4, 4, −8), whose mean is 0, become (1, 1, −1). A perturbation of
//! about their spread turns the mean back to the true direction and shortens it by about k√d/C, so the rate must rise.
//! It costs one pass a row and O(d) a row besides, which is nearly everything where rows are sparse, and ChaCha20 for
//! every entry of every row if they are perturbed. Batch normalisation, which needs several rows, does not work under
//! it: its statistics stay where they began. `cargo bench -p sordino --bench estimate` prints the cost beside the
//! plain gradient.
//!
//! # Reference
//! Abadi et al.: Deep learning with differential privacy (1607.00133). Chen, Wu, Hong: Understanding gradient clipping
//! in private SGD: a geometric perspective (2006.15429) for the perturbation and the examples.
//!
//! # Deviations from the paper
//! The first paper was not read for this; of the second, abstract, reviews and examples were. None known.

use super::Estimate;
use crate::base::{Error, Former, Layout, Result, State, flat};
use crate::grammar::{Entry, Key};
use crate::privacy::Noise;
use crate::workload::{Batch, Draw, Duals, Metrics, Split, Start, Workload};

/// The element of `local.estimate`.
pub const ENTRY: Entry<Estimate> = Entry {
    name: "per_sample",
    about: "every row's gradient is clipped by itself: what privacy for examples asks for",
    keys: &[
        Key { name: "clip", default: "1", about: "C: longest gradient of a row; 1 in the examples of 2006.15429" },
        Key { name: "perturb", default: "0", about: "k: deviation of noise on each row's gradient before clipping" },
    ],
    build: |args| {
        let (clip, perturb) = (args.positive("clip")?, args.positive_or_zero("perturb")?);
        Ok(Estimate::new(move |workload| Box::new(PerSample::new(workload, clip).perturb(perturb))))
    },
};

/// A workload whose rows are clipped one by one.
pub struct PerSample {
    inner: Box<dyn Workload>,
    clip: f64,
    perturb: f64,
    clipped: u64,
    sum: Vec<f64>,
    row: Vec<f32>,
    copy: Vec<f32>,
}

impl PerSample {
    /// The rows of `inner` clipped to norm `clip`.
    pub fn new(inner: Box<dyn Workload>, clip: f64) -> Self {
        Self { inner, clip, perturb: 0.0, clipped: 0, sum: Vec::new(), row: Vec::new(), copy: Vec::new() }
    }

    /// The same with noise of that deviation on each row's gradient before it is clipped.
    #[must_use]
    pub fn perturb(mut self, deviation: f64) -> Self {
        self.perturb = deviation;
        self
    }
}

impl Workload for PerSample {
    fn layout(&self) -> &Layout {
        self.inner.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let Self { inner, clip, perturb, clipped, sum, row, copy } = self;
        sum.clear();
        sum.resize(x.len(), 0.0);
        copy.clear();
        copy.extend_from_slice(buffers);
        let noise = Noise::from_seed(draw.seed);
        let (mut told, mut total) = (0, 0.0);
        inner.parts(x, copy, draw, 1, gradient, &mut |of_row, rows, loss| {
            if rows != 1 {
                return Err(Error::mismatch(format!(
                    "the gradient of one row was asked for, but that of {rows} rows came: this problem cannot be \
                     clipped row by row; use local.estimate=plain"
                )));
            }
            row.clear();
            row.extend_from_slice(of_row);
            noise.perturb(draw.client, draw.step, told, *perturb, row);
            told += 1;
            total += loss;
            let norm = flat::norm(row);
            let scale = if norm > *clip { *clip / norm } else { 1.0 };
            *clipped += u64::from(norm > *clip);
            for (s, v) in sum.iter_mut().zip(&*row) {
                *s += scale * f64::from(*v);
            }
            Ok(())
        })?;
        // What came by chance would tell how many rows there are.
        let expected = match draw.batch {
            Batch::Poisson(rows) => rows.min(inner.rows(draw.client)) as u64,
            _ => told,
        };
        for (g, s) in gradient.iter_mut().zip(&*sum) {
            *g = (s / expected.max(1) as f64) as f32;
        }
        Ok(total / told.max(1) as f64)
    }

    fn loss(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        self.inner.loss(x, buffers, draw)
    }

    fn clipped_rows(&mut self) -> u64 {
        std::mem::take(&mut self.clipped)
    }

    fn save(&self, state: &mut State) {
        self.inner.save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.inner.load(state)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        self.inner.deal(former)
    }

    fn evaluate_client(&mut self, x: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.inner.evaluate_client(x, buffers, client)
    }

    fn duals(&mut self) -> Option<&mut dyn Duals> {
        self.inner.duals()
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, buffers, split)
    }
}
