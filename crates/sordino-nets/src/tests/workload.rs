//! What any Burn module keeps as a workload, and what a task deals.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use sordino::base::Role;
use sordino::workload::{Batch, Deal, Draw, Split, Task as _, Workload as _};

use super::{blobs, draw};
use crate::{ImageBatch, ImageData, Mlp, Model, Outcome, Pass, Workload};

/// A module that is nobody's model here.
#[derive(Module, Debug)]
struct Own {
    first: Linear,
    norm: BatchNorm,
    last: Linear,
    unused: Option<Param<Tensor<1>>>,
}

impl Own {
    fn new(unused: bool) -> Self {
        let device = Device::default();
        Self {
            first: LinearConfig::new(16, 6).init(&device),
            norm: BatchNormConfig::new(6).init(&device),
            last: LinearConfig::new(6, 4).init(&device),
            unused: unused.then(|| Param::from_tensor(Tensor::zeros([3], &device))),
        }
    }

    fn loss(&self, batch: ImageBatch, _pass: &mut Pass) -> Outcome {
        let x = self.first.forward(batch.pixels.flatten::<2>(1, 3));
        Outcome::classes(self.last.forward(self.norm.forward(x).tanh()), batch.labels)
    }
}

#[test]
fn an_own_module_has_named_tensors_buffers_and_a_start_of_the_seed() {
    let mut w = Workload::new(Own::new(false), Own::loss, blobs(4)).unwrap();
    let named: Vec<_> = w.layout().tensors().map(|(t, _)| (t.name.clone(), t.shape.clone(), t.role)).collect();
    let row = |name: &str, shape: &[usize], role| (name.to_owned(), shape.to_vec(), role);
    assert_eq!(
        named,
        [
            row("first.weight", &[16, 6], Role::Weight),
            row("first.bias", &[6], Role::Bias),
            row("norm.gamma", &[6], Role::Norm),
            row("norm.beta", &[6], Role::Norm),
            row("last.weight", &[6, 4], Role::Weight),
            row("last.bias", &[4], Role::Bias),
        ]
    );
    let buffers: Vec<_> = w.layout().buffers().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(buffers, ["norm.running_mean", "norm.running_var"]);
    let start = w.start(1);
    assert_eq!(start, Workload::new(Own::new(false), Own::loss, blobs(4)).unwrap().start(1));
    assert_eq!(start.buffers, [[0.0; 6], [1.0; 6]].concat());
    assert_eq!(start.parameters[96 + 6..96 + 12], [1.0; 6]);

    // Running statistics are carried by the argument alone, and evaluation uses the ones it is given.
    let mut gradient = vec![0.0; w.layout().len()];
    let mut once = start.buffers.clone();
    w.gradient(&start.parameters, &mut once, &draw(0, 20), &mut gradient).unwrap();
    assert!(once.iter().zip(&start.buffers).all(|(a, b)| a != b));
    let mut twice = once.clone();
    w.gradient(&start.parameters, &mut twice, &draw(0, 20), &mut gradient).unwrap();
    let mut again = start.buffers.clone();
    w.gradient(&start.parameters, &mut again, &draw(0, 20), &mut gradient).unwrap();
    assert_eq!(once, again);
    let of =
        |w: &mut Workload<Own, ImageData>, b: &[f32]| w.evaluate(&start.parameters, b, Split::Test).unwrap().unwrap();
    assert_ne!(of(&mut w, &once).loss, of(&mut w, &twice).loss);
    assert_eq!(of(&mut w, &once), of(&mut w, &again));
}

#[test]
fn a_parameter_without_a_gradient_is_named() {
    let mut w = Workload::new(Own::new(true), Own::loss, blobs(4)).unwrap();
    let (start, mut gradient) = (w.start(0), vec![0.0; w.layout().len()]);
    let error = w.gradient(&start.parameters, &mut start.buffers.clone(), &draw(0, 8), &mut gradient).unwrap_err();
    assert!(error.to_string().contains("`unused`"), "{error}");
    let error = w.gradient(&start.parameters[1..], &mut start.buffers.clone(), &draw(0, 8), &mut gradient);
    assert!(error.unwrap_err().to_string().contains("same model"));
}

#[test]
fn one_parameter_under_two_names_is_refused() {
    let mut own = Own::new(false);
    own.last = own.first.clone();
    let error = Workload::new(own, Own::loss, blobs(4)).err().unwrap();
    assert!(error.to_string().contains("`last.weight`"), "{error}");
}

#[test]
fn a_task_deals_the_large_batch_to_its_workers() {
    let task = Mlp { hidden: vec![8], dropout: 0.0 }.task("blobs", blobs(4), Deal::Iid);
    let gradient = |client: u64, clients, rows| {
        let mut w = task.workload(clients, 0).unwrap();
        let (start, mut gradient) = (w.start(0), vec![0.0; w.layout().len()]);
        let draw = Draw { seed: 2, client, step: 3, batch: Batch::Rows(rows) };
        w.gradient(&start.parameters, &mut [], &draw, &mut gradient).unwrap();
        gradient
    };
    let (whole, a, b) = (gradient(0, 1, 16), gradient(0, 2, 8), gradient(1, 2, 8));
    for ((w, a), b) in whole.iter().zip(a).zip(b) {
        assert!((w - f32::midpoint(a, b)).abs() < 1e-5);
    }
    assert_eq!((task.rows(), task.name()), (200, "blobs"));
    let other = Mlp { hidden: vec![9], dropout: 0.0 }.task("blobs", blobs(4), Deal::Iid);
    assert_ne!(task.fingerprint(), other.fingerprint());
}

#[test]
fn a_batch_taken_in_parts_has_the_gradient_of_the_whole() {
    let (all, model) = (blobs(4), Mlp { hidden: vec![6], dropout: 0.0 });
    let rows = |times: usize| {
        let mut images = all.train().clone();
        images.pixels = images.pixels.repeat(times).into();
        images.labels = images.labels.repeat(times).into();
        ImageData::new(images, all.test().clone()).unwrap()
    };
    let full = |data: ImageData| {
        let mut w = model.workload(data).unwrap();
        let (start, mut gradient) = (w.start(0), vec![0.0; w.layout().len()]);
        let draw = Draw { seed: 0, client: 0, step: 0, batch: Batch::Full };
        let loss = w.gradient(&start.parameters, &mut [], &draw, &mut gradient).unwrap();
        (loss, gradient)
    };
    let ((loss, one), (repeated, parts)) = (full(rows(1)), full(rows(11)));
    assert!((loss - repeated).abs() < 1e-6);
    assert!(one.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-5));
}
