//! What every network keeps: one row per model, on tiny made-up data.

use sordino::base::{Role, Stream, Use};
use sordino::workload::{Batch, Deal, Draw, Split, Task as _, Workload as _};

use crate::{CharLstm, CharTransformer, Cnn, ImageData, Images, Mlp, Model, ResNet20, Sample, Text};

/// Blobs: class k's images are its own random picture plus noise.
fn blobs(side: usize) -> ImageData {
    let classes = 4;
    let mut centres = Stream::new(3, Use::Problem, 0, 0);
    let centres: Vec<f32> = (0..classes * side * side).map(|_| centres.normal()).collect();
    let set = |index: u64, n: usize| {
        let mut noise = Stream::new(3, Use::Problem, 1, index);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % classes as u32).collect();
        let pixels: Vec<f32> = labels
            .iter()
            .flat_map(|&k| &centres[k as usize * side * side..][..side * side])
            .map(|c| c + 0.5 * noise.normal())
            .collect();
        Images { pixels: pixels.into(), labels: labels.into(), channels: 1, height: side, width: side, classes }
    };
    ImageData::new(set(0, 200), set(1, 100)).unwrap()
}

/// A text that repeats itself: "abcd..." with a skip now and then.
fn chant() -> Text {
    let mut skip = Stream::new(4, Use::Problem, 0, 0);
    let mut at = 0;
    let codes: Vec<u8> = (0..1200)
        .map(|_| {
            at = (at + 1 + skip.below(8) / 7) % 9;
            at as u8
        })
        .collect();
    let symbols: Vec<char> = "abcdefghi".chars().collect();
    Text::new(codes[..1000].to_vec(), codes[1000..].to_vec(), symbols, 12).unwrap()
}

fn draw(step: u64, rows: usize) -> Draw {
    Draw { seed: 5, client: 0, step, batch: Batch::Rows(rows) }
}

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
    let once = |w: &mut crate::Workload<C::Module, C::Data>| {
        let (mut gradient, mut buffers) = (vec![9.0; layout.len()], start.buffers.clone());
        let loss = w.gradient(&start.parameters, &mut buffers, &draw(0, 20), &mut gradient).unwrap();
        (loss.to_bits(), sordino::base::flat::fingerprint(&gradient), sordino::base::flat::fingerprint(&buffers), gradient)
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
        let norm = sordino::base::flat::norm(part);
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
