//! A Burn module of one's own as a workload, trained by plain steps on the flat vector.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::tanh};
use sordino::base::{Result, Stream, Use, flat};
use sordino::workload::{Batch, Draw, Split, Workload as _};
use sordino_nets::{ImageBatch, ImageData, Images, Outcome, Workload};

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self { hidden: LinearConfig::new(16, 32).init(device), output: LinearConfig::new(32, 2).init(device) }
    }

    fn loss(&self, batch: ImageBatch) -> Outcome {
        let pixels: Tensor<2> = batch.pixels.flatten(1, 3);
        Outcome::classes(self.output.forward(tanh(self.hidden.forward(pixels))), batch.labels)
    }
}

fn main() -> Result<()> {
    let net = Net::new(&Device::default());
    let mut workload = Workload::new(net, |net: &Net, batch, _| net.loss(batch), stripes()?)?;

    let start = workload.start(0);
    let (mut x, mut buffers, mut gradient) = (start.parameters, start.buffers, vec![0.0; workload.layout().len()]);
    for step in 0..200 {
        let draw = Draw { seed: 0, client: 0, step, batch: Batch::Rows(32) };
        workload.gradient(&x, &mut buffers, &draw, &mut gradient)?;
        flat::add_scaled(&mut x, -0.1, &gradient);
    }
    for (tensor, _) in workload.layout().tensors() {
        println!("{:<16} {:?}", tensor.name, tensor.shape);
    }
    println!("{:?}", workload.evaluate(&x, &buffers, Split::Test)?);
    Ok(())
}

/// 4×4 pictures of noise: is the upper half brighter than the lower?
fn stripes() -> Result<ImageData> {
    let set = |index: u64, n: usize| {
        let mut noise = Stream::new(0, Use::Problem, 0, index);
        let pixels: Vec<f32> = (0..n * 16).map(|_| noise.normal()).collect();
        let labels = pixels.chunks(16).map(|p| u32::from(p[..8].iter().sum::<f32>() > p[8..].iter().sum())).collect();
        Images { pixels: pixels.into(), labels, channels: 1, height: 4, width: 4, classes: 2 }
    };
    ImageData::new(set(0, 2000), set(1, 500))
}
