//! A Burn module of one's own under a named method, with everything `sordino run` does: recorded, counted, reported.
//!
//! `cargo run --release -p sordino-cli --example own_module`

use std::sync::Arc;

use sordino::base::{Stream, Use};
use sordino::fabric::{Clock, Still};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Deal, Task as _};
use sordino_lab::experiment::{self, Header, Nobody, Plan};
use sordino_nets::burn::nn::{Linear, LinearConfig};
use sordino_nets::burn::tensor::{Device, activation::tanh};
use sordino_nets::burn::{self, module::Module};
use sordino_nets::{ImageBatch, ImageData, Images, Model, Outcome, Pass};

/// The module: two linear layers.
#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

/// Its configuration, which builds it for given data and says what its loss is.
#[derive(Clone, Debug)]
struct Width(usize);

impl Model for Width {
    type Module = Net;
    type Data = ImageData;

    fn build(&self, data: &ImageData, device: &Device) -> sordino::Result<Net> {
        let (inputs, classes) = (data.train().inputs(), data.train().classes);
        Ok(Net {
            first: LinearConfig::new(inputs, self.0).init(device),
            second: LinearConfig::new(self.0, classes).init(device),
        })
    }

    fn outcome(net: &Net, batch: ImageBatch, _: &mut Pass) -> Outcome {
        Outcome::classes(net.second.forward(tanh(net.first.forward(batch.pixels.flatten(1, 3)))), batch.labels)
    }
}

/// Images whose brighter half is their class.
fn halves(n: usize) -> Images {
    let mut stream = Stream::new(1, Use::Problem, n as u64, 0);
    let labels: Vec<u32> = (0..n).map(|_| stream.below(2) as u32).collect();
    let pixel = |label: u32, i: u32, noise: f32| noise - 0.5 + if (i < 8) == (label == 0) { 0.4 } else { 0.0 };
    let pixels: Vec<f32> = labels
        .iter()
        .flat_map(|l| (0..16).map(|i| (*l, i)).collect::<Vec<_>>())
        .map(|(l, i)| pixel(l, i, stream.uniform()))
        .collect();
    Images { pixels: pixels.into(), labels: labels.into(), channels: 1, height: 4, width: 4, classes: 2 }
}

fn main() -> sordino::Result<()> {
    let task = Width(8).task("halves", ImageData::new(halves(800), halves(200))?, Deal::Iid);
    let mut recipe = Recipe::named("saef")?;
    recipe.resolve(&Defaults { sgd_rate: 0.2, ..Defaults::default() })?;
    check(&recipe)?;
    let plan = Plan {
        recipe,
        workers: 4,
        seed: 0,
        steps: 100,
        batch_rows: 32,
        until_loss: None,
        eval_every: 10,
        checkpoint_every: None,
        out: None, // a folder here would get the record, checkpoints and the model
        resume: false,
        replay: None,
        header: Header { data_hash: task.fingerprint(), ..Header::default() },
        environment: std::collections::BTreeMap::new(),
        cores: 0,
    };
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let ended = experiment::run(&task, &plan, &clock, &Nobody)?;
    let s = &ended.summary;
    let fewer = s.times_fewer_bytes().unwrap_or(f64::NAN);
    println!("accuracy {:.3}, {} bytes a worker, {fewer:.1} times fewer", s.accuracy.unwrap_or(f64::NAN), s.bytes());
    Ok(())
}
