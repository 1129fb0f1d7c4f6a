//! Micro norms: how long the gradients of micro-batches are, tensor by tensor, beside the gradient of the batch.
//!
//! # What it does
//! Gives the gradient of the whole batch, and as the aside `micro_norms` the mean norm of each tensor's gradient over
//! micro-batches of at most `rows` rows.
//!
//! # The step
//! ```text
//! batch = micro-batches 1..J of n₁..n_J rows, n = Σⱼ nⱼ (all of `rows` rows, the last one perhaps fewer)
//! g  = ∇f(x; batch)                       as without the estimate
//! A_l = (1/n) Σⱼ nⱼ ‖∇_l f(x; batch_j)‖   for each parameter tensor l
//! ```
//! # Contract
//! A_l is in gradient units, without weight decay, one number a tensor in the order of the layout: always as many,
//! also before the first gradient (zeros) and for a draw without rows (zeros). The mean is weighted by rows: with
//! micro-batches of one size it is the paper's, and a shorter last one counts as much in it as in g, so that ‖g_l‖ ≤
//! A_l holds whatever the sizes. Other asides of the workload pass.
//!
//! Without buffers g is put together from the micro-batches: one pass, no row is looked at twice, g equals the plain
//! gradient to rounding. With buffers, g comes from the whole batch, bit for bit, which alone moves the buffers, and
//! the norms from a second pass on a copy of the buffers as they came: every row is looked at twice. A normalisation
//! then sees one micro-batch at a time, g is no mean of the micro-batches' gradients, and ‖g_l‖ may exceed A_l. So too
//! if the workload draws other noise (dropout) for a part than for the whole: g then is a gradient under the parts'
//! noise. A workload with rows that tells no gradients of parts is refused.
//!
//! # When it helps, when it hurts
//! What CLARS divides by. Large `rows` are few and similar norms, which come near ‖g_l‖ and so LARS; `rows=1` is the
//! paper's norm of each example and costs as much as `per_sample`. Every micro-batch costs O(d) besides its rows,
//! which is nearly everything where rows are sparse. Without a reader of the aside it only costs. `cargo bench -p
//! sordino --bench estimate` prints the cost beside the plain gradient.
//!
//! # Reference
//! Huo, Gu, Huang: Large batch optimization for deep learning using new complete layer-wise adaptive rate scaling
//! (2002.01576); formula and micro-batches of 8 rows from the authors' code.
//!
//! # Deviations from the paper
//! The authors' code takes the norms after the step, at the new weights, on 64 other micro-batches, in training mode,
//! so that its running statistics follow those as well. Here they are of the batch that the step is made of, at the
//! same weights, and running statistics see the batch once.

use super::Estimate;
use crate::base::{Aside, Former, Layout, Result, State, flat};
use crate::grammar::{Entry, Key};
use crate::workload::{Draw, Duals, Metrics, Part, Split, Start, Workload};

/// The element of `local.estimate`.
pub const ENTRY: Entry<Estimate> = Entry {
    name: MICRO_NORMS,
    about: "the gradient of the batch, and beside it the mean norm of each tensor's gradient over micro-batches",
    keys: &[Key { name: "rows", default: "8", about: "most rows of a micro-batch; 8 in the code of CLARS" }],
    build: |args| {
        let rows = args.count("rows", 1)? as usize;
        Ok(Estimate::new(move |workload| Box::new(MicroNorms::new(workload, rows))))
    },
};

/// The name of the aside.
pub const MICRO_NORMS: &str = "micro_norms";

/// A workload that tells the norms of its micro-batches.
pub struct MicroNorms {
    inner: Box<dyn Workload>,
    rows: usize,
    layout: Layout,
    /// Those of the workload, then the norms.
    asides: Vec<Aside>,
    norms: Vec<f64>,
    sum: Vec<f64>,
    room: Vec<f32>,
    copy: Vec<f32>,
}

impl MicroNorms {
    /// Of micro-batches of at most `rows` rows of `inner`.
    pub fn new(inner: Box<dyn Workload>, rows: usize) -> Self {
        let layout = inner.layout().clone();
        let tensors = layout.ranges().len();
        let mut asides = inner.asides().to_vec();
        asides.push(Aside::zeros(MICRO_NORMS, tensors));
        let (sum, room, copy) = (Vec::new(), Vec::new(), Vec::new());
        Self { inner, rows, layout, asides, norms: vec![0.0; tensors], sum, room, copy }
    }

    /// Looks at the micro-batches: their norms go to `norms`, their gradients to `sum` where it has room, both weighted
    /// by rows. Gives the rows, and the losses weighted by them.
    fn look(&mut self, x: &[f32], draw: &Draw) -> Result<(f64, f64)> {
        let Self { inner, rows, layout, norms, sum, room, copy, .. } = self;
        let (mut count, mut total) = (0.0, 0.0);
        norms.fill(0.0);
        inner.parts(x, copy, draw, *rows, room, &mut |gradient, rows, loss| {
            let weight = rows as f64;
            count += weight;
            total += weight * loss;
            for (norm, range) in norms.iter_mut().zip(layout.ranges()) {
                *norm += weight * flat::norm(&gradient[range.clone()]);
            }
            for (s, g) in sum.iter_mut().zip(gradient) {
                *s += weight * f64::from(*g);
            }
            Ok(())
        })?;
        Ok((count, total))
    }
}

impl Workload for MicroNorms {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        self.room.resize(x.len(), 0.0);
        self.sum.clear();
        self.copy.clear();
        let own = self.asides.len() - 1;
        let (count, loss) = if buffers.is_empty() && own == 0 {
            self.sum.resize(x.len(), 0.0);
            let (count, total) = self.look(x, draw)?;
            let rows = count.max(1.0);
            for (g, s) in gradient.iter_mut().zip(&self.sum) {
                *g = (s / rows) as f32;
            }
            (count, total / rows)
        } else {
            self.copy.extend_from_slice(buffers);
            let loss = self.inner.gradient(x, buffers, draw, gradient)?;
            self.asides[..own].clone_from_slice(self.inner.asides());
            (self.look(x, draw)?.0, loss)
        };
        for (value, norm) in self.asides[own].values.iter_mut().zip(&self.norms) {
            *value = (norm / count.max(1.0)) as f32;
        }
        Ok(loss)
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
        &self.asides
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
