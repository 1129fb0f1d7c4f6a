//! A multi-layer perceptron with rectifiers.
//!
//! # The step
//! x₀ = pixels; xₗ₊₁ = dropout(max(0, xₗWₗ + bₗ)); logits = xW + b of the last layer
//!
//! # When it helps, when it hurts
//! The cheapest network here: on 8×8 digits a step of 32 rows is a tenth of a millisecond, and most of that is not
//! arithmetic. It wastes its parameters on large images.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};
use sordino::base::{Error, Result};

use super::linear;
use crate::crossing::Slot;
use crate::data::{ImageBatch, ImageData};
use crate::initial::{Rule, kaiming};
use crate::layered::{Layered, Layering, Told};
use crate::pass::{Outcome, Pass};
use crate::task::Model;

/// Linear layers with rectifiers between them, on images as flat vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// Widths of the hidden layers. Default: one of 128.
    pub hidden: Vec<usize>,
    /// Probability that a hidden unit is left out of a training pass. Default: 0.
    pub dropout: f64,
}

impl Default for Mlp {
    fn default() -> Self {
        Self { hidden: vec![128], dropout: 0.0 }
    }
}

/// The layers of an [`Mlp`].
#[derive(Module, Debug)]
pub struct Layers {
    layers: Vec<Linear>,
    dropout: f64,
}

impl Model for Mlp {
    type Module = Layers;
    type Data = ImageData;

    fn build(&self, data: &ImageData, device: &Device) -> Result<Layers> {
        let mut widths = vec![data.train().inputs()];
        widths.extend(&self.hidden);
        widths.push(data.train().classes);
        if widths.contains(&0) {
            return Err(Error::request(format!("an mlp with layers {widths:?} has an empty layer")));
        }
        let layers = widths.windows(2).map(|pair| linear(pair[0], pair[1], device)).collect();
        Ok(Layers { layers, dropout: self.dropout })
    }

    fn outcome(module: &Layers, batch: ImageBatch, pass: &mut Pass) -> Outcome {
        Self::whole(module, batch, pass)
    }

    fn layering() -> Option<Layering<Layers, ImageData>> {
        Some(Layering::of::<Self>())
    }

    fn rule(slot: &Slot) -> Rule {
        kaiming(slot)
    }
}

impl Layered for Mlp {
    type Inputs = Tensor<4>;

    fn layers(module: &Layers) -> Vec<Vec<String>> {
        (0..module.layers.len()).map(|at| vec![format!("layers.{at}")]).collect()
    }

    fn open(batch: ImageBatch) -> (Tensor<4>, Tensor<1, Int>) {
        (batch.pixels, batch.labels)
    }

    fn layer(module: &Layers, at: usize, told: Told<Tensor<4>>, pass: &mut Pass) -> Tensor<2> {
        let x = match told {
            Told::Inputs(pixels) => pixels.flatten(1, 3),
            Told::Activations(x) => x,
        };
        let x = module.layers[at].forward(x);
        if at + 1 == module.layers.len() { x } else { pass.dropout(relu(x), module.dropout) }
    }
}
