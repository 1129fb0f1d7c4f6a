//! The networks, one a file: its configuration, its module and its forward pass.

mod cnn;
mod lstm;
mod mlp;
mod resnet;
mod transformer;

pub use cnn::Cnn;
pub use lstm::CharLstm;
pub use mlp::Mlp;
pub use resnet::ResNet20;
pub use transformer::CharTransformer;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::Device;

/// A linear layer that draws nothing: the workload's rule fills it.
fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device)
}

/// A 3×3 convolution that keeps the size (or halves it with stride 2) and draws nothing.
fn convolution(inputs: usize, outputs: usize, stride: usize, bias: bool, device: &Device) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}
