//! Quadratic: diagonal quadratics with a chosen spectrum, heterogeneity and noise.
//!
//! # What it does
//! Gives worker i the function f_i(x) = ½ Σⱼ hᵢⱼ(xⱼ − cᵢⱼ)².
//!
//! # The step
//! ```text
//! ∇f_i(x)ⱼ = hᵢⱼ(xⱼ − cᵢⱼ) + noise·N(0, 1)
//! ```
//! # Contract
//! Spectra run from `low` to `high` in equal ratios; with `skew` each worker's is multiplied by its own factors in
//! [1 − skew, 1 + skew]. Centres are a common one plus `spread`·N(0, I) per worker. Batches do not matter; noise is
//! drawn per step and is in gradients alone, not in losses. The training loss is the mean of all f_i.
//!
//! # When it helps, when it hurts
//! Where theory can be checked to the last digit.
//!
//! # Reference
//! None needed.
//!
//! # Deviations from the paper
//! None.

use std::sync::Arc;

use super::{Draw, Metrics, Split, Start, Task, Workload, of};
use crate::base::{Layout, Result, Stream, Use, flat};

/// One worker's diagonal and centre.
#[derive(Clone, Debug, PartialEq)]
pub struct Bowl {
    /// The diagonal of the Hessian.
    pub spectrum: Vec<f32>,
    /// The minimiser.
    pub centre: Vec<f32>,
}

impl Bowl {
    fn loss(&self, x: &[f32]) -> f64 {
        let term = |((x, h), c): ((&f32, &f32), &f32)| f64::from(*h) * (f64::from(*x) - f64::from(*c)).powi(2);
        0.5 * x.iter().zip(&self.spectrum).zip(&self.centre).map(term).sum::<f64>()
    }
}

/// A quadratic problem: one bowl per worker, or as many as workers ask.
#[derive(Clone, Debug)]
pub struct Quadratic {
    /// Number of parameters.
    pub dim: usize,
    /// Smallest eigenvalue.
    pub low: f64,
    /// Largest eigenvalue.
    pub high: f64,
    /// How far workers' centres lie apart (standard deviation per coordinate).
    pub spread: f64,
    /// How much workers' spectra differ, 0 to below 1.
    pub skew: f64,
    /// Standard deviation of gradient noise per coordinate.
    pub noise: f64,
    /// Every coordinate of the starting point.
    pub start: f64,
}

impl Default for Quadratic {
    fn default() -> Self {
        Self { dim: 20, low: 0.1, high: 1.0, spread: 1.0, skew: 0.0, noise: 0.0, start: 0.0 }
    }
}

impl Quadratic {
    /// The bowls of `workers` workers.
    pub fn bowls(&self, workers: usize, seed: u64) -> Vec<Bowl> {
        let draws = |client: u64, index: u64| Stream::new(seed, Use::Problem, client, index);
        let mut common = draws(0, 0);
        let shared: Vec<f32> = (0..self.dim).map(|_| 3.0 * common.normal()).collect();
        let bowl = |i: usize| {
            let mut s = draws(i as u64 + 1, 0);
            let ratio = libm::log(self.high / self.low) / (self.dim.max(2) - 1) as f64;
            let spectrum = (0..self.dim)
                .map(|j| {
                    let factor = 1.0 + self.skew * (2.0 * s.uniform64() - 1.0);
                    (self.low * libm::exp(ratio * j as f64) * factor) as f32
                })
                .collect();
            let centre = shared.iter().map(|c| c + self.spread as f32 * s.normal()).collect();
            Bowl { spectrum, centre }
        };
        (0..workers).map(bowl).collect()
    }
}

impl Task for Quadratic {
    fn name(&self) -> &'static str {
        "quadratic"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        let bowls = Arc::new(self.bowls(clients, seed));
        Ok(Box::new(Bowls::new(bowls, vec![self.start as f32; self.dim], self.noise as f32)))
    }

    fn fingerprint(&self) -> u64 {
        flat::fingerprint(
            &[self.dim as f64, self.low, self.high, self.spread, self.skew, self.noise, self.start].map(|v| v as f32),
        )
    }
}

/// Given bowls, one a client.
#[derive(Clone, Debug)]
pub struct Bowls {
    all: Arc<Vec<Bowl>>,
    start: Vec<f32>,
    noise: f32,
    layout: Layout,
}

impl Bowls {
    /// Of `bowls`, from `start`, with gradient noise of that standard deviation.
    pub fn new(bowls: Arc<Vec<Bowl>>, start: Vec<f32>, noise: f32) -> Self {
        Self { all: bowls, layout: Layout::vector(start.len()), start, noise }
    }
}

impl Workload for Bowls {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: self.start.clone(), buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let bowl = of(&self.all, draw.client)?;
        for (((g, x), h), c) in gradient.iter_mut().zip(x).zip(&bowl.spectrum).zip(&bowl.centre) {
            *g = h * (x - c);
        }
        if self.noise > 0.0 {
            let mut noise = draw.noise();
            for g in gradient {
                *g += self.noise * noise.normal();
            }
        }
        Ok(bowl.loss(x))
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        Ok(of(&self.all, draw.client)?.loss(x))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        if split == Split::Test {
            return Ok(None);
        }
        let loss = self.all.iter().map(|b| b.loss(x)).sum::<f64>() / self.all.len() as f64;
        Ok(Some(Metrics { loss, accuracy: None, examples: self.all.len() }))
    }
}
