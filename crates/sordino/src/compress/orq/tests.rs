use super::*;
use crate::base::Use;
use crate::base::flat;

const TOY: [f32; 12] = [-4.0, -1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0];

/// The construction as it is written in the step, on a sorted copy.
fn exact(x: &[f32], s: usize) -> Vec<f32> {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let mid = |a: f32, b: f32| {
        if a >= b {
            return a;
        }
        let t: Vec<f32> = sorted.iter().copied().filter(|v| (a..=b).contains(v)).collect();
        let q: f64 = t.iter().map(|v| (f64::from(*v) - f64::from(a)) / (f64::from(b) - f64::from(a))).sum();
        t[((t.len() as f64 - q).floor() as usize).min(t.len() - 1)]
    };
    let mut levels = vec![sorted[0], sorted[sorted.len() - 1]];
    while levels.len() < s {
        let mut next = vec![levels[0]];
        for pair in levels.windows(2) {
            next.extend([mid(pair[0], pair[1]), pair[1]]);
        }
        levels = next;
    }
    levels
}

fn variance(x: &[f32], levels: &[f32]) -> f64 {
    let between = |v: f64| {
        let k = levels.iter().filter(|b| f64::from(**b) <= v).count().clamp(1, levels.len() - 1);
        (f64::from(levels[k]) - v) * (v - f64::from(levels[k - 1]))
    };
    x.iter().map(|v| between(f64::from(*v))).sum()
}

fn greedy(x: &[f32], s: usize) -> Vec<f32> {
    let mut search = Search::new();
    match s {
        3 => search.levels::<3>(x).to_vec(),
        5 => search.levels::<5>(x).to_vec(),
        _ => search.levels::<9>(x).to_vec(),
    }
}

fn inputs() -> Vec<Vec<f32>> {
    let mut s = Stream::new(4, Use::Noise, 0, 0);
    let normal: Vec<f32> = (0..2048).map(|_| s.normal()).collect();
    let laplace: Vec<f32> =
        (0..2048).map(|_| (1.0 - s.uniform()).ln() * if s.uniform() < 0.5 { 1.0 } else { -1.0 }).collect();
    let heavy: Vec<f32> = normal.iter().map(|v| v.powi(9)).collect();
    let shifted: Vec<f32> = normal.iter().map(|v| 1000.0 + 1e-3 * v).collect();
    let ties: Vec<f32> = normal.iter().map(|v| v.round()).collect();
    let mut spike = normal.clone();
    spike[7] = 1e9;
    let huge: Vec<f32> = normal.iter().map(|v| v * 8e37).collect();
    let tiny: Vec<f32> = normal.iter().map(|v| v * 1e-40).collect();
    let short = normal[..5].to_vec();
    vec![normal, laplace, heavy, shifted, ties, spike, huge, tiny, short, vec![3.0; 9], vec![0.0; 70], vec![-1.0]]
}

#[test]
fn the_toy_has_the_levels_of_the_derivation() {
    assert_eq!(greedy(&TOY, 3), [-4.0, 1.0, 8.0]);
    assert_eq!(greedy(&TOY, 5), [-4.0, -1.0, 1.0, 3.0, 8.0]);
    assert!((variance(&TOY, &greedy(&TOY, 5)) / 12.0 - 0.375).abs() < 1e-9);
    assert!((variance(&TOY, &[-8.0, -4.0, 0.0, 4.0, 8.0]) / 12.0 - 1.875).abs() < 1e-9);
}

#[test]
fn short_buckets_have_the_exact_levels_and_long_ones_as_good() {
    for x in &inputs() {
        for s in [3, 5, 9] {
            for x in [&x[..], &x[..x.len().min(256)]] {
                let (found, wanted) = (greedy(x, s), exact(x, s));
                assert_eq!((found[0], found[s - 1]), (wanted[0], wanted[s - 1]));
                assert!(found.is_sorted());
                assert!(variance(x, &found) <= 1.01 * variance(x, &wanted) + 1e-70);
                assert!(found == wanted || x.len() > 256, "{s} levels: {found:?} and not {wanted:?}");
            }
        }
    }
}

/// A kind of entries: its name, and what a normal `z` and a uniform `u` become.
type Kind = (&'static str, fn(f32, f32) -> f32);

const KINDS: &[Kind] = &[
    ("normal", |z, _| z),
    ("Laplace", |z, u| (1.0 - u).ln() * z.signum()),
    ("log-normal", |z, u| z.exp() * if u < 0.5 { 1.0 } else { -1.0 }),
    ("wide log-normal", |z, u| (2.0 * z).exp() * if u < 0.5 { 1.0 } else { -1.0 }),
    ("cubes", |z, _| z * z * z),
    ("ninth powers", |z, _| z.powi(9)),
    ("outliers", |z, u| if u < 0.01 { 100.0 * z } else { z }),
    ("one outlier", |z, u| if u < 0.0003 { 1e9 * z } else { z }),
    ("Cauchy", |z, u| z / (u + 1e-6)),
    ("one-sided", |z, _| z.abs()),
    ("exponential", |_, u| (1.0 - u).ln()),
    ("rectified", |z, _| z.max(0.0)),
    ("a tenth not 0", |z, u| if u < 0.1 { z } else { 0.0 }),
    ("a hundredth not 0", |z, u| if u < 0.01 { z } else { 0.0 }),
    ("a tenth not small", |z, u| if u < 0.1 { z } else { 0.01 * z }),
    ("uniform", |_, u| u),
    ("uniform from 5", |_, u| 5.0 + u),
    ("around 1000", |z, _| 1000.0 + z),
    ("almost 1000", |z, _| 1000.0 + 1e-3 * z),
    ("thirds", |z, _| (3.0 * z).round()),
    ("twentieths", |z, _| (20.0 * z).round()),
    ("two bits of mantissa", |z, _| f32::from_bits(z.to_bits() & 0xFFE0_0000)),
    ("seven bits of mantissa", |z, _| f32::from_bits(z.to_bits() & 0xFFFF_0000)),
    ("two values", |_, u| if u < 0.3 { 2.0 } else { -0.7 }),
    ("three values", |z, u| if u < 0.3 { z.signum() } else { 0.3 }),
    ("clusters", |z, u| (2.0 * z).round() + 0.1 * u),
    ("half at 0.1", |z, u| if u < 0.5 { 0.1 } else { z }),
    ("a constant", |_, _| 0.7),
];

#[test]
fn the_histogram_errs_as_little_as_sorting_to_a_hundredth() {
    for (kind, entry) in KINDS {
        let mut stream = Stream::new(9, Use::Noise, 0, 0);
        for (n, buckets) in [(512, 40), (2048, 40), (20_000, 4)] {
            let (mut found, mut wanted) = ([0.0; 3], [0.0; 3]);
            for _ in 0..buckets {
                let x: Vec<f32> = (0..n).map(|_| entry(stream.normal(), stream.uniform())).collect();
                let scale = flat::squared_norm(&x);
                for (i, s) in [3, 5, 9].into_iter().enumerate() {
                    found[i] += variance(&x, &greedy(&x, s)) / scale;
                    wanted[i] += variance(&x, &exact(&x, s)) / scale;
                }
            }
            for i in 0..3 {
                let ratio = found[i] / wanted[i];
                assert!(found[i] <= 1.01 * wanted[i] + 1e-12, "{kind}, {n} entries, {i}: {ratio} of the exact error");
            }
        }
    }
}

#[test]
fn three_levels_are_optimal_and_every_level_is_stationary() {
    // Sorted for, and read off: a bin has up to 16 of these entries.
    for (x, slack, away) in inputs()[..2].iter().flat_map(|x| [(&x[..256], 1e-9, 1.0), (&x[..], 1e-4, 16.0)]) {
        let levels = greedy(x, 3);
        let best = variance(x, &levels);
        for v in x.iter().step_by(7) {
            assert!(variance(x, &[levels[0], *v, levels[2]]) >= best * (1.0 - slack));
        }
        let (a, m, b) = (f64::from(levels[0]), levels[1], f64::from(levels[2]));
        let above = x.iter().filter(|v| **v > m).count() as f64;
        let q: f64 = x.iter().map(|v| (f64::from(*v) - a) / (b - a)).sum();
        assert!((above - q).abs() <= away, "{above} entries above the level, {q} wanted");
    }
}

#[test]
fn the_levels_beat_equal_steps_and_equal_shares() {
    for x in &inputs()[..2] {
        let mut sorted = x.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let top = flat::max_abs(x);
        for s in [5, 9] {
            let steps: Vec<f32> = (0..s).map(|k| top * (2.0 * k as f32 / (s - 1) as f32 - 1.0)).collect();
            let shares: Vec<f32> = (0..s).map(|k| sorted[k * (x.len() - 1) / (s - 1)]).collect();
            let ours = variance(x, &greedy(x, s));
            assert!(ours < variance(x, &steps) && ours < variance(x, &shares));
        }
    }
}
