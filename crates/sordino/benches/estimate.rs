//! What an estimate costs beside the plain gradient, on logistic regression: milliseconds a gradient, and how many
//! plain ones that is.
//!
//! `cargo bench -p sordino --bench estimate -- [ELEMENT ...]`

use std::hint::black_box;
use std::sync::Arc;

use sordino::base::{Stream, Use};
use sordino::estimate;
use sordino::grammar::Element;
use sordino::workload::{Batch, Deal, Draw, Logistic, SparseRows, Task};

const ELEMENTS: &[&str] = &["plain", "micro_norms(8)", "micro_norms(1)", "per_sample(1)", "per_sample(1, perturb=1)"];

/// Features, and entries of a row: a dense problem and a sparse one.
const SHAPES: &[(usize, usize)] = &[(784, 784), (10_000, 50)];

const ROWS: usize = 1024;
const BATCH: usize = 128;

/// Seconds that one measurement may take, three runs apart.
const PATIENCE: f64 = 0.5;

/// Seconds of the median run.
fn seconds(mut run: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    run();
    while times.len() < 3 || times.iter().sum::<f64>() < PATIENCE {
        #[allow(clippy::disallowed_methods, reason = "a benchmark is where the clock is read")]
        let from = std::time::Instant::now();
        run();
        times.push(from.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn logistic(features: usize, entries: usize) -> Logistic {
    let mut s = Stream::new(0, Use::Problem, 0, 0);
    let stride = features / entries;
    let train = SparseRows {
        offsets: (0..=ROWS).map(|r| r * entries).collect(),
        columns: (0..ROWS * entries).map(|i| (i % entries * stride + i / entries % stride) as u32).collect(),
        values: (0..ROWS * entries).map(|_| s.normal()).collect(),
        labels: (0..ROWS).map(|_| if s.uniform() < 0.5 { 1.0 } else { -1.0 }).collect(),
    };
    let (train, deal) = (Arc::new(train), Deal::Iid);
    Logistic { name: "made".into(), train, test: None, features, deal, l2: 1e-3, nonconvex: 0.0, data: 0 }
}

fn main() -> sordino::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let elements = if chosen.is_empty() { ELEMENTS } else { &chosen };
    println!("batches of {BATCH} rows on one core, median run: milliseconds a gradient, times the plain one");
    for (features, entries) in SHAPES {
        println!("{features} features, {entries} entries a row");
        let task = logistic(*features, *entries);
        let of = |text: &str| -> sordino::Result<f64> {
            let mut workload = estimate::build(&Element::parse(text)?)?.wrap(task.workload(1, 0)?);
            let (x, mut gradient, mut step) = (workload.start(0).parameters, vec![0.0; *features], 0);
            Ok(seconds(|| {
                let draw = Draw { seed: 0, client: 0, step, batch: Batch::Rows(BATCH) };
                step += 1;
                let loss = workload.gradient(&x, &mut [], &draw, &mut gradient);
                black_box(loss.expect("a gradient of rows that are there"));
            }))
        };
        let plain = of("plain")?;
        for text in elements {
            let time = of(text)?;
            println!("  {text:<26}{:>10.3}{:>8.1}", 1e3 * time, time / plain);
        }
    }
    Ok(())
}
