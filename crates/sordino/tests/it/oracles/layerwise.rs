//! A pace for every tensor: LARS, CLARS and LAMB, on three tensors of which one is a bias.

use sordino::Result;
use sordino::base::{Layout, Role, Tensor};
use sordino::testing::Trial;
use sordino::workload::{Draw, Metrics, Part, Split, Start, Task, Workload};

use super::{SEED, compare, cosine, models, problems};
use crate::oracle::{clars, lamb, lars, layers::Tensor as Tensor64};
use crate::worlds::{Shared, narrow, row, wide};

/// The tensors, and whether they are weights.
const TENSORS: &[(usize, bool)] = &[(11, true), (4, false), (9, true)];

/// A reference's problem whose gradients are means over micro-batches: micro-batch `j` of `parts` of step t is the
/// problem's step parts·t + j.
#[derive(Clone)]
struct Parted {
    problem: Shared,
    parts: u64,
}

struct Share {
    of: Parted,
    layout: Layout,
}

impl Task for Parted {
    fn name(&self) -> &'static str {
        "parted"
    }

    fn workload(&self, _: usize, _: u64) -> Result<Box<dyn Workload>> {
        let role = |weight: bool| if weight { Role::Weight } else { Role::Bias };
        let layout = Layout::new(TENSORS.iter().map(|(len, weight)| Tensor::new("t", &[*len], role(*weight))));
        Ok(Box::new(Share { of: self.clone(), layout }))
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
        Start { parameters: narrow(&self.of.problem.start()), buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let (parts, mut sum, mut room) = (self.of.parts as f64, vec![0.0; x.len()], vec![0.0; x.len()]);
        self.parts(x, buffers, draw, 1, &mut room, &mut |part, _, _| {
            sum.iter_mut().zip(part).for_each(|(sum, g)| *sum += f64::from(*g) / parts);
            Ok(())
        })?;
        gradient.copy_from_slice(&narrow(&sum));
        Ok(self.of.problem.loss(&wide(x)))
    }

    fn parts(
        &mut self,
        x: &[f32],
        _: &mut [f32],
        draw: &Draw,
        _: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        let x = wide(x);
        for j in 0..self.of.parts {
            let step = self.of.parts * draw.step + j;
            gradient.copy_from_slice(&narrow(&self.of.problem.gradient(draw.client as usize, step, &x)));
            each(gradient, 1, self.of.problem.loss(&x))?;
        }
        Ok(())
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let loss = self.of.problem.loss(&wide(x));
        Ok((split == Split::Train).then_some(Metrics { loss, accuracy: None, examples: 1 }))
    }
}

/// The tensors as the references know them.
fn layers(tensors: &[(usize, bool)]) -> Vec<Tensor64> {
    let mut end = 0;
    let layer = |(len, weight): &(usize, bool)| {
        end += len;
        Tensor64 { start: end - len, end, weight: *weight }
    };
    tensors.iter().map(layer).collect()
}

/// The models of 60 rounds of a row.
fn library(name: &str, sets: &[&str], problem: &Shared, parts: u64) -> Vec<Vec<f64>> {
    let (recipe, task) = (row(name, sets), Parted { problem: problem.clone(), parts });
    models(&Trial::new(&recipe, &task, problem.workers(), SEED, 60).run().unwrap())
}

#[test]
fn lars_scales_momentum_by_the_tensor_over_its_gradient() {
    for problem in problems(24) {
        for momentum in [0.0, 0.8] {
            let oracle = |trust, tensors| {
                let rate = cosine(2.0, 0, 60);
                let (epsilon, decay, decay_rest) = (1e-3, 1e-2, true);
                let tensors = layers(tensors);
                let settings = lars::Settings { rate: &rate, trust, epsilon, momentum, decay, decay_rest, tensors };
                lars::trajectory(&*problem, &settings, 60)
            };
            let optim =
                format!("optim=lars(rate=2, momentum={momentum}, trust=0.02, decay=0.01, eps=0.001, schedule=cosine)");
            let unscaled = oracle(0.02, &[(11, true), (13, true)]);
            let found = library("lars", &[&optim], &problem, 1);
            compare("lars", &found, &oracle(0.02, TENSORS), &[oracle(0.0202, TENSORS), unscaled]);
        }
    }
}

#[test]
fn clars_scales_by_the_norms_of_micro_batches() {
    for problem in problems(24) {
        for (cap, momentum) in [(0.05, 0.0), (9.0, 0.8)] {
            let oracle = |cap, parts, trust| {
                let micro = |worker: usize, step: u64, x: &[f64]| {
                    (0..parts).map(|j| problem.gradient(worker, parts * step + j, x)).collect::<Vec<_>>()
                };
                let settings = clars::Settings {
                    rate: &cosine(2.0, 0, 60),
                    momentum,
                    decay: 1e-2,
                    decay_rest: true,
                    trust,
                    epsilon: 1e-3,
                    cap,
                    tensors: layers(TENSORS),
                    micro: &micro,
                };
                clars::trajectory(&*problem, &settings, 60)
            };
            let optim =
                format!("optim=clars(2, {momentum}, trust=0.02, cap={cap}, decay=0.01, eps=0.001, schedule=cosine)");
            let found = library("clars", &[&optim], &problem, 3);
            let controls = [oracle(cap, 2, 0.02), oracle(cap * 0.99, 3, 0.0198)];
            compare("clars", &found, &oracle(cap, 3, 0.02), &controls);
        }
    }
}

#[test]
fn lamb_steps_by_the_rate_times_the_tensor() {
    for problem in problems(24) {
        let oracle = |beta2, decay| {
            let settings = lamb::Settings {
                rate: &cosine(0.05, 0, 60),
                beta1: 0.9,
                beta2,
                epsilon: 1e-3,
                decay,
                decay_rest: false,
                cap: 10.0,
                tensors: layers(TENSORS),
            };
            lamb::trajectory(&*problem, &settings, 60)
        };
        let optim = "optim=lamb(rate=0.05, beta2=0.99, eps=0.001, decay=1, schedule=cosine)";
        let controls = [oracle(0.98, 1.0), oracle(0.99, 1.5)];
        compare("lamb", &library("lamb", &[optim], &problem, 1), &oracle(0.99, 1.0), &controls);
    }
}
