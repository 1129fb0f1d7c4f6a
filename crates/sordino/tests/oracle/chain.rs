//! A chain of dense layers cut into blocks, forward and backward written by hand: what the pipelines train.
//!
//! ```text
//! layer l:   a_{l+1} = tanh(W_l a_l) , without tanh for the last layer or where tanh is off
//! loss:      mean over the rows of ½ ‖a_L - target‖²
//! backward:  e_l = W_lᵀ (e_{l+1} ∘ (1 - a_{l+1}²)) ,  dW_l = Σ over rows (e_{l+1} ∘ (1 - a_{l+1}²)) a_lᵀ
//! ```

use super::inner::{Inner, State};
use std::ops::Range;

/// One vector a row of the batch.
pub type Rows = Vec<Vec<f64>>;

/// One matrix `W_l` a layer, `sizes[l+1] × sizes[l]`, row by row.
pub type Weights = Vec<Vec<f64>>;

/// What one step sees.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `a_0`.
    pub inputs: Rows,
    /// What `a_L` should be.
    pub targets: Rows,
}

/// The shape of the chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The lengths of `a_0` to `a_L`.
    pub sizes: Vec<usize>,
    /// Whether tanh stands between the layers.
    pub tanh: bool,
    /// The layers of every block, in order.
    pub blocks: Vec<Range<usize>>,
}

impl Chain {
    /// L layers of one number each, a block a layer: `½ (w_1 ... w_L a - target)²`.
    pub fn scalar(layers: usize) -> Self {
        Self { sizes: vec![1; layers + 1], tanh: false, blocks: (0..layers).map(|l| l..l + 1).collect() }
    }

    /// The same layers in blocks that end before these layers.
    pub fn cut(&self, ends: &[usize]) -> Self {
        let starts = std::iter::once(&0).chain(ends);
        Self { blocks: starts.zip(ends).map(|(&a, &b)| a..b).collect(), ..self.clone() }
    }

    fn bent(&self, l: usize) -> bool {
        self.tanh && l + 2 < self.sizes.len()
    }

    /// `a_{l+1}` of `a_l`.
    fn layer(&self, l: usize, w: &[f64], inputs: &Rows) -> Rows {
        let (n, m) = (self.sizes[l + 1], self.sizes[l]);
        let one = |a: &Vec<f64>, i: usize| {
            let z = (0..m).map(|j| w[i * m + j] * a[j]).sum::<f64>();
            if self.bent(l) { z.tanh() } else { z }
        };
        inputs.iter().map(|a| (0..n).map(|i| one(a, i)).collect()).collect()
    }

    /// What block k makes of its inputs.
    pub fn forward(&self, k: usize, weights: &Weights, inputs: &Rows) -> Rows {
        let mut a = inputs.clone();
        for l in self.blocks[k].clone() {
            a = self.layer(l, &weights[l], &a);
        }
        a
    }

    /// Block k once more from its inputs, then back: the gradients of its layers, and the errors of its inputs.
    pub fn backward(&self, k: usize, weights: &Weights, inputs: &Rows, errors: &Rows) -> (Weights, Rows) {
        let mut a = vec![inputs.clone()];
        for l in self.blocks[k].clone() {
            a.push(self.layer(l, &weights[l], &a[a.len() - 1]));
        }
        let (mut gradients, mut errors) = (Vec::new(), errors.clone());
        for l in self.blocks[k].clone().rev() {
            let (out, into) = (a.pop().unwrap(), &a[a.len() - 1]);
            let (n, m) = (self.sizes[l + 1], self.sizes[l]);
            let (mut gradient, mut before) = (vec![0.0; n * m], vec![vec![0.0; m]; into.len()]);
            for r in 0..into.len() {
                for i in 0..n {
                    let slope = if self.bent(l) { 1.0 - out[r][i] * out[r][i] } else { 1.0 };
                    let e = errors[r][i] * slope;
                    for j in 0..m {
                        gradient[i * m + j] += e * into[r][j];
                        before[r][j] += weights[l][i * m + j] * e;
                    }
                }
            }
            gradients.insert(0, gradient);
            errors = before;
        }
        (gradients, errors)
    }

    /// All blocks, one after the other.
    pub fn output(&self, weights: &Weights, inputs: &Rows) -> Rows {
        (0..self.blocks.len()).fold(inputs.clone(), |a, k| self.forward(k, weights, &a))
    }

    /// Back-propagation of a batch at one point: the gradients of all layers.
    pub fn gradient(&self, weights: &Weights, batch: &Batch) -> Weights {
        let mut a = vec![batch.inputs.clone()];
        for k in 0..self.blocks.len() {
            a.push(self.forward(k, weights, &a[k]));
        }
        let mut errors = error(&a[self.blocks.len()], &batch.targets);
        let mut out = Vec::new();
        for k in (0..self.blocks.len()).rev() {
            let (own, before) = self.backward(k, weights, &a[k], &errors);
            out.splice(0..0, own);
            errors = before;
        }
        out
    }

    /// The loss of a batch.
    pub fn loss(&self, weights: &Weights, batch: &Batch) -> f64 {
        let out = self.output(weights, &batch.inputs);
        let mut sum = 0.0;
        for r in 0..out.len() {
            for i in 0..out[r].len() {
                sum += 0.5 * (out[r][i] - batch.targets[r][i]).powi(2);
            }
        }
        sum / out.len() as f64
    }
}

/// The errors of the outputs: the gradient of the loss by `a_L`.
pub fn error(outputs: &Rows, targets: &Rows) -> Rows {
    let scale = outputs.len() as f64;
    outputs.iter().zip(targets).map(|(a, t)| (0..a.len()).map(|i| (a[i] - t[i]) / scale).collect()).collect()
}

/// One optimizer a layer.
pub fn states(weights: &Weights) -> Vec<State> {
    weights.iter().map(|w| State::new(w.len())).collect()
}

/// A step of these layers.
pub fn step(
    (states, inner, rate): (&mut [State], Inner, f64),
    weights: &mut Weights,
    layers: Range<usize>,
    gradients: &[Vec<f64>],
) {
    for (l, g) in layers.zip(gradients) {
        states[l].step(inner, rate, &mut weights[l], g);
    }
}
