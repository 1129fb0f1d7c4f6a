//! Polynomial: a relaxed-smooth function, whose curvature grows with its gradient.
//!
//! # What it does
//! Gives worker i the function f_i(x) = Σⱼ (xⱼ − cᵢⱼ)⁴, (12, 3)-relaxed-smooth in every coordinate.
//!
//! # The step
//! ```text
//! ∇f_i(x)ⱼ = 4(xⱼ − cᵢⱼ)³ + noise·U[−1, 1]
//! ```
//! # Contract
//! Centres are `spread`·N(0, 1) per worker. Noise is bounded, as the analysis of clipping wants, drawn per step,
//! and in gradients alone, not in losses.
//! The training loss is the mean of all f_i.
//!
//! # When it helps, when it hurts
//! Far from the minimum any fixed rate is too large for plain local steps: they overflow where clipped ones arrive.
//!
//! # Reference
//! Example of relaxed smoothness in 2205.05040.
//!
//! # Deviations from the paper
//! None.

use super::{Draw, Metrics, Split, Start, Task, Workload, of};
use crate::base::{Layout, Result, Stream, Use, flat};

/// A sum of fourth powers.
#[derive(Clone, Debug)]
pub struct Polynomial {
    /// Number of parameters.
    pub dim: usize,
    /// Standard deviation of the workers' centres.
    pub spread: f64,
    /// Half width of the gradient noise.
    pub noise: f64,
    /// Every coordinate of the starting point.
    pub start: f64,
}

impl Default for Polynomial {
    fn default() -> Self {
        Self { dim: 1, spread: 0.0, noise: 1.0, start: 5.0 }
    }
}

impl Task for Polynomial {
    fn name(&self) -> &'static str {
        "polynomial"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        let centre = |i: usize| {
            let mut s = Stream::new(seed, Use::Problem, i as u64, 0);
            (0..self.dim).map(|_| self.spread as f32 * s.normal()).collect()
        };
        let layout = Layout::vector(self.dim);
        Ok(Box::new(Powers { task: self.clone(), centres: (0..clients).map(centre).collect(), layout }))
    }

    fn fingerprint(&self) -> u64 {
        flat::fingerprint(&[self.dim as f64, self.spread, self.noise, self.start].map(|v| v as f32))
    }
}

struct Powers {
    task: Polynomial,
    centres: Vec<Vec<f32>>,
    layout: Layout,
}

fn loss(x: &[f32], centre: &[f32]) -> f64 {
    x.iter().zip(centre).map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(4)).sum()
}

impl Workload for Powers {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![self.task.start as f32; self.task.dim], buffers: Vec::new() }
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let centre = of(&self.centres, draw.client)?;
        let mut noise = draw.noise();
        for ((g, x), c) in gradient.iter_mut().zip(x).zip(centre) {
            let gap = x - c;
            *g = 4.0 * gap * gap * gap + self.task.noise as f32 * (2.0 * noise.uniform() - 1.0);
        }
        Ok(loss(x, centre))
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        Ok(loss(x, of(&self.centres, draw.client)?))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        if split == Split::Test {
            return Ok(None);
        }
        let mean = self.centres.iter().map(|c| loss(x, c)).sum::<f64>() / self.centres.len() as f64;
        Ok(Some(Metrics { loss: mean, accuracy: None, examples: self.centres.len() }))
    }
}
