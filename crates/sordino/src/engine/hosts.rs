//! Ranks of one host that make their steps together: what a workload tells is everybody's mean.

use crate::base::{Aside, Former, Layout, Result, State};
use crate::exchange::{Frame, Means};
use crate::fabric::Shared;
use crate::topology::Topology;
use crate::workload::{Draw, Duals, Metrics, Part, Split, Start, Workload};

/// A workload whose gradients and losses are those of all ranks of a host.
///
/// # Contract
/// The ranks of the host ask for gradients at the same point, as often, and in the same order; each looks at rows of its own.
/// All get the same bits. Losses travel in f32. Buffers stay a rank's own until a meeting.
pub struct Together {
    inner: Box<dyn Workload>,
    port: Shared,
    means: Means,
    /// The gradient, and the loss behind it.
    words: Vec<f32>,
}

impl Together {
    /// Of the ranks of this one's host.
    pub fn new(inner: Box<dyn Workload>, port: Shared, topology: Topology) -> Self {
        Self { inner, port, means: Means::new(topology), words: Vec::new() }
    }
}

impl Workload for Together {
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
        let loss = self.inner.gradient(x, buffers, draw, gradient)?;
        self.words.clear();
        self.words.extend_from_slice(gradient);
        self.words.push(loss as f32);
        let frame = Frame { round: draw.step, silence: 1, flags: 0 };
        self.means.inside(&mut self.port, frame, &mut self.words)?;
        let (mean, loss) = self.words.split_at(gradient.len());
        gradient.copy_from_slice(mean);
        Ok(f64::from(loss[0]))
    }

    fn loss(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        self.inner.loss(x, buffers, draw)
    }

    fn parts(
        &mut self,
        x: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        self.inner.parts(x, buffers, draw, most, gradient, each)
    }

    fn asides(&self) -> &[Aside] {
        self.inner.asides()
    }

    fn clipped_rows(&mut self) -> u64 {
        self.inner.clipped_rows()
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
