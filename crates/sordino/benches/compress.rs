//! How fast every compressor encodes and decodes on one core, as a ratio to copying the same vector: a table in under
//! three minutes.
//!
//! `cargo bench -p sordino --bench compress -- [--quick] [--best] [ELEMENT ...]`, or the binary that
//! `cargo bench --no-run` names, by itself on any machine.
//!
//! A *run* copies the vector into another (`copy_from_slice`, which is memcpy), encodes it and decodes it into that other
//! vector, one after another on one thread, all memory touched before. Seconds are those that the thread had a CPU. The *ratio* is the time of the copy over the time of
//! encoding and decoding: bytes of f32 a second of both together, over bytes of f32 a second of the copy. What is printed
//! is the median ratio of the runs, the speeds beside it are medians as well; `--best` prints the fastest copy, encoding
//! and decoding instead, for a machine that is shared. The ratio wanted is judged at 25 million entries. `--quick` leaves
//! that longest vector out.
//!
//! `orq(9), levels given` is `orq(9)` of a vector whose entries are all alike: its search for levels ends before it
//! begins, and all else it does is the same for any entries.

use std::hint::black_box;

use sordino::base::simd::{Path, narrowed};
use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer};
use sordino::compress::{self, Coding};
use sordino::grammar::Element;

const LENGTHS: &[usize] = &[100_000, 1_000_000, 25_000_000];

/// Elements, and the ratio wanted of them with vectors of 512 bits; half of it with narrower ones.
const ELEMENTS: &[(&str, Option<f64>)] = &[
    ("sign", Some(0.7)),
    ("bingrad(b)", Some(0.7)),
    ("half", Some(0.6)),
    ("terngrad", Some(0.5)),
    ("qsgd", Some(0.5)),
    (LEVELS_GIVEN, Some(0.5)),
    ("topk(0.01)", Some(0.45)),
    ("randk(0.01)", Some(1.0)),
    ("orq(9)", Some(0.25)),
    ("bingrad(pb)", Some(0.25)),
    ("powersgd(4)", Some(0.25)),
    ("dense", None),
    ("half(f16)", None),
    ("block", None),
    ("qsgd(levels=15, norm=l2)", None),
    ("terngrad(sigmas=2.5)", None),
    ("orq(3)", None),
    ("orq(5)", None),
    ("natural", None),
    ("clipped(1, topk)", None),
];

const LEVELS_GIVEN: &str = "orq(9), levels given";

/// Seconds that one measurement may take, five runs apart.
const PATIENCE: f64 = 0.5;

/// Entries that look like a gradient: normal, with a scale that drifts from tensor to tensor.
fn gradient(n: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Use::Noise, 0, 0);
    let pool: Vec<f32> = (0..n.min(1 << 20)).map(|_| stream.normal()).collect();
    (0..n).map(|i| pool[i % pool.len()] * (1.0 + (i >> 16) as f32 % 7.0) * 1e-3).collect()
}

fn main() {
    narrowed(Path::Avx512, measure);
}

fn measure() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let best = arguments.iter().any(|a| a == "--best");
    let quick = arguments.iter().any(|a| a == "--quick");
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let wanted = |text: &str| ELEMENTS.iter().find(|(name, _)| *name == text).and_then(|(_, wanted)| *wanted);
    let elements: Vec<&str> = if chosen.is_empty() { ELEMENTS.iter().map(|(name, _)| *name).collect() } else { chosen };
    let lengths: &[usize] = if quick { &LENGTHS[..2] } else { LENGTHS };
    let vectors: Vec<Vec<f32>> = lengths.iter().map(|n| gradient(*n)).collect();
    let of = if best { "the fastest run" } else { "the median run" };
    println!("GB/s of f32 on one core, and the ratio to a copy; {of}");
    print!("{:<26}{:>8}", "", "bits");
    for given in &vectors {
        print!(" |{:>39}", format!("{} entries", given.len()));
    }
    let columns =
        format!(" |{:>8}{:>8}{:>8}{:>8}{:>7}", "copy", "encode", "decode", "both", "ratio").repeat(vectors.len());
    println!("\n{:<26}{:>8}{columns} | wanted", "", "an entry");
    for text in elements {
        let rows: Vec<Row> = vectors.iter().map(|given| row(text, given, best)).collect();
        print!("{text:<26}{:>8.3}", rows[0].bits);
        for Row { copy, encode, decode, ratio, .. } in &rows {
            let both = 1.0 / (1.0 / encode + 1.0 / decode);
            print!(" |{copy:>8.2}{encode:>8.2}{decode:>8.2}{both:>8.2}{ratio:>7.3}");
        }
        println!("{}", wanted(text).map_or(String::new(), |wanted| format!(" |{wanted:>7.3}")));
    }
}

/// What one element does on one vector: GB/s of f32, the ratio, and bits an entry.
struct Row {
    copy: f64,
    encode: f64,
    decode: f64,
    ratio: f64,
    bits: f64,
}

fn row(text: &str, given: &[f32], best: bool) -> Row {
    let same;
    let (text, given) = if text == LEVELS_GIVEN {
        same = vec![1e-3; given.len()];
        ("orq(9)", same.as_slice())
    } else {
        (text, given)
    };
    let mut compressor = match Element::parse(text).and_then(|e| compress::build(&e)) {
        Ok(compressor) => compressor,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    // One tensor, as square as its length allows: only powersgd sees the shape.
    let rows = (1..=given.len().isqrt()).rev().find(|n| given.len().is_multiple_of(*n)).unwrap_or(1);
    let layout = Layout::new([Tensor::new("x", &[rows, given.len() / rows], Role::Weight)]);
    let (stream, shared) = (Stream::new(1, Use::Encode, 0, 0), Stream::new(1, Use::Shared, 0, 0));
    let at = Coding { layout: &layout, stream: &stream, shared: &shared };
    let (mut out, mut said) = (Writer::new(), vec![0.0; given.len()]);
    let mut run = || {
        let copy = seconds(|| black_box(&mut said).copy_from_slice(black_box(given)));
        let encode = seconds(|| {
            out.clear();
            compressor.encode(black_box(given), &at, &mut out).expect("a finite vector is encoded");
        });
        let decode = seconds(|| {
            let mut body = Reader::new(black_box(out.bytes()));
            compressor.decode(&mut body, &layout, &mut said).expect("what was encoded is decoded");
        });
        [copy, encode, decode]
    };
    run();
    let mut runs = Vec::new();
    while runs.len() < 5 || runs.iter().flatten().sum::<f64>() < PATIENCE {
        runs.push(run());
    }
    let bits = 8.0 * out.bytes().len() as f64 / given.len() as f64;
    let of = |value: fn(&[f64; 3]) -> f64| middle(runs.iter().map(value).collect(), best);
    let [copy, encode, decode] = [of(|t| t[0]), of(|t| t[1]), of(|t| t[2])];
    let ratio = if best { copy / (encode + decode) } else { of(|[copy, encode, decode]| copy / (encode + decode)) };
    let giga = 4e-9 * given.len() as f64;
    Row { copy: giga / copy, encode: giga / encode, decode: giga / decode, ratio, bits }
}

/// Seconds of the thread, not of the wall: a machine that is shared takes the CPU away now and then.
fn seconds(act: impl FnOnce()) -> f64 {
    let from = cpu_time::ThreadTime::now();
    act();
    from.elapsed().as_secs_f64()
}

/// The median, or the least.
fn middle(mut numbers: Vec<f64>, least: bool) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[if least { 0 } else { numbers.len() / 2 }]
}
