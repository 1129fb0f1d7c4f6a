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
fn a_loss_alone_is_the_one_beside_the_gradient_and_leaves_no_trace() {
    let mut w = Workload::new(Own::new(false), Own::loss, blobs(4)).unwrap();
    let (start, mut gradient) = (w.start(3), vec![0.0; w.layout().len()]);
    for batch in [Batch::Rows(20), Batch::Row(3), Batch::Full] {
        let here = Draw { batch, ..draw(1, 20) };
        let look = |w: &mut Workload<Own, ImageData>, gradient: &mut [f32]| {
            let mut buffers = start.buffers.clone();
            let loss = w.gradient(&start.parameters, &mut buffers, &here, gradient).unwrap();
            (loss, gradient.to_vec(), buffers)
        };
        let of = |w: &mut Workload<Own, ImageData>| w.evaluate(&start.parameters, &start.buffers, Split::Test).unwrap();
        let (told, evaluated) = (look(&mut w, &mut gradient), of(&mut w));
        for _ in 0..2 {
            let alone = w.loss(&start.parameters, &start.buffers, &here).unwrap();
            assert!((alone - told.0).abs() < 1e-6, "{batch:?}: {alone}, not {}", told.0);
        }
        assert_eq!(of(&mut w), evaluated, "{batch:?}");
        w.loss(&start.parameters, &start.buffers, &here).unwrap();
        assert_eq!(look(&mut w, &mut gradient), told, "{batch:?}");
    }
    // Single rows differ and make the whole, where nothing normalises them.
    let mut plain = Mlp { hidden: vec![6], dropout: 0.0 }.workload(blobs(4)).unwrap();
    let x = plain.start(3).parameters;
    let mut loss = |batch| plain.loss(&x, &[], &Draw { batch, ..draw(1, 1) }).unwrap();
    let rows: Vec<f64> = (0..200).map(|row| loss(Batch::Row(row))).collect();
    assert!((rows.iter().sum::<f64>() / 200.0 - loss(Batch::Full)).abs() < 1e-5 && rows[0] != rows[1]);
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

/// Gradient parts of a draw: rows, loss and gradient of each, and the buffers afterwards.
type Parts = (Vec<(usize, f64, Vec<f32>)>, Vec<f32>);

fn parts(w: &mut impl sordino::workload::Workload, draw: &Draw, most: usize) -> Parts {
    let (start, mut room, mut all) = (w.start(1), vec![7.0; w.layout().len()], Vec::new());
    let mut buffers = start.buffers;
    w.parts(&start.parameters, &mut buffers, draw, most, &mut room, &mut |gradient, rows, loss| {
        all.push((rows, loss, gradient.to_vec()));
        Ok(())
    })
    .unwrap();
    (all, buffers)
}

#[test]
fn parts_add_up_to_the_gradient_of_the_whole() {
    let mut w = Mlp { hidden: vec![6], dropout: 0.0 }.workload(blobs(4)).unwrap();
    let (start, mut whole) = (w.start(1), vec![0.0; w.layout().len()]);
    let loss = w.gradient(&start.parameters, &mut [], &draw(2, 21), &mut whole).unwrap();
    for (most, sizes) in [(1, &[1; 21][..]), (8, &[8, 8, 5]), (21, &[21]), (5000, &[21])] {
        let (parts, _) = parts(&mut w, &draw(2, 21), most);
        assert_eq!(parts.iter().map(|p| p.0).collect::<Vec<_>>(), sizes);
        let mean = parts.iter().map(|(rows, loss, _)| *rows as f64 * loss).sum::<f64>() / 21.0;
        assert!((mean - loss).abs() < 1e-6, "{mean}, the whole has {loss}");
        for (at, whole) in whole.iter().enumerate() {
            let mean = parts.iter().map(|(rows, _, g)| *rows as f32 * g[at]).sum::<f32>() / 21.0;
            assert!((mean - whole).abs() < 1e-6, "{mean}, the whole has {whole}");
        }
    }
    // A control: parts of different sizes do not count alike.
    let (parts, _) = parts(&mut w, &draw(2, 21), 8);
    let plain = parts.iter().map(|(_, loss, _)| loss).sum::<f64>() / 3.0;
    assert!((plain - loss).abs() > 1e-4, "{plain} {loss}");
}

#[test]
fn buffers_after_parts_have_seen_each_part_in_turn() {
    let mut w = Workload::new(Own::new(false), Own::loss, blobs(4)).unwrap();
    let (start, mut room) = (w.start(1), vec![0.0; w.layout().len()]);
    let (_, one_part) = parts(&mut w, &draw(0, 16), 16);
    let mut whole = start.buffers.clone();
    w.gradient(&start.parameters, &mut whole, &draw(0, 16), &mut room).unwrap();
    assert_eq!(one_part, whole, "one part is the whole");
    let (_, four) = parts(&mut w, &draw(0, 16), 4);
    assert_ne!(four, whole);
    // With Burn's momentum of a tenth the mean moves by a tenth of what is left to each part's mean, four times.
    assert!(four.iter().zip(&start.buffers).any(|(a, b)| a != b));
    assert_eq!(parts(&mut w, &draw(0, 16), 4).1, four);
    let nobody = Draw { seed: 0, client: 0, step: 0, batch: Batch::Poisson(0) };
    let (none, untouched) = parts(&mut w, &nobody, 4);
    assert!(none.is_empty() && untouched == start.buffers, "no rows leave running statistics alone");
}

#[test]
fn an_empty_draw_has_no_loss_no_gradient_and_no_parts() {
    let mut w = Mlp { hidden: vec![6], dropout: 0.0 }.workload(blobs(4)).unwrap();
    let start = w.start(1);
    let draw = |step| Draw { seed: 0, client: 0, step, batch: Batch::Poisson(1) };
    let (mut empty, mut full) = (0, 0);
    for step in 0..40 {
        let mut gradient = vec![7.0; w.layout().len()];
        let loss = w.gradient(&start.parameters, &mut [], &draw(step), &mut gradient).unwrap();
        let drawn: usize = parts(&mut w, &draw(step), 1).0.iter().map(|p| p.0).sum();
        if drawn == 0 {
            assert!(loss == 0.0 && gradient.iter().all(|g| *g == 0.0));
            empty += 1;
        } else {
            assert!(loss > 0.0 && gradient.iter().any(|g| *g != 0.0));
            full += 1;
        }
    }
    // Nobody is drawn with probability 1/e.
    assert!((5..26).contains(&empty) && full > 5, "{empty} of 40");
}

#[test]
fn a_clients_own_rows_are_looked_at_and_a_stranger_is_an_error() {
    let shards = Deal::Shards(std::sync::Arc::new(vec![(0..150).collect(), vec![150, 157], (151..157).collect()]));
    let task = Mlp { hidden: vec![6], dropout: 0.0 }.task("blobs", blobs(4), shards);
    let mut w = task.workload(3, 0).unwrap();
    let start = w.start(1);
    let own = w.evaluate_client(&start.parameters, &[], 1).unwrap().unwrap();
    let draw = |client| Draw { seed: 0, client, step: 0, batch: Batch::Full };
    let mut gradient = vec![0.0; w.layout().len()];
    let loss = w.gradient(&start.parameters, &mut [], &draw(1), &mut gradient).unwrap();
    assert_eq!(own.examples, 2);
    assert!((own.loss - loss).abs() < 1e-6, "{} {loss}", own.loss);
    assert_eq!((w.rows(0), w.rows(1), w.rows(2), w.rows(3)), (150, 2, 6, 0));
    for stranger in [3, u64::MAX] {
        let says = [
            w.evaluate_client(&start.parameters, &[], stranger).unwrap_err(),
            w.gradient(&start.parameters, &mut [], &draw(stranger), &mut gradient).unwrap_err(),
            w.parts(&start.parameters, &mut [], &draw(stranger), 4, &mut gradient, &mut |_, _, _| Ok(())).unwrap_err(),
        ];
        assert!(says.iter().all(|e| e.to_string().contains("dealt to 3 clients")), "{says:?}");
    }
}
