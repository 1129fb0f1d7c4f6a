//! One pass through a model: what a loss is given besides a batch, and what it gives back.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use sordino::base::Stream;

/// Whether this pass trains, and the randomness it may use.
///
/// # Contract
/// Everything random in a forward pass is drawn from here, in the order of the calls: Burn's own generator is one
/// stream shared by all threads, so a mask taken from it would depend on what other workers do.
#[derive(Clone, Debug)]
pub struct Pass {
    noise: Option<Stream>,
}

impl Pass {
    /// A training pass with its stream of noise.
    pub fn training(noise: Stream) -> Self {
        Self { noise: Some(noise) }
    }

    /// A pass in evaluation mode.
    pub fn evaluation() -> Self {
        Self { noise: None }
    }

    /// Whether this pass trains.
    pub fn is_training(&self) -> bool {
        self.noise.is_some()
    }

    /// The stream of noise while training; `None` in evaluation.
    pub fn noise(&mut self) -> Option<&mut Stream> {
        self.noise.as_mut()
    }

    /// Sets each entry to zero with probability `rate` and divides the others by 1 − `rate`; the identity in
    /// evaluation and at rate 0.
    #[must_use]
    pub fn dropout<const D: usize>(&mut self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        let Some(noise) = self.noise.as_mut().filter(|_| rate > 0.0) else { return x };
        let shape = x.dims();
        let (rate, kept) = (rate as f32, (1.0 / (1.0 - rate)) as f32);
        let mask: Vec<f32> =
            (0..shape.iter().product()).map(|_| if noise.uniform() < rate { 0.0 } else { kept }).collect();
        let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
        x * mask
    }
}

/// What a loss says about one batch.
#[derive(Debug)]
pub struct Outcome {
    pub(crate) loss: Tensor<1>,
    answers: Option<(Tensor<2>, Tensor<1, Int>)>,
}

impl Outcome {
    /// A mean loss over the batch's examples, of a task without right answers.
    pub fn loss(loss: Tensor<1>) -> Self {
        Self { loss, answers: None }
    }

    /// Mean cross-entropy in nats of n×classes `logits` against n right answers.
    pub fn classes(logits: Tensor<2>, answers: Tensor<1, Int>) -> Self {
        let n = answers.dims()[0];
        let chosen = log_softmax(logits.clone(), 1).gather(1, answers.clone().reshape([n, 1]));
        Self { loss: chosen.mean().neg(), answers: Some((logits, answers)) }
    }

    /// The loss alone.
    pub fn into_loss(self) -> Tensor<1> {
        self.loss
    }

    /// How many answers were given and how many of them are right; ties go to the lower class.
    pub(crate) fn right(self) -> Option<(usize, usize)> {
        let (logits, answers) = self.answers?;
        let n = answers.dims()[0];
        let guessed = logits.argmax(1).reshape([n]);
        Some((n, guessed.equal(answers).int().sum().into_scalar::<i64>() as usize))
    }
}
