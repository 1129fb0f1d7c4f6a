//! A character model with one LSTM layer.
//!
//! # The step
//! i, f, o, g = embedding(cₜ)·W + b + hₜ₋₁·Rᵀ, then σ(i), σ(f), σ(o), tanh(g)
//! sₜ = f·sₜ₋₁ + i·g; hₜ = o·tanh(sₜ); logits = dropout(hₜ)·V + v
//!
//! # When it helps, when it hurts
//! Few parameters for what it learns, and plain steps train it well at a rate of about 1. Its time steps follow one
//! another, so small batches cost nearly as much as larger ones.
//!
//! # Reference
//! Hochreiter, Schmidhuber: Long Short-Term Memory, 1997; with forget gates (Gers et al. 2000).

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Int, Tensor};
use sordino::base::{Error, Result};

use super::linear;
use crate::crossing::Slot;
use crate::data::{Text, TextBatch};
use crate::initial::{Rule, usual};
use crate::layered::{Layered, Layering, Told};
use crate::pass::{Outcome, Pass};
use crate::sample::Sample;
use crate::task::Model;

/// Embedding, one LSTM layer that begins each window at zero, and a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct CharLstm {
    /// Width of a character's embedding. Default: 32.
    pub embedding: usize,
    /// Width of the hidden state. Default: 128.
    pub hidden: usize,
    /// Probability that a unit is left out between the LSTM and the output. Default: 0.
    pub dropout: f64,
}

impl Default for CharLstm {
    fn default() -> Self {
        Self { embedding: 32, hidden: 128, dropout: 0.0 }
    }
}

/// The layers of a [`CharLstm`]. Gates stand side by side: input, forget, output, candidate.
#[derive(Module, Debug)]
pub struct Layers {
    embedding: Param<Tensor<2>>,
    input: Linear,
    recurrent: Param<Tensor<2>>,
    output: Linear,
    dropout: f64,
}

/// tanh x = 2σ(2x) − 1; the CPU backend's own tanh takes four times as long as its σ.
fn tanh(x: Tensor<2>) -> Tensor<2> {
    sigmoid(x * 2.0) * 2.0 - 1.0
}

impl Layers {
    /// Hidden states, a line for each window.
    fn states(&self, codes: &Tensor<2, Int>) -> Tensor<2> {
        let [n, length] = codes.dims();
        let [_, width] = self.recurrent.dims();
        // There are fewer characters than positions: each is multiplied into the gates once, and looked up.
        let table = self.input.forward(self.embedding.val());
        // Held transposed: so the product that each time step repeats needs no repacking of it.
        let recurrent = self.recurrent.val().transpose();
        let mut state: Option<(Tensor<2>, Tensor<2>)> = None;
        let mut outputs = Vec::with_capacity(length);
        for t in 0..length {
            let inputs = table.clone().select(0, codes.clone().narrow(1, t, 1).reshape([n]));
            let gates = match &state {
                Some((_, hidden)) => inputs + hidden.clone().matmul(recurrent.clone()),
                None => inputs,
            };
            let [open, forget, out, candidate] = [0, 1, 2, 3].map(|gate| gates.clone().narrow(1, gate * width, width));
            let fresh = sigmoid(open) * tanh(candidate);
            let cell = match state {
                Some((cell, _)) => sigmoid(forget) * cell + fresh,
                None => fresh,
            };
            let hidden = sigmoid(out) * tanh(cell.clone());
            outputs.push(hidden.clone().reshape([n, 1, width]));
            state = Some((cell, hidden));
        }
        Tensor::cat(outputs, 1).reshape([n, length * width])
    }
}

impl Model for CharLstm {
    type Module = Layers;
    type Data = Text;

    fn build(&self, data: &Text, device: &Device) -> Result<Layers> {
        let Self { embedding, hidden, dropout } = *self;
        if embedding * hidden == 0 {
            return Err(Error::request("an lstm needs a positive embedding and hidden width"));
        }
        let symbols = data.symbols().len();
        Ok(Layers {
            embedding: Param::from_tensor(Tensor::zeros([symbols, embedding], device)),
            input: linear(embedding, 4 * hidden, device),
            recurrent: Param::from_tensor(Tensor::zeros([4 * hidden, hidden], device)),
            output: linear(hidden, symbols, device),
            dropout,
        })
    }

    fn outcome(module: &Layers, batch: TextBatch, pass: &mut Pass) -> Outcome {
        Self::whole(module, batch, pass)
    }

    fn layering() -> Option<Layering<Layers, Text>> {
        Some(Layering::of::<Self>())
    }

    fn rule(slot: &Slot) -> Rule {
        match (slot.leaf(), slot.tensor.shape.as_slice()) {
            ("embedding", _) => Rule::Normal(1.0),
            ("recurrent", [_, hidden]) => Rule::Uniform(1.0 / (*hidden as f32).sqrt()),
            _ => usual(slot),
        }
    }
}

impl Sample for CharLstm {
    fn logits(module: &Layers, codes: Tensor<2, Int>, pass: &mut Pass) -> Tensor<2> {
        <Self as Layered>::logits(module, codes, pass)
    }
}

impl Layered for CharLstm {
    type Inputs = Tensor<2, Int>;

    /// All of the recurrence, and the output.
    fn layers(_: &Layers) -> Vec<Vec<String>> {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        vec![paths(&["embedding", "input", "recurrent"]), paths(&["output"])]
    }

    fn open(batch: TextBatch) -> (Tensor<2, Int>, Tensor<1, Int>) {
        (batch.codes, batch.answers)
    }

    fn layer(module: &Layers, _: usize, told: Told<Tensor<2, Int>>, pass: &mut Pass) -> Tensor<2> {
        match told {
            Told::Inputs(codes) => module.states(&codes),
            Told::Activations(x) => {
                let ([n, numbers], width) = (x.dims(), module.output.weight.dims()[0]);
                module.output.forward(pass.dropout(x.reshape([n * numbers / width, width]), module.dropout))
            }
        }
    }
}
