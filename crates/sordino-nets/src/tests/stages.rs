//! Networks cut into blocks: the bits of the whole, wherever they are cut.

use std::ops::Range;

use sordino::base::flat;
use sordino::workload::{Back, Batch, Draw, Flow, Piece, Stage, Workload as _};

use super::{blobs, chant, draw};
use crate::{CharLstm, CharTransformer, Cnn, Mlp, Model, ResNet20};

/// A block with the ranges of its tensors in the whole.
type Block = (Box<dyn Stage>, Vec<Range<usize>>);

fn blocks<C: Model>(model: &C, data: &C::Data, cuts: &[usize]) -> Vec<Block> {
    let whole = model.workload(data.clone()).unwrap();
    let (uses, layout) = (whole.layers(), whole.layout().clone());
    let bounds = [&[0][..], cuts, &[uses.len()]].concat();
    let block = |w: &[usize]| {
        let mut tensors = uses[w[0]..w[1]].concat();
        tensors.sort_unstable();
        tensors.dedup();
        let ranges = tensors.iter().map(|t| layout.ranges()[*t].clone()).collect();
        (whole.stage(w[0]..w[1]).unwrap(), ranges)
    };
    bounds.windows(2).map(block).collect()
}

fn own(x: &[f32], ranges: &[Range<usize>]) -> Vec<f32> {
    ranges.iter().flat_map(|r| &x[r.clone()]).copied().collect()
}

/// Loss and gradient of one piece, block after block.
fn by_blocks(blocks: &mut [Block], x: &[f32], piece: &Piece) -> (f64, Vec<f32>, usize) {
    let mut flow = Flow::default();
    for (stage, ranges) in &mut *blocks {
        stage.load(&own(x, ranges)).unwrap();
        let passing = stage.forward(piece, &flow, false).unwrap();
        flow = stage.forward(piece, &flow, true).unwrap();
        assert_eq!(flow, passing, "a pass that is kept is the pass");
    }
    let (mut gradient, mut back, mut loss) = (vec![0.0; x.len()], Back::default(), None);
    for (stage, ranges) in blocks.iter_mut().rev() {
        let mut own = vec![f32::NAN; ranges.iter().map(ExactSizeIterator::len).sum()];
        back = stage.backward(piece, &back.error, &mut own).unwrap();
        loss = loss.or(back.loss);
        let mut rest = &own[..];
        for range in ranges {
            let (here, left) = rest.split_at(range.len());
            flat::add(&mut gradient[range.clone()], here);
            rest = left;
        }
    }
    assert!(back.error.is_empty());
    (loss.unwrap(), gradient, flow.rows)
}

fn keeps_the_bits<C: Model>(model: &C, data: &C::Data, layers: usize) {
    let mut whole = model.workload(data.clone()).unwrap();
    assert_eq!(whole.layers().len(), layers);
    let tensors: std::collections::BTreeSet<usize> = whole.layers().concat().into_iter().collect();
    assert_eq!(tensors.len(), whole.layout().ranges().len(), "every tensor is used");
    let mut x = whole.start(7).parameters;
    let mut gradient = vec![0.0; x.len()];
    for step in 0..3 {
        let loss = whole.gradient(&x, &mut [], &draw(step, 20), &mut gradient).unwrap();
        for cut in 0..layers {
            let cuts: Vec<usize> = if cut == 0 { (1..layers).collect() } else { vec![cut] };
            let mut blocks = blocks(model, data, &cuts);
            let found = by_blocks(&mut blocks, &x, &Piece::whole(draw(step, 20)));
            assert_eq!(found, (loss, gradient.clone(), 20), "cut at {cuts:?}");
            // Old passes may be gone back through later, and each once.
            let before = by_blocks(&mut blocks, &x, &Piece::whole(draw(step + 9, 20)));
            assert_ne!(before, found);
        }
        flat::add_scaled(&mut x, -0.01, &gradient);
    }
}

#[test]
fn every_network_cut_anywhere_gives_the_bits_of_the_whole() {
    keeps_the_bits(&Mlp { hidden: vec![16, 8], dropout: 0.2 }, &blobs(4), 3);
    keeps_the_bits(&Cnn { channels: vec![4, 8], hidden: 12, dropout: 0.1 }, &blobs(6), 4);
    keeps_the_bits(&CharTransformer { layers: 3, width: 16, heads: 2, dropout: 0.1 }, &chant(), 5);
    keeps_the_bits(&CharLstm { embedding: 6, hidden: 16, dropout: 0.1 }, &chant(), 2);
}

#[test]
fn several_pieces_are_kept_at_once_with_the_parameters_of_their_time() {
    let (model, data) = (Mlp { hidden: vec![8], dropout: 0.3 }, blobs(4));
    let whole = model.workload(data.clone()).unwrap();
    let x = whole.start(1).parameters;
    let then: Vec<f32> = x.iter().map(|w| w * 1.5).collect();
    let mut block = whole.stage(0..1).unwrap();
    let len = 16 * 8 + 8;
    let pieces = [Piece::whole(draw(0, 12)), Piece::whole(draw(1, 12))];
    let error: Vec<f32> = (0..12 * 8).map(|i| (i % 5) as f32 - 2.0).collect();
    let mut alone = Vec::new();
    for (piece, x) in pieces.iter().zip([&x, &then]) {
        let mut gradient = vec![0.0; len];
        block.load(&x[..len]).unwrap();
        block.forward(piece, &Flow::default(), true).unwrap();
        block.backward(piece, &error, &mut gradient).unwrap();
        alone.push(gradient);
    }
    for (piece, x) in pieces.iter().zip([&x, &then]) {
        block.load(&x[..len]).unwrap();
        block.forward(piece, &Flow::default(), true).unwrap();
    }
    for (piece, alone) in pieces.iter().zip(&alone).rev() {
        let mut gradient = vec![0.0; len];
        block.backward(piece, &error, &mut gradient).unwrap();
        assert_eq!(gradient, *alone);
        let twice = block.backward(piece, &error, &mut gradient).unwrap_err().to_string();
        assert!(twice.contains("no forward pass of batch"), "{twice}");
    }
}

#[test]
fn a_piece_without_rows_says_nothing_and_learns_nothing() {
    let (model, data) = (Mlp { hidden: vec![8], dropout: 0.0 }, blobs(4));
    let whole = model.workload(data.clone()).unwrap();
    let x = whole.start(1).parameters;
    let draw = Draw { seed: 0, client: 0, step: 0, batch: Batch::Poisson(0) };
    let (loss, gradient, rows) = by_blocks(&mut blocks(&model, &data, &[1]), &x, &Piece::whole(draw));
    assert!(loss == 0.0 && rows == 0 && gradient.iter().all(|g| *g == 0.0));
}

#[test]
fn what_cannot_be_cut_or_is_told_wrongly_is_an_error() {
    let resnet = ResNet20 { width: 2 }.workload(blobs(8)).unwrap();
    assert!(resnet.layers().is_empty());
    assert!(resnet.stage(0..1).err().unwrap().to_string().contains("placement=replicate"));
    let (model, data) = (Mlp { hidden: vec![8], dropout: 0.0 }, blobs(4));
    let whole = model.workload(data).unwrap();
    assert!(whole.stage(1..5).is_err());
    let x = whole.start(1).parameters;
    let (mut first, mut last) = (whole.stage(0..1).unwrap(), whole.stage(1..2).unwrap());
    let piece = Piece::whole(draw(0, 12));
    assert!(first.forward(&piece, &Flow::default(), true).unwrap_err().to_string().contains("no parameters"));
    first.load(&x[..136]).unwrap();
    last.load(&x[136..]).unwrap();
    let mut flow = first.forward(&piece, &Flow::default(), true).unwrap();
    assert!(first.load(&x).is_err(), "the whole's parameters");
    assert!(first.backward(&piece, &[0.0; 7], &mut [0.0; 136]).unwrap_err().to_string().contains("7 errors"));
    flow.values.pop();
    let told = last.forward(&piece, &flow, true).unwrap_err().to_string();
    assert!(told.contains("95 numbers of 12 rows"), "{told}");
}
