//! ResNet-20, the residual network for small images.
//!
//! # Reference
//! He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2016, section 4.2.
//!
//! # Deviations from the paper
//! Running variances are those of the batch, not the unbiased ones. No padding or flipping of the images.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, s};
use sordino::base::{Error, Result};

use super::{convolution, linear};
use crate::crossing::Slot;
use crate::data::{ImageBatch, ImageData};
use crate::initial::{Rule, kaiming};
use crate::pass::{Outcome, Pass};
use crate::task::Model;

/// Three stages of three blocks of two convolutions, of `width`, 2·`width` and 4·`width` channels.
///
/// Shortcuts are the paper's option A: where the size halves they take every second pixel and fill the new channels
/// with zeros. Running means and variances of the 19 batch normalisations are buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet20 {
    /// Channels of the first stage. Default: 16.
    pub width: usize,
}

impl Default for ResNet20 {
    fn default() -> Self {
        Self { width: 16 }
    }
}

/// A convolution with its normalisation.
#[derive(Module, Debug)]
struct Normed {
    convolution: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        Self {
            convolution: convolution(inputs, outputs, stride, false, device),
            norm: BatchNormConfig::new(outputs).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.convolution.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Normed,
    second: Normed,
    stride: usize,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.second.forward(relu(self.first.forward(x.clone())));
        relu(inner + self.shortcut(x))
    }

    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        if self.stride == 1 {
            return x;
        }
        let x = x.slice(s![.., .., ..;2, ..;2]);
        let zeros = x.zeros_like();
        Tensor::cat(vec![x, zeros], 1)
    }
}

/// The layers of a [`ResNet20`].
#[derive(Module, Debug)]
pub struct Layers {
    stem: Normed,
    blocks: Vec<Block>,
    output: Linear,
}

impl Layers {
    fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let x = self.blocks.iter().fold(relu(self.stem.forward(pixels)), |x, block| block.forward(x));
        let [n, channels, height, width] = x.dims();
        let pooled = x.reshape([n, channels, height * width]).mean_dim(2).reshape([n, channels]);
        self.output.forward(pooled)
    }
}

impl Model for ResNet20 {
    type Module = Layers;
    type Data = ImageData;

    fn build(&self, data: &ImageData, device: &Device) -> Result<Layers> {
        let images = data.train();
        let width = self.width;
        if width == 0 || images.height < 4 || images.width < 4 {
            return Err(Error::request("resnet-20 needs a positive width and images of at least 4×4"));
        }
        let block = |inputs: usize, outputs: usize| {
            let stride = outputs / inputs;
            Block {
                first: Normed::new(inputs, outputs, stride, device),
                second: Normed::new(outputs, outputs, 1, device),
                stride,
            }
        };
        let inputs = [1, 1, 1, 1, 2, 2, 2, 4, 4].map(|k| k * width);
        let outputs = [1, 1, 1, 2, 2, 2, 4, 4, 4].map(|k| k * width);
        Ok(Layers {
            stem: Normed::new(images.channels, width, 1, device),
            blocks: inputs.into_iter().zip(outputs).map(|(i, o)| block(i, o)).collect(),
            output: linear(4 * width, images.classes, device),
        })
    }

    fn outcome(module: &Layers, batch: ImageBatch, _pass: &mut Pass) -> Outcome {
        Outcome::classes(module.forward(batch.pixels), batch.labels)
    }

    fn rule(slot: &Slot) -> Rule {
        kaiming(slot)
    }
}
