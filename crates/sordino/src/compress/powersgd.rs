//! PowerSGD: every matrix as two thin factors, found by one step of a power iteration that goes on from round to round.
//!
//! # What it does
//! Agrees on a rank-r approximation of the mean of everybody's matrices, in two all-reduces of thin factors.
//!
//! # The step
//! ```text
//! M_k: n × m, the tensor as [first dimension, rest];  r = min(n, m, rank);  Q: m × r, the same on every rank
//! project   P_k = M_k·Q;                          P = orthonormal(mean P_k)
//! refine    Q_k = M_kᵀ·P;                         Q ← mean Q_k
//! lift      agreed = P·Qᵀ = P·Pᵀ·(mean M_k)       said = agreed on every rank
//! ```
//! # Contract
//! Linear in two phases, of 4rn + 4rm bytes a matrix. Tensors of one dimension, and those that factors would not
//! shorten (r(n + m) ≥ nm), travel dense with the first. Q starts from the shared stream of the first round, entry
//! after entry of `part(tensor)`, row by row, and is kept and saved. What is agreed is the mean projected onto P, so
//! never farther from it than 0 is, and exact where the mean has rank r.
//!
//! A message of its own (gather, star) holds P and M_kᵀP of one step from a Q that is drawn anew, from the sender's
//! stream, and changes nothing that is kept: nobody else would know of it. Contractive with δ = min r/min(n, m): of
//! what j columns left, of rank k − j at the most, a random direction takes 1/(k − j) in expectation.
//!
//! P is made orthonormal in f64, by Gram and Schmidt twice. A column of which the others leave 10⁻¹⁰ or less becomes
//! zero and its column of Q is drawn anew from the shared stream: zero gradients and low ranks stop nothing.
//!
//! # When it helps, when it hurts
//! The strongest linear code for gradients of wide layers: 100 and more times fewer bytes, at any number of ranks. It
//! needs error feedback. Two latencies a round; nothing is saved on vectors and little on small matrices.
//!
//! # Reference
//! Vogels, Karimireddy, Jaggi: PowerSGD, practical low-rank gradient compression for distributed optimization
//! (1905.13727) and the authors' code.
//!
//! # Deviations from the paper
//! The code adds 10⁻⁸ to norms instead, so that a column without content becomes one along another column and the
//! matrix comes out too long. It codes matrices that factors do not shorten. Columns of Q are kept scaled by powers of
//! two to entries of 1 to 2 at the most, which changes no bit of what is agreed but keeps products from underflowing.

mod factors;

use std::ops::Range;
use std::sync::Arc;

use super::{Class, Coding, Compressor, Linear};
use crate::base::{Layout, Reader, Result, State, Stream, Tensor, Writer, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "powersgd",
    about: "every matrix as two thin factors by warm-started power iteration; needs feedback",
    keys: &[Key { name: "rank", default: "4", about: "columns of the factors; the paper tries 1, 2 and 4" }],
    build: |args| Ok(Box::new(PowerSgd::new(args.count("rank", 1)? as usize))),
};

/// Low-rank factors of every matrix.
#[derive(Clone, Debug, Default)]
pub struct PowerSgd {
    rank: usize,
    plan: Option<(Layout, Arc<Plan>)>,
    /// Q of every matrix, column by column; empty before the first use.
    warm: Vec<f32>,
    /// From refine to lift: P of every matrix and the dense part, as they were agreed on.
    first: Vec<f32>,
    /// Factors of one message.
    left: Vec<f32>,
    right: Vec<f32>,
}

/// A tensor that travels as factors.
#[derive(Clone, Debug)]
struct Matrix {
    tensor: usize,
    /// Where it lies in the vector.
    range: Range<usize>,
    shape: [usize; 2],
    rank: usize,
    /// Where its P lies among all, n × r row by row.
    left: Range<usize>,
    /// Where its Q lies among all, r columns of m entries.
    right: Range<usize>,
}

/// What travels how.
#[derive(Clone, Debug, Default)]
struct Plan {
    matrices: Vec<Matrix>,
    dense: Vec<Range<usize>>,
    left: usize,
    right: usize,
    dense_len: usize,
}

impl Plan {
    fn new(layout: &Layout, rank: usize) -> Self {
        let mut plan = Self::default();
        for (tensor, (of, range)) in layout.tensors().enumerate() {
            let Some((n, m, r)) = thin(of, rank) else {
                plan.dense_len += range.len();
                plan.dense.push(range);
                continue;
            };
            let (left, right) = (plan.left..plan.left + n * r, plan.right..plan.right + m * r);
            (plan.left, plan.right) = (left.end, right.end);
            plan.matrices.push(Matrix { tensor, range, shape: [n, m], rank: r, left, right });
        }
        plan
    }
}

/// Rows, columns and rank of a tensor that factors shorten.
fn thin(of: &Tensor, rank: usize) -> Option<(usize, usize, usize)> {
    let (&n, rest) = of.shape.split_first()?;
    let m: usize = rest.iter().product();
    let r = n.min(m).min(rank);
    (!rest.is_empty() && r * (n + m) < n * m).then_some((n, m, r))
}

impl Matrix {
    fn columns(&self) -> usize {
        self.shape[1]
    }

    /// Draws the first Q: entry after entry, row by row.
    fn draw(&self, stream: &Stream, q: &mut [f32]) {
        let mut stream = stream.part(self.tensor as u64);
        for row in 0..self.columns() {
            q.iter_mut().skip(row).step_by(self.columns()).for_each(|entry| *entry = stream.normal());
        }
    }
}

impl PowerSgd {
    /// Factors of `rank` ≥ 1 columns.
    pub fn new(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }

    fn plan(&mut self, layout: &Layout) -> Arc<Plan> {
        match &self.plan {
            Some((of, plan)) if of == layout => Arc::clone(plan),
            _ => {
                let plan = Arc::new(Plan::new(layout, self.rank));
                self.plan = Some((layout.clone(), Arc::clone(&plan)));
                plan
            }
        }
    }

    /// One step from a fresh Q on one matrix, into `left` and `right`.
    fn step(&mut self, of: &Matrix, matrix: &[f32], stream: &Stream) {
        let Self { left, right, .. } = self;
        left.resize(of.left.len(), 0.0);
        right.resize(of.right.len(), 0.0);
        let mut once = |matrix: &[f32]| {
            of.draw(stream, right);
            factors::project(matrix, right, of.rank, left);
            let fits = flat::is_finite(left);
            factors::orthonormalise(left, of.rank);
            factors::back(matrix, left, of.rank, right);
            fits && flat::is_finite(right)
        };
        if !once(matrix) {
            // Near the largest number sums overflow: do it in smaller numbers.
            const DOWN: f32 = 1.0 / (1u64 << 63) as f32;
            let smaller: Vec<f32> = matrix.iter().map(|v| v * DOWN).collect();
            once(&smaller);
            for v in right {
                *v = (*v / DOWN).clamp(f32::MIN, f32::MAX);
            }
        }
    }
}

impl Compressor for PowerSgd {
    fn class(&self, layout: &Layout) -> Class {
        let plan = Plan::new(layout, self.rank);
        let shares = plan.matrices.iter().map(|x| x.rank as f64 / x.shape[0].min(x.shape[1]) as f64);
        shares.reduce(f64::min).map_or(Class::Lossless, |delta| Class::Contractive { delta })
    }

    fn bound(&self, layout: &Layout) -> usize {
        let plan = Plan::new(layout, self.rank);
        4 * (plan.left + plan.right + plan.dense_len)
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        let plan = self.plan(at.layout);
        for x in &plan.matrices {
            self.step(x, &given[x.range.clone()], at.stream);
            out.f32s(&self.left);
            out.f32s(&self.right);
        }
        for range in &plan.dense {
            out.f32s(&given[range.clone()]);
        }
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        let plan = self.plan(layout);
        for x in &plan.matrices {
            self.left.resize(x.left.len(), 0.0);
            self.right.resize(x.right.len(), 0.0);
            body.f32s(&mut self.left)?;
            body.f32s(&mut self.right)?;
            factors::outer(&self.left, &self.right, x.rank, &mut out[x.range.clone()]);
        }
        plan.dense.iter().try_for_each(|range| body.f32s(&mut out[range.clone()]))
    }

    fn linear(&mut self) -> Option<&mut dyn Linear> {
        Some(self)
    }

    fn save(&self, state: &mut State) {
        if !self.warm.is_empty() {
            state.put("warm", &self.warm);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.warm.clear();
        if state.vectors.contains_key("warm") {
            let plan = self.plan(layout);
            self.warm.resize(plan.right, 0.0);
            state.take("warm", &mut self.warm)?;
        }
        Ok(())
    }
}

impl Linear for PowerSgd {
    fn short_len(&mut self, layout: &Layout) -> usize {
        let plan = self.plan(layout);
        plan.left + plan.dense_len
    }

    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        let plan = self.plan(at.layout);
        if self.warm.len() != plan.right {
            self.warm.resize(plan.right, 0.0);
            for x in &plan.matrices {
                x.draw(at.shared, &mut self.warm[x.right.clone()]);
            }
        }
        short.resize(plan.left, 0.0);
        for x in &plan.matrices {
            let q = &self.warm[x.right.clone()];
            factors::project(&given[x.range.clone()], q, x.rank, &mut short[x.left.clone()]);
        }
        for range in &plan.dense {
            short.extend_from_slice(&given[range.clone()]);
        }
    }

    fn two_phases(&mut self) -> bool {
        true
    }

    fn refine(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>) {
        let plan = self.plan(at.layout);
        std::mem::swap(&mut self.first, short);
        short.resize(plan.right, 0.0);
        for x in &plan.matrices {
            let p = &mut self.first[x.left.clone()];
            factors::orthonormalise(p, x.rank);
            factors::back(&given[x.range.clone()], p, x.rank, &mut short[x.right.clone()]);
        }
    }

    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]) {
        let plan = self.plan(at.layout);
        self.first.resize(plan.left + plan.dense_len, 0.0);
        for x in &plan.matrices {
            let (p, q) = (&self.first[x.left.clone()], &short[x.right.clone()]);
            factors::outer(p, q, x.rank, &mut out[x.range.clone()]);
        }
        let mut rest = &self.first[plan.left..];
        for range in &plan.dense {
            let (head, tail) = rest.split_at(range.len());
            out[range.clone()].copy_from_slice(head);
            rest = tail;
        }
        self.warm.clear();
        self.warm.extend_from_slice(short);
        for x in &plan.matrices {
            let stream = at.shared.part(x.tensor as u64);
            for (k, column) in self.warm[x.right.clone()].chunks_exact_mut(x.columns()).enumerate() {
                if !factors::rescale(column) {
                    let mut stream = stream.part(k as u64);
                    column.fill_with(|| stream.normal());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
