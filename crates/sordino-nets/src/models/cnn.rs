//! A small convolutional network.
//!
//! # The step
//! xₗ₊₁ = max(0, pool(xₗ ∗ Kₗ + bₗ)) for each block; logits = max(0, xW + b)·W′ + b′
//!
//! # Contract
//! Each block halves the height and width, rounding down; images that would vanish are refused.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Int, Tensor};
use sordino::base::{Error, Result};

use super::{convolution, linear};
use crate::crossing::Slot;
use crate::data::{ImageBatch, ImageData};
use crate::initial::{Rule, kaiming};
use crate::layered::{Layered, Layering, Told};
use crate::pass::{Outcome, Pass};
use crate::task::Model;

/// Blocks of 3×3 convolution, rectifier and 2×2 max-pooling, then one hidden layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Cnn {
    /// Channels of the blocks. Default: 16 and 32.
    pub channels: Vec<usize>,
    /// Width of the hidden layer. Default: 64.
    pub hidden: usize,
    /// Probability that a hidden unit is left out of a training pass. Default: 0.
    pub dropout: f64,
}

impl Default for Cnn {
    fn default() -> Self {
        Self { channels: vec![16, 32], hidden: 64, dropout: 0.0 }
    }
}

/// The layers of a [`Cnn`].
#[derive(Module, Debug)]
pub struct Layers {
    convolutions: Vec<Conv2d>,
    hidden: Linear,
    output: Linear,
    dropout: f64,
    /// Height and width of the images.
    size: [usize; 2],
}

impl Model for Cnn {
    type Module = Layers;
    type Data = ImageData;

    fn build(&self, data: &ImageData, device: &Device) -> Result<Layers> {
        let images = data.train();
        let blocks = self.channels.len();
        let (height, width) = (images.height >> blocks, images.width >> blocks);
        if height * width == 0 || self.channels.contains(&0) || self.hidden == 0 {
            return Err(Error::request(format!(
                "a cnn with channels {:?} and {} hidden units leaves nothing of {}×{} images",
                self.channels, self.hidden, images.height, images.width
            )));
        }
        let mut channels = vec![images.channels];
        channels.extend(&self.channels);
        Ok(Layers {
            convolutions: channels.windows(2).map(|pair| convolution(pair[0], pair[1], 1, true, device)).collect(),
            hidden: linear(channels[blocks] * height * width, self.hidden, device),
            output: linear(self.hidden, images.classes, device),
            dropout: self.dropout,
            size: [images.height, images.width],
        })
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

impl Layered for Cnn {
    type Inputs = Tensor<4>;

    fn layers(module: &Layers) -> Vec<Vec<String>> {
        let blocks = (0..module.convolutions.len()).map(|at| format!("convolutions.{at}"));
        blocks.chain(["hidden".into(), "output".into()]).map(|path| vec![path]).collect()
    }

    fn open(batch: ImageBatch) -> (Tensor<4>, Tensor<1, Int>) {
        (batch.pixels, batch.labels)
    }

    fn layer(module: &Layers, at: usize, told: Told<Tensor<4>>, pass: &mut Pass) -> Tensor<2> {
        let blocks = module.convolutions.len();
        if let Some(convolution) = module.convolutions.get(at) {
            let x = match told {
                Told::Inputs(pixels) => pixels,
                Told::Activations(x) => {
                    let ([n, numbers], [height, width]) = (x.dims(), module.size.map(|side| side >> at));
                    x.reshape([n, numbers / (height * width), height, width])
                }
            };
            return relu(max_pool2d(convolution.forward(x), MaxPoolOptions::new([2, 2]))).flatten(1, 3);
        }
        let x = match told {
            Told::Inputs(pixels) => pixels.flatten(1, 3),
            Told::Activations(x) => x,
        };
        if at == blocks {
            pass.dropout(relu(module.hidden.forward(x)), module.dropout)
        } else {
            module.output.forward(x)
        }
    }
}
