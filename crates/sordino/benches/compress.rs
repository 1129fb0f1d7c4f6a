//! Gigabytes of f32 per second that every compressor encodes and decodes on one core, beside a copy of the same vector.
//!
//! `cargo bench -p sordino --bench compress -- [--quick] [--best] [ELEMENT ...]`
//!
//! `--quick` leaves out the longest vector; `--best` prints the fastest run instead of the median, for a machine that is
//! shared.

use std::hint::black_box;

use sordino::base::{Layout, Reader, Stream, Use, Writer};
use sordino::compress::{self, Coding};
use sordino::grammar::Element;

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
    "clipped(1, topk)",
];

/// Seconds of the median run, or of the fastest.
fn seconds(runs: usize, best: bool, mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            #[allow(clippy::disallowed_methods, reason = "a benchmark is where the clock is read")]
            let from = std::time::Instant::now();
            run();
            from.elapsed().as_secs_f64()
        })
        .collect();
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
    let lengths: &[usize] = if quick { &[100_000, 1_000_000] } else { &[100_000, 1_000_000, 25_000_000] };
    for &n in lengths {
        let runs = (if quick { 20_000_000 } else { 150_000_000 } / n).clamp(5, 200);
        let given = gradient(n);
        let mut said = vec![0.0; n];
        let giga = |seconds: f64| 4e-9 * n as f64 / seconds;
        let copy = seconds(runs, best, || black_box(&mut said).copy_from_slice(black_box(&given)));
        let which = if best { "best" } else { "median" };
        println!("{n} entries, {which} of {runs} runs; a copy: {:.2} GB/s", giga(copy));
        println!("  {:<28}{:>10}{:>10}{:>10}{:>14}", "", "encode", "decode", "both", "bits an entry");
        for text in elements {
            let mut compressor = match Element::parse(text).and_then(|e| compress::build(&e)) {
                Ok(compressor) => compressor,
                Err(error) => {
                    eprintln!("{error}");
                    std::process::exit(2);
                }
            };
            let layout = Layout::vector(n);
            let (stream, shared) = (Stream::new(1, Use::Encode, 0, 0), Stream::new(1, Use::Shared, 0, 0));
            let at = Coding { layout: &layout, stream: &stream, shared: &shared };
            let mut out = Writer::new();
            let encode = seconds(runs, best, || {
                out.clear();
                compressor.encode(black_box(&given), &at, &mut out).expect("a finite vector is encoded");
            });
            let decode = seconds(runs, best, || {
                let mut body = Reader::new(black_box(out.bytes()));
                compressor.decode(&mut body, &layout, &mut said).expect("what was encoded is decoded");
            });
            println!(
                "  {text:<28}{:>10.2}{:>10.2}{:>10.2}{:>14.3}",
                giga(encode),
                giga(decode),
                giga(encode + decode),
                8.0 * out.bytes().len() as f64 / n as f64
            );
        }
    }
}
