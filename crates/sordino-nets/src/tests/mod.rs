//! Tiny made-up data; what every network keeps is in `models`, what any module keeps in `workload`.

mod data;
mod models;
mod stages;
mod workload;

use sordino::base::{Stream, Use};
use sordino::workload::{Batch, Draw};

use crate::{ImageData, Images, Text};

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
