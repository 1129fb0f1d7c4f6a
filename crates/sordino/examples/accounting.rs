//! What a private run costs: one line `rate multiplier steps delta epsilon` per setting.
//!
//! `cargo xtask accounting` compares these numbers with those of Google's dp-accounting.

use sordino::privacy::{Accountant, Event};

/// Training runs of usual sizes: rate, multiplier, steps, δ.
const RUNS: [(f64, f64, u64, f64); 6] = [
    (256.0 / 60_000.0, 1.1, 14_062, 1e-5),
    (256.0 / 60_000.0, 1.3, 3_515, 1e-5),
    (0.01, 4.0, 10_000, 1e-5),
    (0.04, 8.0, 2_500, 1e-5),
    (0.001, 0.6, 100_000, 1e-7),
    (1e-4, 0.5, 1_000_000, 1e-9),
];

/// Corners: one release, every unit in every release, most units in most, next to no noise, next to no ε.
const CORNERS: [(f64, f64, u64, f64); 14] = [
    (1.0, 1.0, 1, 1e-5),
    (1.0, 0.3, 1, 1e-5),
    (1.0, 5.0, 100, 1e-6),
    (1.0, 40.0, 1000, 1e-5),
    (1.0, 500.0, 10, 1e-5),
    (1.0, 1e4, 1, 1e-3),
    (0.9, 1.0, 1, 1e-5),
    (0.9, 10.0, 50, 1e-5),
    (0.5, 0.5, 1, 1e-8),
    (0.5, 2.0, 100, 1e-5),
    (0.01, 0.5, 10_000, 1e-5),
    (0.1, 0.3, 100, 1e-5),
    (1e-6, 1.0, 1000, 1e-5),
    (0.02, 60.0, 1, 0.05),
];

fn main() -> sordino::Result<()> {
    println!("# rate multiplier steps delta epsilon");
    let mut settings = [&RUNS[..], &CORNERS[..]].concat();
    for rate in [0.001, 0.02, 0.3] {
        for multiplier in [0.7, 1.5, 6.0] {
            for steps in [1, 50, 3000] {
                settings.push((rate, multiplier, steps, 1e-6));
            }
        }
    }
    for (rate, multiplier, count, delta) in settings {
        let mut spent = Accountant::new();
        spent.compose(&Event { rate, multiplier, count })?;
        println!("{rate} {multiplier} {count} {delta} {}", spent.epsilon(delta));
    }
    Ok(())
}
