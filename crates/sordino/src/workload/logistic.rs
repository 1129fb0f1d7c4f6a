//! Logistic: binary logistic regression over sparse rows, with l2 or a non-convex regulariser.
//!
//! # What it does
//! Gives worker i the mean logistic loss over its rows plus a regulariser; no intercept, from x = 0.
//!
//! # The step
//! ```text
//! f_i(x) = mean over rows of log(1 + exp(−y a·x)) + (l2/2)‖x‖² + nonconvex·Σⱼ xⱼ²/(1 + xⱼ²)
//! ```
//! # Contract
//! Labels are −1 and +1. Rows stay sparse; sums run in f64 in row order, `libm` gives exp and log. Losses, in training
//! and held out, include the regulariser; accuracy counts y·a·x > 0.
//!
//! # When it helps, when it hurts
//! The usual convex (or gently non-convex) test bed of Clip21 and EF21.
//!
//! # Reference
//! The experiments of 2305.18929 and 2106.05203.
//!
//! # Deviations from the paper
//! None.

use std::sync::Arc;

use super::{Batch, Deal, Draw, EVALUATED_ROWS, Metrics, Part, Rows, SparseRows, Split, Start, Task, Workload};
use crate::base::{Layout, Result};

/// A logistic regression problem.
#[derive(Clone, Debug)]
pub struct Logistic {
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
    /// Weight of ½‖x‖².
    pub l2: f64,
    /// Weight of Σ x²/(1 + x²).
    pub nonconvex: f64,
    /// A hash of the data.
    pub data: u64,
}

impl Task for Logistic {
    fn name(&self) -> &str {
        &self.name
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        self.train.check(self.features)?;
        self.train.check_signs()?;
        let rows = self.deal.rows(self.rows(), clients)?;
        let layout = Layout::vector(self.features);
        Ok(Box::new(Regression { task: self.clone(), rows, layout, sum: vec![0.0; self.features] }))
    }

    fn rows(&self) -> usize {
        self.train.labels.len()
    }

    fn fingerprint(&self) -> u64 {
        self.data ^ self.l2.to_bits().rotate_left(1) ^ self.nonconvex.to_bits().rotate_left(7)
    }
}

struct Regression {
    task: Logistic,
    rows: Rows,
    layout: Layout,
    sum: Vec<f64>,
}

/// log(1 + exp(−m)) without overflow.
fn loss(margin: f64) -> f64 {
    libm::log1p(libm::exp(-margin.abs())) + (-margin).max(0.0)
}

/// 1/(1 + exp(m)).
fn falling(margin: f64) -> f64 {
    let e = libm::exp(-margin.abs());
    if margin > 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

impl Logistic {
    fn regulariser(&self, x: &[f32]) -> f64 {
        let (mut squares, mut bounded) = (0.0, 0.0);
        for v in x {
            let v2 = f64::from(*v) * f64::from(*v);
            squares += v2;
            bounded += v2 / (1.0 + v2);
        }
        0.5 * self.l2 * squares + self.nonconvex * bounded
    }

    /// Mean loss over some training rows, and its gradient; `sum` is room for it in f64.
    fn gradient(&self, x: &[f32], rows: &[u32], sum: &mut [f64], gradient: &mut [f32]) -> f64 {
        if rows.is_empty() {
            gradient.fill(0.0);
            return 0.0;
        }
        let data = &self.train;
        sum.fill(0.0);
        let mut total = 0.0;
        for row in rows {
            let row = data.example(*row as usize);
            let label = f64::from(row.label);
            let margin = label * row.dot(x);
            total += loss(margin);
            row.add_to(sum, -label * falling(margin));
        }
        let count = rows.len() as f64;
        for ((g, s), x) in gradient.iter_mut().zip(sum).zip(x) {
            let x = f64::from(*x);
            let bend = 1.0 + x * x;
            *g = (*s / count + self.l2 * x + self.nonconvex * 2.0 * x / (bend * bend)) as f32;
        }
        total / count + self.regulariser(x)
    }

    /// Mean loss over some training rows.
    fn loss(&self, x: &[f32], rows: &[u32]) -> f64 {
        if rows.is_empty() {
            return 0.0;
        }
        let of = |row: &u32| {
            let row = self.train.example(*row as usize);
            loss(f64::from(row.label) * row.dot(x))
        };
        rows.iter().map(of).sum::<f64>() / rows.len() as f64 + self.regulariser(x)
    }

    fn metrics(&self, x: &[f32], data: &SparseRows, rows: impl Iterator<Item = usize>) -> Metrics {
        let (mut total, mut right, mut examples) = (0.0, 0usize, 0usize);
        for row in rows {
            let row = data.example(row);
            let margin = f64::from(row.label) * row.dot(x);
            total += loss(margin);
            right += usize::from(margin > 0.0);
            examples += 1;
        }
        let count = examples.max(1) as f64;
        let loss = total / count + self.regulariser(x);
        Metrics { loss, accuracy: Some(right as f64 / count), examples }
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

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        let picked = self.rows.pick(draw)?;
        Ok(self.task.loss(x, picked))
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
        Ok(Some(self.task.metrics(x, &self.task.train, rows.iter().map(|r| *r as usize))))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let data = match (split, &self.task.test) {
            (Split::Train, _) => &self.task.train,
            (Split::Test, Some(test)) => test,
            (Split::Test, None) => return Ok(None),
        };
        let rows = data.labels.len();
        let rows = if split == Split::Train { rows.min(EVALUATED_ROWS) } else { rows };
        Ok(Some(self.task.metrics(x, data, 0..rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy(l2: f64, nonconvex: f64) -> Logistic {
        let rows = SparseRows {
            offsets: vec![0, 2, 3, 5],
            columns: vec![0, 1, 1, 0, 1],
            values: vec![1.0, 2.0, -1.5, 0.5, 1.0],
            labels: vec![1.0, -1.0, -1.0],
        };
        Logistic {
            name: "logistic".into(),
            train: Arc::new(rows),
            test: None,
            features: 2,
            deal: Deal::Iid,
            l2,
            nonconvex,
            data: 0,
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let task = toy(0.3, 0.2);
        let mut w = task.workload(1, 0).unwrap();
        let draw = Draw { seed: 0, client: 0, step: 0, batch: Batch::Full };
        let x = [0.4f32, -0.7];
        let mut g = [0.0; 2];
        let at = w.gradient(&x, &mut [], &draw, &mut g).unwrap();
        assert!((at - w.evaluate(&x, &[], Split::Train).unwrap().unwrap().loss).abs() < 1e-12);
        for j in 0..2 {
            let mut f = |h: f32| {
                let mut y = x;
                y[j] += h;
                w.gradient(&y, &mut [], &draw, &mut [0.0; 2]).unwrap()
            };
            let slope = (f(1e-3) - f(-1e-3)) / 2e-3;
            assert!((slope - f64::from(g[j])).abs() < 1e-4, "{slope} {}", g[j]);
        }
    }

    #[test]
    fn far_margins_do_not_overflow() {
        assert_eq!(loss(1e4), 0.0);
        assert_eq!(loss(-1e4), 1e4);
        assert_eq!((falling(1e4), falling(-1e4)), (0.0, 1.0));
    }

    #[test]
    fn malformed_rows_are_refused() {
        let mut task = toy(0.0, 0.0);
        task.features = 1;
        assert!(task.workload(1, 0).err().unwrap().to_string().contains("column 1"));
        let mut rows = (*toy(0.0, 0.0).train).clone();
        rows.labels[0] = 3.0;
        let numbers = Logistic { train: Arc::new(rows), ..toy(0.0, 0.0) };
        assert!(numbers.workload(1, 0).err().unwrap().to_string().contains("label is 3"));
        assert!(toy(0.0, 0.0).workload(4, 0).is_err());
    }
}
