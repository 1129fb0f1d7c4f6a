//! Gigabytes of f32 per second that every compressor encodes and decodes on one core, beside a copy of the same vector:
//! a table in under three minutes.
//!
//! `cargo bench -p sordino --bench compress -- [--quick] [--best] [ELEMENT ...]`
//!
//! `--quick` leaves out the longest vector; `--best` prints the fastest run instead of the median, for a machine that is
//! shared.

use std::hint::black_box;

use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer};
use sordino::compress::{self, Coding};
use sordino::grammar::Element;

const LENGTHS: &[usize] = &[100_000, 1_000_000, 25_000_000];

const ELEMENTS: &[&str] = &[
    "dense",
    "half",
    "half(f16)",
    "sign",
    "topk(0.01)",
    "randk(0.01)",
    "block",
    "qsgd",
    "qsgd(levels=15, norm=l2)",
    "terngrad",
    "terngrad(sigmas=2.5)",
    "bingrad(b)",
    "bingrad(pb)",
    "orq(3)",
    "orq(5)",
    "orq(9)",
    "natural",
    "powersgd(4)",
    "clipped(1, topk)",
];

/// Seconds that one measurement may take, three runs apart.
const PATIENCE: f64 = 0.25;

/// Seconds of the median run, or of the fastest.
fn seconds(best: bool, mut run: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    run();
    while times.len() < 3 || times.iter().sum::<f64>() < PATIENCE {
        #[allow(clippy::disallowed_methods, reason = "a benchmark is where the clock is read")]
        let from = std::time::Instant::now();
        run();
        times.push(from.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    times[if best { 0 } else { times.len() / 2 }]
}

/// Entries that look like a gradient: normal, with a scale that drifts from tensor to tensor.
fn gradient(n: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Use::Noise, 0, 0);
    let pool: Vec<f32> = (0..n.min(1 << 20)).map(|_| stream.normal()).collect();
    (0..n).map(|i| pool[i % pool.len()] * (1.0 + (i >> 16) as f32 % 7.0) * 1e-3).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let best = arguments.iter().any(|a| a == "--best");
    let quick = arguments.iter().any(|a| a == "--quick");
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let elements = if chosen.is_empty() { ELEMENTS } else { &chosen };
    let lengths: &[usize] = if quick { &LENGTHS[..2] } else { LENGTHS };
    let vectors: Vec<Vec<f32>> = lengths.iter().map(|n| gradient(*n)).collect();
    println!("GB/s of f32 on one core, {} run", if best { "best" } else { "median" });
    print!("{:<26}{:>8}", "", "bits");
    for given in &vectors {
        print!(" |{:>25}", format!("{} entries", given.len()));
    }
    let columns = format!(" |{:>9}{:>8}{:>8}", "encode", "decode", "both").repeat(vectors.len());
    println!("\n{:<26}{:>8}{columns}", "", "an entry");
    print!("{:<26}{:>8.3}", "memcpy", 32.0);
    for given in &vectors {
        let mut said = vec![0.0; given.len()];
        let copy = seconds(best, || black_box(&mut said).copy_from_slice(black_box(given)));
        print!(" |{:>25.2}", 4e-9 * given.len() as f64 / copy);
    }
    println!();
    for text in elements {
        let rows: Vec<Row> = vectors.iter().map(|given| row(text, given, best)).collect();
        print!("{text:<26}{:>8.3}", rows[0].bits);
        for Row { encode, decode, .. } in &rows {
            print!(" |{encode:>9.2}{decode:>8.2}{:>8.2}", 1.0 / (1.0 / encode + 1.0 / decode));
        }
        println!();
    }
}

/// What one element does on one vector: GB/s of f32, and bits an entry.
struct Row {
    encode: f64,
    decode: f64,
    bits: f64,
}

fn row(text: &str, given: &[f32], best: bool) -> Row {
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
    let encode = seconds(best, || {
        out.clear();
        compressor.encode(black_box(given), &at, &mut out).expect("a finite vector is encoded");
    });
    let decode = seconds(best, || {
        let mut body = Reader::new(black_box(out.bytes()));
        compressor.decode(&mut body, &layout, &mut said).expect("what was encoded is decoded");
    });
    let giga = 4e-9 * given.len() as f64;
    Row { encode: giga / encode, decode: giga / decode, bits: 8.0 * out.bytes().len() as f64 / given.len() as f64 }
}
