//! How fast every compressor encodes and decodes on one core, as a ratio to copying the same vector: a table in under
//! three minutes.
//!
//! `cargo bench -p sordino --bench compress -- [--quick] [--best] [--add | --two] [ELEMENT ...]`, or the binary that
//! `cargo bench --no-run` names, by itself on any machine.
//!
//! A *run* copies the vector into another (`copy_from_slice`, which is memcpy), encodes it and decodes it into that other
//! vector, one after another on one thread, all memory touched before. Seconds are those that the thread had a CPU. The *ratio* is the time of the copy over the time of
//! encoding and decoding: bytes of f32 a second of both together, over bytes of f32 a second of the copy. What is printed
//! is the median ratio of the runs, the speeds beside it are medians as well; `--best` prints the fastest copy, encoding
//! and decoding instead, for a machine that is shared. The ratio wanted is judged at 25 million entries. `--quick` leaves
//! that longest vector out.
//!
//! `--add` measures decoding into a vector and adding that to a sum beside decoding onto the sum; `--two` a copy and
//! encoding, decoding by one thread and by two, in seconds of the wall. The last columns are how many times as fast the second
//! of each pair is.
//!
//! `orq(9), levels given` is `orq(9)` of a vector whose entries are all alike: its search for levels ends before it
//! begins, and all else it does is the same for any entries.

use std::fmt::Write as _;
use std::hint::black_box;

use sordino::base::{Layout, Reader, Role, Stream, Tensor, Use, Writer, flat};
use sordino::compress::{self, Coding, Compressor, Hands};
use sordino::fabric::at_once;
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

/// A name, and what is made of the seconds of a run.
type Ratio = (&'static str, fn(&[f64]) -> f64);

/// What is measured of an element.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Encoding and decoding beside a copy.
    Code,
    /// Adding what is said to a sum.
    Add,
    /// Two threads beside one.
    Two,
}

impl What {
    /// What one run takes the seconds of.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Code => &["copy", "encode", "decode", "both"],
            Self::Add => &["then add", "adds on"],
            Self::Two => &["copy", "by two", "one", "two"],
        }
    }

    /// What is told of them besides.
    fn ratios(self) -> &'static [Ratio] {
        match self {
            Self::Code => &[("ratio", |t| t[0] / t[3])],
            Self::Add => &[("gain", |t| t[0] / t[1])],
            Self::Two => &[("copy's", |t| t[0] / t[1]), ("gain", |t| t[2] / t[3])],
        }
    }
}

/// Entries that look like a gradient: normal, with a scale that drifts from tensor to tensor.
fn gradient(n: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Use::Noise, 0, 0);
    let pool: Vec<f32> = (0..n.min(1 << 20)).map(|_| stream.normal()).collect();
    (0..n).map(|i| pool[i % pool.len()] * (1.0 + (i >> 16) as f32 % 7.0) * 1e-3).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let asked = |flag: &str| arguments.iter().any(|a| a == flag);
    let (best, quick) = (asked("--best"), asked("--quick"));
    let what = match () {
        () if asked("--add") => What::Add,
        () if asked("--two") => What::Two,
        () => What::Code,
    };
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let wanted = |text: &str| {
        let wanted = ELEMENTS.iter().find(|(name, _)| *name == text).and_then(|(_, wanted)| *wanted);
        wanted.filter(|_| what == What::Code)
    };
    let elements: Vec<&str> = if chosen.is_empty() { ELEMENTS.iter().map(|(name, _)| *name).collect() } else { chosen };
    let lengths: &[usize] = if quick { &LENGTHS[..2] } else { LENGTHS };
    let vectors: Vec<Vec<f32>> = lengths.iter().map(|n| gradient(*n)).collect();
    let of = if best { "the fastest run" } else { "the median run" };
    println!("GB/s of f32, and ratios; {of}");
    let mut columns = String::from(" |");
    for name in what.columns() {
        let _ = write!(columns, "{name:>9}");
    }
    for (name, _) in what.ratios() {
        let _ = write!(columns, "{name:>7}");
    }
    print!("{:<26}{:>8}", "", "bits");
    for given in &vectors {
        print!(" |{:>width$}", format!("{} entries", given.len()), width = columns.len() - 2);
    }
    println!("\n{:<26}{:>8}{}", "", "an entry", columns.repeat(vectors.len()));
    for text in elements {
        let rows: Vec<Row> = vectors.iter().map(|given| row(text, given, what, best)).collect();
        print!("{text:<26}{:>8.3}", rows[0].bits);
        for Row { speeds, ratios, .. } in &rows {
            print!(" |");
            for speed in speeds {
                print!("{speed:>9.2}");
            }
            for ratio in ratios {
                print!("{ratio:>7.3}");
            }
        }
        println!("{}", wanted(text).map_or(String::new(), |wanted| format!(" | wanted {wanted:.3}")));
    }
}

/// What one element does on one vector: GB/s of f32, ratios, and bits an entry.
struct Row {
    speeds: Vec<f64>,
    ratios: Vec<f64>,
    bits: f64,
}

fn row(text: &str, given: &[f32], what: What, best: bool) -> Row {
    let same;
    let (text, given) = if text == LEVELS_GIVEN {
        same = vec![1e-3; given.len()];
        ("orq(9)", same.as_slice())
    } else {
        (text, given)
    };
    // One tensor, as square as its length allows: only powersgd sees the shape.
    let rows = (1..=given.len().isqrt()).rev().find(|n| given.len().is_multiple_of(*n)).unwrap_or(1);
    let layout = Layout::new([Tensor::new("x", &[rows, given.len() / rows], Role::Weight)]);
    let (mut twin, mut two) = (element(text), element(text));
    two.lend(Hands { both: at_once, least: 1 << 18 });
    let mut subject = Subject {
        compressor: if what == What::Two { two } else { element(text) },
        layout,
        given,
        out: Writer::new(),
        said: vec![0.0; given.len()],
        sum: vec![0.0; if what == What::Add { given.len() } else { 0 }],
    };
    let mut run = || match what {
        What::Code => {
            let copy = cpu_seconds(|| black_box(&mut subject.said).copy_from_slice(black_box(given)));
            let (encode, decode) = (cpu_seconds(|| subject.encode()), cpu_seconds(|| subject.decode()));
            vec![copy, encode, decode, encode + decode]
        }
        What::Add => {
            subject.encode();
            vec![cpu_seconds(|| subject.decode_and_add()), cpu_seconds(|| subject.add())]
        }
        What::Two => {
            let copy = seconds(|| black_box(&mut subject.said).copy_from_slice(black_box(given)));
            let copies = seconds(|| copy_by_two(black_box(&mut subject.said), black_box(given)));
            // Each of the twins has its turn.
            let [one, two] = [(); 2].map(|()| {
                std::mem::swap(&mut subject.compressor, &mut twin);
                seconds(|| {
                    subject.encode();
                    subject.decode();
                })
            });
            vec![copy, copies, one, two]
        }
    };
    run();
    let mut runs = Vec::new();
    while runs.len() < 5 || runs.iter().flatten().sum::<f64>() < PATIENCE {
        runs.push(run());
    }
    let bits = 8.0 * subject.out.bytes().len() as f64 / given.len() as f64;
    let giga = 4e-9 * given.len() as f64;
    let times: Vec<f64> = (0..runs[0].len()).map(|i| middle(runs.iter().map(|run| run[i]).collect(), best)).collect();
    let ratio =
        |of: fn(&[f64]) -> f64| if best { of(&times) } else { middle(runs.iter().map(|run| of(run)).collect(), false) };
    Row {
        speeds: times.iter().map(|time| giga / time).collect(),
        ratios: what.ratios().iter().map(|(_, of)| ratio(*of)).collect(),
        bits,
    }
}

fn element(text: &str) -> Box<dyn Compressor> {
    Element::parse(text).and_then(|e| compress::build(&e)).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    })
}

/// One element, one vector, and all memory it needs.
struct Subject<'a> {
    compressor: Box<dyn Compressor>,
    layout: Layout,
    given: &'a [f32],
    out: Writer,
    said: Vec<f32>,
    sum: Vec<f32>,
}

impl Subject<'_> {
    fn encode(&mut self) {
        let (stream, shared) = (Stream::new(1, Use::Encode, 0, 0), Stream::new(1, Use::Shared, 0, 0));
        let at = Coding { layout: &self.layout, stream: &stream, shared: &shared };
        self.out.clear();
        self.compressor.encode(black_box(self.given), &at, &mut self.out).expect("a finite vector is encoded");
    }

    fn decode(&mut self) {
        let mut body = Reader::new(black_box(self.out.bytes()));
        self.compressor.decode(&mut body, &self.layout, &mut self.said).expect("what was encoded is decoded");
    }

    fn decode_and_add(&mut self) {
        self.decode();
        flat::add(black_box(&mut self.sum), black_box(&self.said));
    }

    fn add(&mut self) {
        let mut body = Reader::new(black_box(self.out.bytes()));
        let added = self.compressor.add(&mut body, &self.layout, 1.0, black_box(&mut self.sum), &mut self.said);
        added.expect("what was encoded is decoded");
    }
}

fn copy_by_two(to: &mut [f32], from: &[f32]) {
    let half = from.len() / 2;
    let ((low, high), (first, second)) = (to.split_at_mut(half), from.split_at(half));
    at_once(&mut || low.copy_from_slice(first), &mut || high.copy_from_slice(second));
}

/// Seconds of the thread, not of the wall: a machine that is shared takes the CPU away now and then.
fn cpu_seconds(act: impl FnOnce()) -> f64 {
    let from = cpu_time::ThreadTime::now();
    act();
    from.elapsed().as_secs_f64()
}

/// Seconds of the wall, for what several threads do.
#[allow(clippy::disallowed_methods, reason = "a benchmark is where the clock is read")]
fn seconds(act: impl FnOnce()) -> f64 {
    let from = std::time::Instant::now();
    act();
    from.elapsed().as_secs_f64()
}

/// The median, or the least.
fn middle(mut numbers: Vec<f64>, least: bool) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[if least { 0 } else { numbers.len() / 2 }]
}
