//! What every network keeps: one row per model.

use sordino::base::Role;
use sordino::base::flat::{fingerprint, norm};
use sordino::workload::{Split, Workload as _};

use super::{blobs, chant, draw};
use crate::{CharLstm, CharTransformer, Cnn, Mlp, Model, ResNet20, Workload};

/// Everything that holds for each model: names, bits, buffers, the gradient's direction and learning.
fn keeps_the_contract<C: Model>(model: &C, data: &C::Data, steps: u64, rate: f32, wanted: f64) {
    let mut one = model.workload(data.clone()).unwrap();
    let layout = one.layout().clone();
    let start = one.start(7);
    assert_eq!(start, model.workload(data.clone()).unwrap().start(7), "the start is a function of the seed");
    assert_ne!(start.parameters, one.start(8).parameters);
    let weight = layout.tensors().find(|(t, _)| t.role == Role::Weight).unwrap();
    assert!(start.parameters[weight.1].iter().any(|&w| w != 0.0));

    // Two replicas at once on two threads, and the same one again: the same bits.
    let once = |w: &mut Workload<C::Module, C::Data>| {
        let (mut gradient, mut buffers) = (vec![9.0; layout.len()], start.buffers.clone());
        let loss = w.gradient(&start.parameters, &mut buffers, &draw(0, 20), &mut gradient).unwrap();
        (loss.to_bits(), fingerprint(&gradient), fingerprint(&buffers), gradient)
    };
    let alone = once(&mut one);
    let both: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..2)
            .map(|_| {
                let mut replica = model.workload(data.clone()).unwrap();
                scope.spawn(move || (once(&mut replica), once(&mut replica)))
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    for (first, second) in both {
        assert!(first == alone && second == alone, "two threads must give the bits of one");
    }

    // Along the gradient of each tensor the loss changes as it says.
    let gradient = alone.3;
    for (tensor, range) in layout.tensors() {
        let part = &gradient[range.clone()];
        let norm = norm(part);
        if norm < 1e-4 {
            continue;
        }
        let h = 3e-4; // small, or the kinks of rectifiers bend the line
        let mut at = |sign: f64| {
            let mut x = start.parameters.clone();
            for (x, g) in x[range.clone()].iter_mut().zip(part) {
                *x += (sign * h * f64::from(*g) / norm) as f32;
            }
            one.gradient(&x, &mut start.buffers.clone(), &draw(0, 20), &mut vec![0.0; layout.len()]).unwrap()
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * h);
        assert!((slope - norm).abs() < 0.1 * norm + 4e-3, "{}: slope {slope}, gradient {norm}", tensor.name);
    }

    let (mut x, mut buffers, mut gradient) = (start.parameters, start.buffers, vec![0.0; layout.len()]);
    let mut velocity = gradient.clone();
    for step in 0..steps {
        one.gradient(&x, &mut buffers, &draw(step, 20), &mut gradient).unwrap();
        for ((x, v), g) in x.iter_mut().zip(&mut velocity).zip(&gradient) {
            *v = 0.9 * *v + g;
            *x -= rate * *v;
        }
    }
    let test = one.evaluate(&x, &buffers, Split::Test).unwrap().unwrap();
    assert!(test.accuracy.unwrap() >= wanted, "{test:?}");
    assert_eq!(one.evaluate(&x, &buffers, Split::Test).unwrap().unwrap(), test);
}

#[test]
fn the_mlp_keeps_the_contract() {
    keeps_the_contract(&Mlp { hidden: vec![16, 8], dropout: 0.1 }, &blobs(4), 60, 0.05, 0.95);
}

#[test]
fn the_cnn_keeps_the_contract() {
    keeps_the_contract(&Cnn { channels: vec![4, 8], hidden: 12, dropout: 0.1 }, &blobs(6), 60, 0.03, 0.95);
}

#[test]
fn resnet_20_keeps_the_contract() {
    keeps_the_contract(&ResNet20 { width: 2 }, &blobs(8), 30, 0.05, 0.8);
}

#[test]
fn the_lstm_keeps_the_contract() {
    keeps_the_contract(&CharLstm { embedding: 6, hidden: 16, dropout: 0.1 }, &chant(), 60, 0.5, 0.8);
}

#[test]
fn the_transformer_keeps_the_contract() {
    let model = CharTransformer { layers: 2, width: 16, heads: 2, dropout: 0.1 };
    keeps_the_contract(&model, &chant(), 100, 0.1, 0.75);
}
