//! A network that is to be fooled: one perturbation for all images, found through the network's outputs alone.
//!
//! # What it does
//! Adds x to every image, cuts the sum to valid pixels, and measures by how much the network still prefers the right
//! class. The network is an MLP that is trained when the task is made, always to the same numbers.
//!
//! # The step
//! m = log p_y(clip(image + x)) − max over j ≠ y of log p_j(clip(image + x))
//! loss = mean of max(0, m) (hinge) or of log(1 + exp(m)) (logistic); accuracy: how many images have m < 0
//!
//! # Contract
//! Losses alone are known: who asks for a gradient is told so. Sums run in f64. From x = 0. Where x is bounded or sparse
//! that is the optimizer's business: `optim.prox=l1(0.001, low=-0.3, high=0.3)`.

use std::sync::Arc;

use sordino::base::{Layout, Role, Tensor, flat};
use sordino::workload::{Batch, Deal, Draw, EVALUATED_ROWS, Metrics, Rows, Split, Start, Task, Workload};
use sordino::{Error, Result};
use sordino_lab::data::ImageSet;
use sordino_nets::{ImageData, Mlp, Model};

/// How the network is trained: the seed, steps of so many rows, at this rate with this momentum.
const SEED: u64 = 1;
const STEPS: u64 = 1200;
const BATCH: usize = 32;
const RATE: f32 = 0.05;
const MOMENTUM: f32 = 0.9;

/// What the loss is of the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Margin {
    /// max(0, m)
    Hinge,
    /// log(1 + exp(m))
    Logistic,
}

/// A layer of the network, x ↦ xW + b.
struct Linear {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// What is known of the network and of images.
struct Inner {
    name: &'static str,
    images: ImageSet,
    layers: Vec<Linear>,
    margin: Margin,
    data: u64,
}

/// The task.
pub struct Fool {
    inner: Arc<Inner>,
    deal: Deal,
}

impl Fool {
    /// Against a network trained on `train`, on the images of `images`, dealt as told.
    pub fn new(name: &'static str, train: ImageData, images: ImageSet, margin: Margin, deal: Deal) -> Result<Self> {
        let (layers, data) = victim(train)?;
        Ok(Self { inner: Arc::new(Inner { name, images, layers, margin, data }), deal })
    }
}

/// Trains the network; its layers, and a hash of them.
fn victim(data: ImageData) -> Result<(Vec<Linear>, u64)> {
    let mut network = Mlp::default().workload(data)?;
    let Start { parameters: mut x, mut buffers } = network.start(SEED);
    let (mut gradient, mut momentum) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for step in 0..STEPS {
        let draw = Draw { seed: SEED, client: 0, step, batch: Batch::Rows(BATCH) };
        network.gradient(&x, &mut buffers, &draw, &mut gradient)?;
        flat::scale(&mut momentum, MOMENTUM);
        flat::add(&mut momentum, &gradient);
        flat::add_scaled(&mut x, -RATE, &momentum);
    }
    let mut layers = Vec::new();
    let mut tensors = network.layout().tensors().map(|(_, range)| x[range].to_vec());
    while let (Some(weights), Some(bias)) = (tensors.next(), tensors.next()) {
        layers.push(Linear { weights, bias });
    }
    Ok((layers, flat::fingerprint(&x)))
}

impl Inner {
    fn labels(&self, split: Split) -> &[u32] {
        if split == Split::Train { &self.images.train_labels } else { &self.images.test_labels }
    }

    /// By how much the network prefers the right class of an image with `x` added.
    fn preference(&self, split: Split, row: usize, x: &[f32]) -> f64 {
        let pixels = if split == Split::Train { &self.images.train_pixels } else { &self.images.test_pixels };
        let image = &pixels[row * x.len()..][..x.len()];
        let mut signal: Vec<f64> =
            image.iter().zip(x).map(|(p, x)| (f64::from(*p) + f64::from(*x)).clamp(0.0, 1.0)).collect();
        for (i, layer) in self.layers.iter().enumerate() {
            let mut out: Vec<f64> = layer.bias.iter().map(|b| f64::from(*b)).collect();
            for (s, weights) in signal.iter().zip(layer.weights.chunks(out.len())).filter(|(s, _)| **s != 0.0) {
                for (o, w) in out.iter_mut().zip(weights) {
                    *o += s * f64::from(*w);
                }
            }
            if i + 1 < self.layers.len() {
                for o in &mut out {
                    *o = o.max(0.0);
                }
            }
            signal = out;
        }
        // The logarithm of the sum of exponentials is the same for both classes.
        let label = self.labels(split)[row] as usize;
        let others = signal.iter().enumerate().filter(|(class, _)| *class != label);
        signal[label] - others.map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max)
    }

    fn metrics(&self, split: Split, rows: impl Iterator<Item = usize>, x: &[f32]) -> Metrics {
        let (mut loss, mut fooled, mut examples) = (0.0, 0, 0usize);
        for row in rows {
            let m = self.preference(split, row, x);
            loss += match self.margin {
                Margin::Hinge => m.max(0.0),
                Margin::Logistic => m.max(0.0) + (-m.abs()).exp().ln_1p(),
            };
            fooled += usize::from(m < 0.0);
            examples += 1;
        }
        let n = examples.max(1) as f64;
        Metrics { loss: loss / n, accuracy: Some(fooled as f64 / n), examples }
    }
}

impl Task for Fool {
    fn name(&self) -> &str {
        self.inner.name
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        let size = [self.inner.images.height, self.inner.images.width];
        let layout = Layout::new([Tensor::new("perturbation", &size, Role::Weight)]);
        Ok(Box::new(Outputs {
            inner: Arc::clone(&self.inner),
            rows: self.deal.rows(Task::rows(self), clients)?,
            layout,
        }))
    }

    fn rows(&self) -> usize {
        self.inner.images.train_labels.len()
    }

    fn fingerprint(&self) -> u64 {
        self.inner.data ^ self.inner.margin as u64
    }
}

struct Outputs {
    inner: Arc<Inner>,
    rows: Rows,
    layout: Layout,
}

impl Workload for Outputs {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![0.0; self.layout.len()], buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, _: &[f32], _: &mut [f32], _: &Draw, _: &mut [f32]) -> Result<f64> {
        Err(Error::request(format!(
            "task {} knows a network's outputs and no gradients; use zo-proxsgd, zo-proxsvrg, zo-proxsaga or zo-seeded, or \
             set local.estimate=coosge",
            self.inner.name
        )))
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        let rows = self.rows.pick(draw)?.iter().map(|row| *row as usize);
        Ok(self.inner.metrics(Split::Train, rows, x).loss)
    }

    fn evaluate_client(&mut self, x: &[f32], _: &[f32], client: u64) -> Result<Option<Metrics>> {
        let rows = self.rows.pick(&Draw { seed: 0, client, step: 0, batch: Batch::Full })?;
        Ok(Some(self.inner.metrics(Split::Train, rows.iter().map(|row| *row as usize), x)))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        Ok(Some(self.inner.metrics(split, 0..self.inner.labels(split).len().min(EVALUATED_ROWS), x)))
    }
}

#[cfg(test)]
mod tests {
    use sordino::grammar::Element;

    use super::*;

    fn task() -> Box<dyn Task> {
        let entry = super::super::entry("fool-digits-mlp").unwrap();
        entry.make(&Element::word("fool-digits-mlp"), &Element::word("iid"), 2, 0, None, 0).unwrap().task
    }

    #[test]
    fn without_a_perturbation_few_are_fooled_and_noise_fools_few_more() {
        let mut outputs = task().workload(2, 0).unwrap();
        for split in [Split::Train, Split::Test] {
            let clean = outputs.evaluate(&[0.0; 64], &[], split).unwrap().unwrap();
            assert!(clean.accuracy.unwrap() < 0.05 && clean.loss > 3.0, "{clean:?}");
            let grey = outputs.evaluate(&[1.0; 64], &[], split).unwrap().unwrap();
            assert!(grey.accuracy.unwrap() > 0.8, "images that are all white tell nothing: {grey:?}");
        }
        let refusal = outputs
            .gradient(&[0.0; 64], &mut [], &Draw { seed: 0, client: 0, step: 0, batch: Batch::Full }, &mut [0.0; 64])
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("no gradients; use zo-proxsgd"), "{refusal}");
    }

    #[test]
    fn the_network_is_the_same_each_time() {
        assert_eq!(task().fingerprint(), task().fingerprint());
    }
}
