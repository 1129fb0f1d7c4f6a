//! Ridge: least squares over sparse rows with l2, and its dual.
//!
//! # What it does
//! Gives worker i the mean squared error over its rows plus a regulariser; no intercept, from w = 0.
//!
//! # The step
//! ```text
//! f_i(w) = mean over rows of ½(x·w − y)² + (l2/2)‖w‖²
//! dual:    φ*(−β) = ½β² − βy ;   best β⁺ = β + (y − β − x·w)/(1 + curvature) ;   slack = ½(x·w − y + β)²
//! ```
//! # Contract
//! Labels are any finite numbers. Rows stay sparse; sums run in f64 in row order. Losses, in training and held out,
//! include the regulariser. Accuracy, where all labels are ±1, counts y·x·w > 0. Dense room for a gradient is taken when
//! one is asked for: dual methods never do.
//!
//! # When it helps, when it hurts
//! The test bed of dual coordinate methods: smooth, strongly convex, with a duality gap that says how far the optimum
//! is. As a classifier it minds rows that are right by more than 1.
//!
//! # Reference
//! The loss of the authors' code of ACPD (1910.04235); CoCoA+ (1502.03508).
//!
//! # Deviations from the paper
//! The dual variable is that of the row, β; the papers' is scaled by the label, α = yβ for y = ±1, which is the same
//! method bit for bit and has no meaning for other labels.

use std::sync::Arc;

use super::{
    Batch, Deal, Draw, Duals, EVALUATED_ROWS, Example, Metrics, Part, Rows, SparseRows, Split, Start, Task, Workload,
};
use crate::base::{Layout, Result};

/// A least squares problem.
#[derive(Clone, Debug)]
pub struct Ridge {
    /// Its name on the command line.
    pub name: String,
    /// Training rows.
    pub train: Arc<SparseRows>,
    /// Held-out rows, if there are any.
    pub test: Option<Arc<SparseRows>>,
    /// Number of features, d.
    pub features: usize,
    /// How rows come to workers.
    pub deal: Deal,
    /// Weight of ½‖w‖².
    pub l2: f64,
    /// A hash of the data.
    pub data: u64,
}

impl Task for Ridge {
    fn name(&self) -> &str {
        &self.name
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        for rows in std::iter::once(&self.train).chain(&self.test) {
            rows.check(self.features)?;
        }
        let rows = self.deal.rows(self.rows(), clients)?;
        let layout = Layout::vector(self.features);
        let mut labels = std::iter::once(&self.train).chain(&self.test).flat_map(|rows| &rows.labels);
        let signs = labels.all(|y| y.abs() == 1.0);
        Ok(Box::new(Regression { task: self.clone(), signs, rows, layout, sum: Vec::new(), hand: Vec::new() }))
    }

    fn rows(&self) -> usize {
        self.train.labels.len()
    }

    fn fingerprint(&self) -> u64 {
        self.data ^ self.l2.to_bits().rotate_left(1) ^ 0x5269_6467
    }
}

struct Regression {
    task: Ridge,
    /// Whether all labels are ±1, so that a sign is right or wrong.
    signs: bool,
    rows: Rows,
    layout: Layout,
    sum: Vec<f64>,
    /// The rows that the dual was turned to.
    hand: Vec<u32>,
}

/// ½(a − y)².
fn loss(at: f64, label: f64) -> f64 {
    0.5 * (at - label) * (at - label)
}

impl Ridge {
    fn regulariser(&self, x: &[f32]) -> f64 {
        0.5 * self.l2 * x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>()
    }

    /// Mean loss over some training rows, and its gradient; `sum` is room for it in f64.
    fn gradient(&self, x: &[f32], rows: &[u32], sum: &mut Vec<f64>, gradient: &mut [f32]) -> f64 {
        if rows.is_empty() {
            gradient.fill(0.0);
            return 0.0;
        }
        sum.clear();
        sum.resize(x.len(), 0.0);
        let mut total = 0.0;
        for row in rows {
            let row = self.train.example(*row as usize);
            let (at, label) = (row.dot(x), f64::from(row.label));
            total += loss(at, label);
            row.add_to(sum, at - label);
        }
        let count = rows.len() as f64;
        for ((g, s), x) in gradient.iter_mut().zip(sum).zip(x) {
            *g = (*s / count + self.l2 * f64::from(*x)) as f32;
        }
        total / count + self.regulariser(x)
    }

    fn metrics(&self, x: &[f32], data: &SparseRows, signs: bool, rows: impl Iterator<Item = usize>) -> Metrics {
        let (mut total, mut right, mut examples) = (0.0, 0usize, 0usize);
        for row in rows {
            let row = data.example(row);
            let (at, label) = (row.dot(x), f64::from(row.label));
            total += loss(at, label);
            right += usize::from(at * label > 0.0);
            examples += 1;
        }
        let count = examples.max(1) as f64;
        let accuracy = signs.then_some(right as f64 / count);
        Metrics { loss: total / count + self.regulariser(x), accuracy, examples }
    }
}

impl Workload for Regression {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![0.0; self.task.features], buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let picked = self.rows.pick(draw)?;
        Ok(self.task.gradient(x, picked, &mut self.sum, gradient))
    }

    fn parts(
        &mut self,
        x: &[f32],
        _: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        for part in self.rows.pick(draw)?.chunks(most.max(1)) {
            let loss = self.task.gradient(x, part, &mut self.sum, gradient);
            each(gradient, part.len(), loss)?;
        }
        Ok(())
    }

    fn evaluate_client(&mut self, x: &[f32], _: &[f32], client: u64) -> Result<Option<Metrics>> {
        let rows = self.rows.pick(&Draw { seed: 0, client, step: 0, batch: Batch::Full })?;
        Ok(Some(self.task.metrics(x, &self.task.train, self.signs, rows.iter().map(|r| *r as usize))))
    }

    fn duals(&mut self) -> Option<&mut dyn Duals> {
        Some(self)
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let data = match (split, &self.task.test) {
            (Split::Train, _) => &self.task.train,
            (Split::Test, Some(test)) => test,
            (Split::Test, None) => return Ok(None),
        };
        let rows = data.labels.len();
        let rows = if split == Split::Train { rows.min(EVALUATED_ROWS) } else { rows };
        Ok(Some(self.task.metrics(x, data, self.signs, 0..rows)))
    }
}

impl Duals for Regression {
    fn total(&self) -> usize {
        self.task.rows()
    }

    fn l2(&self) -> f64 {
        self.task.l2
    }

    fn hold(&mut self, seed: u64, client: u64) -> Result<usize> {
        let hand = self.rows.pick(&Draw { seed, client, step: 0, batch: Batch::Full })?;
        // Usually the same as in the round before.
        if self.hand != hand {
            self.hand.clear();
            self.hand.extend_from_slice(hand);
        }
        Ok(self.hand.len())
    }

    fn held(&self, i: usize) -> Example<'_> {
        self.task.train.example(self.hand[i] as usize)
    }

    fn row(&self, i: usize) -> u64 {
        u64::from(self.hand[i])
    }

    fn ascend(&self, label: f64, dual: f64, at: f64, curvature: f64) -> f64 {
        dual + (label - dual - at) / (1.0 + curvature)
    }

    fn slack(&self, label: f64, dual: f64, at: f64) -> f64 {
        loss(at + dual, label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Made;

    fn toy(signs: bool) -> Ridge {
        let made = Made { rows: 12, features: 5, nonzeros: 3, noise: 0.3, signs, seed: 2 };
        Ridge {
            name: "ridge".into(),
            train: Arc::new(made.make().unwrap()),
            test: None,
            features: 5,
            deal: Deal::Iid,
            l2: 0.2,
            data: 0,
        }
    }

    const FULL: Draw = Draw { seed: 0, client: 0, step: 0, batch: Batch::Full };

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut w = toy(false).workload(1, 0).unwrap();
        let x = [0.4f32, -0.7, 0.1, 0.0, 1.0];
        let mut g = [0.0; 5];
        let at = w.gradient(&x, &mut [], &FULL, &mut g).unwrap();
        let found = w.evaluate(&x, &[], Split::Train).unwrap().unwrap();
        assert!((at - found.loss).abs() < 1e-12 && found.accuracy.is_none());
        for j in 0..5 {
            let mut f = |h: f32| {
                let mut y = x;
                y[j] += h;
                w.gradient(&y, &mut [], &FULL, &mut [0.0; 5]).unwrap()
            };
            let slope = (f(1e-3) - f(-1e-3)) / 2e-3;
            assert!((slope - f64::from(g[j])).abs() < 1e-4, "{slope} {}", g[j]);
        }
    }

    #[test]
    fn accuracy_counts_signs_where_labels_are_signs() {
        let task = toy(true);
        let mut w = task.workload(1, 0).unwrap();
        let x = [0.4f32, -0.7, 0.1, 0.3, 1.0];
        let right = (0..12).filter(|r| task.train.example(*r).dot(&x) * f64::from(task.train.labels[*r]) > 0.0).count();
        let found = w.evaluate(&x, &[], Split::Train).unwrap().unwrap().accuracy;
        assert_eq!(found, Some(right as f64 / 12.0));
    }

    #[test]
    fn the_dual_holds_every_row_once_and_the_same_ones_whenever_it_is_asked() {
        let mut w = toy(true).workload(3, 0).unwrap();
        let mut seen = Vec::new();
        for client in 0..3 {
            let held = |w: &mut dyn Workload| {
                let duals = w.duals().unwrap();
                let count = duals.hold(4, client).unwrap();
                (0..count).map(|i| format!("{:?}", duals.held(i))).collect::<Vec<_>>()
            };
            let first = held(&mut *w);
            w.gradient(&[0.0; 5], &mut [], &Draw { step: 90, batch: Batch::Rows(2), ..FULL }, &mut [0.0; 5]).unwrap();
            w.duals().unwrap().hold(4, (client + 1) % 3).unwrap();
            assert_eq!(held(&mut *w), first);
            seen.extend(first);
        }
        let mut all: Vec<_> = (0..12).map(|r| format!("{:?}", toy(true).train.example(r))).collect();
        seen.sort();
        all.sort();
        assert_eq!(seen, all);
    }

    #[test]
    fn one_row_is_ascended_to_the_top_and_no_row_has_less_slack_than_none() {
        let mut w = toy(false).workload(1, 0).unwrap();
        let duals = w.duals().unwrap();
        for (label, dual, at, curvature) in [(1.0, 0.2, 0.4, 0.7), (-2.5, 0.0, 3.0, 10.0), (0.0, 1.0, 0.0, 0.0)] {
            // −φ*(−β) − β·at' summed along the way of the row: at' = at + curvature·(β − dual).
            let rise = |b: f64| -0.5 * b * b + b * label - (b - dual) * at - 0.5 * curvature * (b - dual) * (b - dual);
            let best = duals.ascend(label, dual, at, curvature);
            assert!(rise(best) > rise(best + 1e-3) && rise(best) > rise(best - 1e-3));
            let conjugate = 0.5 * dual * dual - dual * label;
            let slack = 0.5 * (at - label) * (at - label) + conjugate + dual * at;
            assert!((duals.slack(label, dual, at) - slack).abs() < 1e-12 && slack >= -1e-12);
        }
        assert_eq!(duals.slack(1.5, 0.5, 1.0), 0.0, "β = y − x·w is the optimum's condition");
    }
}
