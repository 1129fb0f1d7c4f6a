//! The quantizers: BinGrad, ORQ, QSGD, TernGrad.

use super::{assert_close, assert_same};
use crate::oracle::{
    bingrad_b, bingrad_pb,
    compress::scaled_sign,
    cut::Cut,
    inner::Inner,
    orq,
    problem::{Logistic, Noise, Problem, Quadratics, normal, uniform},
    qsgd,
    qsgd::Scale,
    sync_sgd, terngrad,
    vectors::{minus, norm},
};

/// `(how many, seed)` to entries.
type Draw = fn(usize, u64) -> Vec<f64>;

/// A draw of a quantizer: round to decoded vector.
type Quantize<'a> = &'a dyn Fn(u64) -> Vec<f64>;

const TOY: [f64; 12] = [-4.0, -1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0];

fn gauss(n: usize, seed: u64) -> Vec<f64> {
    (0..n).map(|j| normal(seed, 0, 0, j)).collect()
}

fn laplace(n: usize, seed: u64) -> Vec<f64> {
    let draw = |j: usize| -(1.0 - uniform(seed, 1, 0, j)).ln();
    (0..n).map(|j| if uniform(seed, 2, 0, j) < 0.5 { -draw(j) } else { draw(j) }).collect()
}

/// The variance of random rounding, per entry: the mean of (b - v)(v - a).
fn variance(v: &[f64], levels: &[f64]) -> f64 {
    let of = |x: f64| {
        let above = levels.iter().copied().find(|&b| b >= x).unwrap();
        let below = levels.iter().copied().rfind(|&a| a <= x).unwrap();
        (above - x) * (x - below)
    };
    v.iter().map(|&x| of(x)).sum::<f64>() / v.len() as f64
}

fn between(low: f64, high: f64, s: usize) -> Vec<f64> {
    (0..s).map(|k| low + (high - low) * k as f64 / (s - 1) as f64).collect()
}

/// Levels at equal shares of the sorted entries.
fn equal_shares(v: &[f64], s: usize) -> Vec<f64> {
    let mut sorted = v.to_vec();
    sorted.sort_by(f64::total_cmp);
    (0..s).map(|k| sorted[(k * (v.len() - 1)) / (s - 1)]).collect()
}

fn widest(v: &[f64]) -> f64 {
    v.iter().fold(0.0f64, |a, b| a.max(b.abs()))
}

#[test]
fn the_twelve_numbers_of_the_notes() {
    assert_eq!(orq::levels(&TOY, 3), [-4.0, 1.0, 8.0]);
    assert_eq!(orq::levels(&TOY, 5), [-4.0, -1.0, 1.0, 3.0, 8.0]);
    assert_close(&[variance(&TOY, &orq::levels(&TOY, 5))], &[0.375], 1e-15);
    assert_close(&[variance(&TOY, &between(-8.0, 8.0, 5))], &[1.875], 1e-15);
    assert_close(&bingrad_b::levels(&TOY), &[-6.0 / 7.0, 3.0], 1e-15);
    assert_eq!(bingrad_b::quantize(&TOY)[6..8], [bingrad_b::levels(&TOY)[0], 3.0]);
    assert_close(&bingrad_pb::levels(&TOY), &[-17.0 / 12.0, 17.0 / 12.0], 1e-15);
}

#[test]
fn the_measured_errors_of_orq_and_its_rivals() {
    // Per entry over 2048 samples, the mean over twenty buckets; the notes measured one.
    let mean_over = |of: &dyn Fn(u64) -> f64| (0..20).map(|seed| of(40 + seed)).sum::<f64>() / 20.0;
    let rounding = |draw: &dyn Fn(usize, u64) -> Vec<f64>, levels: &dyn Fn(&[f64]) -> Vec<f64>| {
        mean_over(&|seed| {
            let v = draw(2048, seed);
            variance(&v, &levels(&v))
        })
    };
    let cases: [(Draw, usize, [f64; 3]); 3] =
        [(gauss, 5, [0.635, 0.576, 0.343]), (gauss, 9, [0.160, 0.193, 0.079]), (laplace, 9, [0.568, 1.00, 0.216])];
    for (draw, s, [even, shares, best]) in cases {
        let a = rounding(&draw, &|v| between(-widest(v), widest(v), s));
        let b = rounding(&draw, &|v| equal_shares(v, s));
        let c = rounding(&draw, &|v| orq::levels(v, s));
        // The range of 2048 samples differs from bucket to bucket, and even levels follow it.
        for (value, expected, tolerance) in [(a, even, 0.2), (b, shares, 0.1), (c, best, 0.05)] {
            assert!((value / expected - 1.0).abs() < tolerance, "s {s}: {value} for {expected}");
        }
        assert!(c < a && c < b);
    }
}

#[test]
fn the_levels_of_orq_satisfy_its_condition_and_three_are_optimal() {
    for seed in 0..10 {
        let v = laplace(512, seed);
        for s in [3, 5, 9] {
            let l = orq::levels(&v, s);
            assert!(l.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(
                (l[0], l[s - 1]),
                (v.iter().copied().fold(0.0, f64::min), v.iter().copied().fold(0.0, f64::max))
            );
            // The level put in last, between its neighbours: as many entries above as rounding sends up, to one.
            for k in (1..s - 1).step_by(2) {
                let inside: Vec<f64> = v.iter().copied().filter(|&x| l[k - 1] <= x && x <= l[k + 1]).collect();
                let q: f64 = inside.iter().map(|x| (x - l[k - 1]) / (l[k + 1] - l[k - 1])).sum();
                let above = inside.iter().filter(|&&x| x > l[k]).count() as f64;
                assert!((above - q).abs() <= 1.0, "{above} {q}");
            }
        }
        let l = orq::levels(&v, 3);
        let least = v.iter().map(|&m| variance(&v, &[l[0], m, l[2]])).fold(f64::MAX, f64::min);
        assert_close(&[variance(&v, &l)], &[least], 1e-3);
    }
}

#[test]
fn random_rounding_has_no_bias() {
    let v = gauss(64, 3);
    let draws = 4000;
    let quantizers: [(&str, Quantize); 5] = [
        ("orq 3", &|r| orq::quantize(&v, 3, &|j| uniform(9, 0, r, j))),
        ("orq 9", &|r| orq::quantize(&v, 9, &|j| uniform(9, 0, r, j))),
        ("qsgd, Euclidean", &|r| qsgd::quantize(&v, 4, Scale::Euclidean, &|j| uniform(9, 0, r, j))),
        ("qsgd, largest", &|r| qsgd::quantize(&v, 4, Scale::Largest, &|j| uniform(9, 0, r, j))),
        ("terngrad", &|r| terngrad::quantize(&v, &|j| uniform(9, 0, r, j))),
    ];
    for (name, quantize) in quantizers {
        let (mut sum, mut squares) = (vec![0.0; 64], vec![0.0; 64]);
        for r in 0..draws {
            for (j, q) in quantize(r).into_iter().enumerate() {
                sum[j] += q;
                squares[j] += q * q;
            }
        }
        for j in 0..64 {
            let mean = sum[j] / draws as f64;
            let deviation = ((squares[j] / draws as f64 - mean * mean).max(0.0) / draws as f64).sqrt();
            assert!((mean - v[j]).abs() <= 4.5 * deviation + 1e-12, "{name}: {mean} for {}", v[j]);
        }
    }
}

#[test]
fn qsgd_and_terngrad_have_their_variances() {
    let v = gauss(256, 5);
    let error = |quantize: &dyn Fn(u64) -> Vec<f64>| {
        (0..400).map(|r| norm(&minus(&quantize(r), &v)).powi(2)).sum::<f64>() / 400.0
    };
    for s in [1, 4, 16, 64] {
        let bound = (256.0 / f64::from(s * s)).min(16.0 / f64::from(s)) * norm(&v).powi(2);
        assert!(error(&|r| qsgd::quantize(&v, s, Scale::Euclidean, &|j| uniform(2, 0, r, j))) <= bound);
        let levels = qsgd::levels(&v, s, Scale::Euclidean);
        let q = qsgd::quantize(&v, s, Scale::Euclidean, &|j| uniform(2, 0, 0, j));
        assert!(q.iter().all(|x| levels.iter().any(|l| (l - x).abs() < 1e-12)));
        assert_eq!(levels.len() as u32, 2 * s + 1);
    }
    let s = widest(&v);
    let exact: f64 = v.iter().map(|g| g.abs() * (s - g.abs())).sum();
    let measured = error(&|r| terngrad::quantize(&v, &|j| uniform(2, 0, r, j)));
    assert!((measured / exact - 1.0).abs() < 0.02, "{measured} {exact}");
    // QSGD with one level by the largest entry is TernGrad, draw by draw.
    for r in 0..20 {
        let u = |j: usize| uniform(2, 0, r, j);
        assert_close(&qsgd::quantize(&v, 1, Scale::Largest, &u), &terngrad::quantize(&v, &u), 1e-15);
    }
}

#[test]
fn the_partially_biased_level_is_the_root_and_the_best() {
    for v in [gauss(2048, 6), laplace(2048, 6), TOY.to_vec()] {
        let n = v.len() as f64;
        let b = bingrad_pb::levels(&v)[1];
        let beyond = |b: f64| v.iter().filter(|x| x.abs() > b).map(|x| x.abs()).sum::<f64>() / n;
        assert!(beyond(b * (1.0 - 1e-12)) >= b * (1.0 - 1e-12) && beyond(b * (1.0 + 1e-12)) <= b * (1.0 + 1e-12));
        let error = |b: f64| {
            let of = |x: f64| if x.abs() > b { (x.abs() - b).powi(2) } else { (b - x) * (b + x) };
            v.iter().map(|&x| of(x)).sum::<f64>() / n
        };
        assert!((1..400).all(|k| error(b) <= error(k as f64 * 0.01 * b) + 1e-12));
    }
}

#[test]
fn the_partially_biased_draws_round_without_bias_inside() {
    let v = gauss(64, 4);
    let b = bingrad_pb::levels(&v)[1];
    let draws = 4000;
    let mut sum = vec![0.0; 64];
    for r in 0..draws {
        for (j, q) in bingrad_pb::quantize(&v, &|j| uniform(1, 0, r, j)).into_iter().enumerate() {
            assert_eq!(q.abs(), b);
            sum[j] += q / draws as f64;
        }
    }
    for j in 0..64 {
        let expected = v[j].clamp(-b, b);
        assert!((sum[j] - expected).abs() <= 4.5 * b / (draws as f64).sqrt());
    }
}

#[test]
fn the_fully_biased_quantizer_contracts_and_is_scaled_sign_on_symmetric_entries() {
    let v = laplace(2048, 8);
    let q = bingrad_b::quantize(&v);
    assert!(norm(&minus(&q, &v)) < norm(&v));
    let centre = v.iter().sum::<f64>() / 2048.0;
    let spread = v.iter().map(|x| (x - centre).powi(2)).sum::<f64>().sqrt();
    assert!(norm(&minus(&q, &v)) <= spread);
    let symmetric: Vec<f64> = (1..=32).flat_map(|k| [k as f64 / 8.0, -(k as f64) / 8.0]).collect();
    assert_close(&bingrad_b::quantize(&symmetric), &scaled_sign(&symmetric), 1e-15);
}

#[test]
fn poor_buckets_are_survived() {
    let u = |_: usize| 0.5;
    for v in [vec![0.0; 5], vec![-2.5; 5], vec![7.0]] {
        assert_eq!(orq::quantize(&v, 5, &u), v);
        assert_eq!(bingrad_b::quantize(&v), v);
        assert_eq!(terngrad::quantize(&v, &u), v);
        assert!(qsgd::quantize(&v, 4, Scale::Euclidean, &u).iter().all(|x| x.is_finite()));
        assert_eq!(qsgd::quantize(&v, 4, Scale::Largest, &u), v);
        assert!(bingrad_pb::quantize(&v, &u).iter().all(|x| x.is_finite()));
    }
    assert_eq!(orq::levels(&[1.0, 1.0, 2.0], 9).len(), 9);
}

#[test]
fn buckets_do_not_cross_tensors() {
    let cut = Cut { tensors: vec![5, 1, 4], bucket: 2, dense_below: 2 };
    let cuts: Vec<(usize, usize, bool)> = cut.pieces().iter().map(|p| (p.start, p.end, p.dense)).collect();
    let expected = [(0, 2, false), (2, 4, false), (4, 5, false), (5, 6, true), (6, 8, false), (8, 10, false)];
    assert_eq!(cuts, expected);
}

#[test]
fn quantized_descent_arrives_near_and_fine_levels_are_plain_sgd() {
    let problem = Logistic::waves(4, 10, 8, 0.1, None);
    let draw = |worker: usize, round: u64, entry: usize| uniform(77, worker, round, entry);
    let (rate, inner, cut) = (|_: u64| 0.2, Inner::Sgd { momentum: 0.5, decay: 1e-3 }, Cut::whole(8));
    let plain = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &rate, inner }, 300);
    let fine = qsgd::Settings { rate: &rate, inner, levels: 1 << 30, scale: Scale::Euclidean, cut: cut.clone() };
    assert_same(&qsgd::trajectory(&problem, &fine, 300, &draw), &plain, 1e-7);
    let coarse = qsgd::Settings { levels: 4, ..fine };
    let ends = [
        qsgd::trajectory(&problem, &coarse, 300, &draw),
        terngrad::trajectory(&problem, &terngrad::Settings { rate: &rate, inner, cut: cut.clone() }, 300, &draw),
        orq::trajectory(&problem, &orq::Settings { rate: &rate, inner, levels: 5, cut: cut.clone() }, 300, &draw),
    ];
    let gap = |x: &[Vec<f64>]| problem.loss(&x[300]) - problem.loss(&plain[300]);
    assert!(ends.iter().all(|x| gap(x).abs() < 0.05), "{:?}", ends.iter().map(|x| gap(x)).collect::<Vec<_>>());
    let b = bingrad_b::trajectory(&problem, &bingrad_b::Settings { rate: &rate, inner, cut: cut.clone() }, 300);
    let pb = bingrad_pb::trajectory(&problem, &bingrad_pb::Settings { rate: &rate, inner, cut }, 300, &draw);
    let first = problem.loss(&problem.start());
    assert!(problem.loss(&b[300]) < first && problem.loss(&pb[300]) < first);
}

#[test]
fn two_entries_are_told_exactly_by_two_levels() {
    let problem = Quadratics::scattered(3, 2, Noise::None);
    let settings = bingrad_b::Settings { rate: &|_| 0.3, inner: Inner::PLAIN, cut: Cut::whole(2) };
    let plain = sync_sgd::Settings { rate: &|_| 0.3, inner: Inner::PLAIN };
    assert_same(&bingrad_b::trajectory(&problem, &settings, 80), &sync_sgd::trajectory(&problem, &plain, 80), 1e-13);
}
