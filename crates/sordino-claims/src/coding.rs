//! Compressors by themselves, on gradients of a task.
//!
//! # The step
//! ```text
//! x₀ the task's start, plain SGD at the task's rate;  v = a worker's mini-batch gradient at x₀, x₅₀, x₂₀₀
//! error = mean ‖C(v) − v‖²/‖v‖²      bias = mean ‖(1/64) Σ C(v) − v‖²/‖v‖²      bits = 8·bytes/d
//! ```

use anyhow::Context;
use sordino::base::{Layout, Reader, Stream, Use, Writer, flat};
use sordino::compress::{self, Coding};
use sordino::grammar::Element;
use sordino::workload::Draw;
use sordino_tasks::clock;
use sordino_tasks::plans::{self, Planned};

use crate::claim::{Arm, Claim};
use crate::figure::Figure;

/// At which steps of plain SGD gradients are taken.
const AT: [u64; 3] = [0, 50, 200];
/// Codings of one vector whose mean is taken.
const CODINGS: u64 = 64;

/// Gradients of a claim's task for one seed.
pub struct Gradients {
    layout: Layout,
    vectors: Vec<Vec<f32>>,
}

impl Gradients {
    /// Takes them.
    pub fn take(claim: &Claim, seed: u64) -> anyhow::Result<Self> {
        let arm = Arm {
            name: String::new(),
            recipe: "sync-sgd".into(),
            search: false,
            task: None,
            workers: None,
            steps: Some(201),
        };
        let Planned { plan, made, .. } = plans::plan(&arm.recipe, &claim.wish(&arm), seed)?;
        let parts = plan.recipe.build(clock::real())?;
        let rate = plan.recipe.choice("optim")?.named.get("rate").context("sync-sgd has a rate")?.to_string();
        let rate: f32 = rate.parse().with_context(|| format!("the rate {rate}"))?;
        let mut workload = made.task.workload(plan.workers, seed)?;
        let layout = workload.layout().clone();
        let start = workload.start(seed);
        let (mut x, mut buffers) = (start.parameters, start.buffers);
        let (mut vectors, mut gradient) = (Vec::new(), vec![0.0; x.len()]);
        for step in 0..=AT[AT.len() - 1] {
            let mut step_along = vec![0.0; x.len()];
            for client in 0..plan.workers as u64 {
                let draw = Draw { seed, client, step, batch: parts.batch };
                workload.gradient(&x, &mut buffers, &draw, &mut gradient)?;
                flat::add_scaled(&mut step_along, 1.0 / plan.workers as f32, &gradient);
                if AT.contains(&step) {
                    vectors.push(gradient.clone());
                }
            }
            flat::add_scaled(&mut x, -rate, &step_along);
        }
        Ok(Self { layout, vectors })
    }

    /// What a compressor makes of them.
    pub fn figure(&self, compressor: &str, figure: &Figure, seed: u64) -> anyhow::Result<f64> {
        let element = Element::parse(compressor)?;
        let mut sum = 0.0;
        for (at, v) in self.vectors.iter().enumerate() {
            let mut code = compress::build(&element)?;
            let (mut said, mut out) = (vec![0.0f32; v.len()], Writer::new());
            let mut coded = |round: u64, said: &mut [f32]| -> anyhow::Result<usize> {
                let stream = Stream::new(seed, Use::Encode, at as u64, round);
                let shared = Stream::new(seed, Use::Shared, 0, round);
                out.clear();
                code.encode(v, &Coding { layout: &self.layout, stream: &stream, shared: &shared }, &mut out)?;
                code.decode(&mut Reader::new(out.bytes()), &self.layout, said)?;
                Ok(out.bytes().len())
            };
            sum += match figure {
                Figure::Bits => 8.0 * coded(0, &mut said)? as f64 / v.len() as f64,
                Figure::CodecError => {
                    coded(0, &mut said)?;
                    relative(said.iter().map(|x| f64::from(*x)), v)
                }
                Figure::CodecBias => {
                    let mut mean = vec![0.0f64; v.len()];
                    for round in 0..CODINGS {
                        coded(round, &mut said)?;
                        mean.iter_mut().zip(&said).for_each(|(m, x)| *m += f64::from(*x) / CODINGS as f64);
                    }
                    relative(mean.into_iter(), v)
                }
                other => anyhow::bail!(
                    "{other:?} is no figure of a compressor by itself: use codec_error, codec_bias or bits"
                ),
            };
        }
        Ok(sum / self.vectors.len() as f64)
    }
}

/// ‖said − v‖²/‖v‖².
fn relative(said: impl Iterator<Item = f64>, v: &[f32]) -> f64 {
    let missed: f64 = said.zip(v).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
    missed / v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
}
