//! PowerSGD on two matrices and a vector.
//!
//! Residuals of unlike workers grow from round to round, only their mean is bounded, and so do their roundings: the
//! comparison is over few rounds.

use sordino::Result;
use sordino::base::{Layout, Role, Stream, Tensor, Use};
use sordino::testing::Trial;
use sordino::workload::{Draw, Metrics, Split, Start, Task, Workload};

use super::{SEED, compare, cosine, models, problems};
use crate::oracle::powersgd::{self, Shape};
use crate::worlds::{Shared, narrow, row, wide};

/// The tensors of 80 entries: 6 by 7, 5 by 6 and a vector of 8; of the matrices rank 2 is shorter.
const SHAPES: [&[usize]; 3] = [&[6, 7], &[8], &[5, 6]];

struct Matrices(Shared);

struct Share {
    problem: Shared,
    layout: Layout,
}

impl Task for Matrices {
    fn name(&self) -> &'static str {
        "matrices"
    }

    fn workload(&self, _: usize, _: u64) -> Result<Box<dyn Workload>> {
        let layout = Layout::new(SHAPES.iter().map(|shape| Tensor::new("t", shape, Role::Weight)));
        Ok(Box::new(Share { problem: self.0.clone(), layout }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

impl Workload for Share {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: narrow(&self.problem.start()), buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let x = wide(x);
        gradient.copy_from_slice(&narrow(&self.problem.gradient(draw.client as usize, draw.step, &x)));
        Ok(self.problem.loss(&x))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let loss = self.problem.loss(&wide(x));
        Ok((split == Split::Train).then_some(Metrics { loss, accuracy: None, examples: 1 }))
    }
}

#[test]
fn low_rank_factors_are_averaged_before_they_are_made_orthogonal() {
    for problem in problems(80) {
        for rank in [1, 2] {
            let start = |tensor: usize, entry: usize| {
                let mut stream = Stream::new(SEED, Use::Shared, 0, 0).part(tensor as u64);
                (0..=entry).map(|_| f64::from(stream.normal())).last().unwrap()
            };
            let oracle = |rank, momentum, start: &dyn Fn(usize, usize) -> f64| {
                let settings = powersgd::Settings {
                    rate: &cosine(0.05, 0, 34),
                    momentum,
                    nesterov: false,
                    decay: 1e-3,
                    rank,
                    epsilon: 0.0,
                    shapes: vec![Shape::Matrix(6, 7), Shape::Vector(8), Shape::Matrix(5, 6)],
                    start,
                };
                powersgd::trajectory(&*problem, &settings, 34)
            };
            let optim = "optim=sgd(rate=0.05, momentum=0.8, decay=0.001, schedule=cosine)";
            let (recipe, task) =
                (row("powersgd", &[optim, &format!("compress.rank={rank}")]), Matrices(problem.clone()));
            let found = models(&Trial::new(&recipe, &task, problem.workers(), SEED, 34).run().unwrap());
            let other = |tensor: usize, entry: usize| start(tensor + 7, entry);
            let controls = [oracle(3 - rank, 0.8, &start), oracle(rank, 0.79, &start), oracle(rank, 0.8, &other)];
            compare("powersgd", &found, &oracle(rank, 0.8, &start), &controls);
        }
    }
}
