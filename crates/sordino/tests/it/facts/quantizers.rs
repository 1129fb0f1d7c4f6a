//! BinGrad, ORQ and their rivals, as a worker says them.

use std::sync::Arc;

use sordino::testing::Round;

use super::{mixed, near};
use crate::oracle::{
    problem::{normal, uniform},
    vectors::{minus, norm},
};
use crate::worlds::{Formula, Posed, narrow, wide};

const TOY: [f64; 12] = [-4.0, -1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0];

/// What one worker says of the gradient `v` in `rounds` rounds.
fn said(v: &[f64], compress: &str, rounds: u64) -> Vec<Vec<f64>> {
    let fixed = v.to_vec();
    let gradient = move |_: usize, _: u64, _: &[f64]| fixed.clone();
    let problem = Formula { workers: 1, start: vec![0.0; v.len()], gradient: Box::new(gradient), loss: |_| 0.0 };
    let sets = ["optim.rate=0", "payload=gradient", &format!("compress={compress}")];
    let ranks = mixed(&sets, &Posed::whole(Arc::new(problem)), 1, rounds).unwrap();
    ranks[0].rounds.iter().map(|r: &Round| wide(&r.said)).collect()
}

fn gauss(n: usize, seed: u64) -> Vec<f64> {
    wide(&narrow(&(0..n).map(|j| normal(seed, 0, 0, j)).collect::<Vec<_>>()))
}

fn laplace(n: usize, seed: u64) -> Vec<f64> {
    let draw = |j: usize| -(1.0 - uniform(seed, 1, 0, j)).ln();
    let signed = |j: usize| if uniform(seed, 2, 0, j) < 0.5 { -draw(j) } else { draw(j) };
    wide(&narrow(&(0..n).map(signed).collect::<Vec<_>>()))
}

/// The mean squared error an entry.
fn error(v: &[f64], said: &[Vec<f64>]) -> f64 {
    said.iter().map(|s| norm(&minus(s, v)).powi(2)).sum::<f64>() / (said.len() * v.len()) as f64
}

/// The different values said, ascending.
fn values(said: &[Vec<f64>]) -> Vec<f64> {
    let mut all: Vec<f64> = said.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

#[test]
fn the_twelve_numbers_of_the_notes() {
    assert_eq!(values(&said(&TOY, "orq(3)", 200)), [-4.0, 1.0, 8.0]);
    let orq = said(&TOY, "orq(5)", 4000);
    assert_eq!(values(&orq), [-4.0, -1.0, 1.0, 3.0, 8.0]);
    // Twelve entries, 4000 rounds: the error's own error is some per cent.
    near(error(&TOY, &orq), 0.375, 0.05);
    near(error(&TOY, &said(&TOY, "qsgd(2)", 4000)), 1.875, 0.05);
    let b = values(&said(&TOY, "bingrad(b)", 1));
    assert!((b[0] + 6.0 / 7.0).abs() < 1e-6 && b[1] == 3.0, "{b:?}");
    let pb = values(&said(&TOY, "bingrad(pb)", 50));
    assert!(pb.len() == 2 && (pb[1] - 17.0 / 12.0).abs() < 1e-6 && pb[0] == -pb[1], "{pb:?}");
}

#[test]
fn the_measured_errors_of_orq_and_its_rivals() {
    let mean_over = |of: &dyn Fn(u64) -> f64| (0..20).map(|seed| of(40 + seed)).sum::<f64>() / 20.0;
    let of = |v: fn(usize, u64) -> Vec<f64>, compress: &str| {
        mean_over(&|seed| {
            let v = v(2048, seed);
            error(&v, &said(&v, compress, 8))
        })
    };
    // Even levels over ±max: the range of 2048 samples differs from bucket to bucket, and they follow it.
    for (v, even, orq, [expected_even, expected]) in [
        (gauss as fn(usize, u64) -> Vec<f64>, "qsgd(2)", "orq(5)", [0.635, 0.343]),
        (gauss, "qsgd(4)", "orq(9)", [0.160, 0.079]),
        (laplace, "qsgd(4)", "orq(9)", [0.568, 0.216]),
    ] {
        let (even, orq) = (of(v, even), of(v, orq));
        near(even, expected_even, 0.2);
        near(orq, expected, 0.07);
        assert!(orq < even);
    }
}

#[test]
fn random_rounding_has_no_bias_and_what_is_cut_has() {
    let v = gauss(64, 3);
    let rounds = 4000;
    let worst = |compress: &str| {
        let said = said(&v, compress, rounds);
        let of = |j: usize| {
            let mean = said.iter().map(|s| s[j]).sum::<f64>() / rounds as f64;
            let square = said.iter().map(|s| (s[j] - mean).powi(2)).sum::<f64>() / rounds as f64;
            (mean - v[j]).abs() / ((square / rounds as f64).sqrt() + 1e-7)
        };
        (0..v.len()).map(of).fold(0.0, f64::max)
    };
    for compress in ["orq(3)", "orq(5)", "orq(9)", "qsgd(4)", "qsgd(4, norm=l2)", "terngrad", "natural"] {
        assert!(worst(compress) < 4.5, "{compress}: {} deviations", worst(compress));
    }
    for compress in ["bingrad(pb)", "terngrad(sigmas=1)", "bingrad(b)"] {
        assert!(worst(compress) > 10.0, "{compress}: {} deviations", worst(compress));
    }
}

#[test]
fn the_partially_biased_level_is_the_root_and_rounds_without_bias_inside() {
    for v in [gauss(2048, 6), laplace(2048, 6)] {
        let said = said(&v, "bingrad(pb)", 400);
        let levels = values(&said);
        let b = levels[1];
        assert!(levels.len() == 2 && levels[0] == -b);
        let beyond = v.iter().filter(|x| x.abs() > b).map(|x| x.abs()).sum::<f64>() / v.len() as f64;
        near(beyond, b, 2e-3);
        let expected = |b: f64| {
            let of = |x: f64| if x.abs() > b { (x.abs() - b).powi(2) } else { b * b - x * x };
            v.iter().map(|&x| of(x)).sum::<f64>()
        };
        assert!((1..200).all(|k| expected(b) <= expected(0.02 * f64::from(k) * b) + 1e-6));
        for j in (0..v.len()).step_by(97) {
            let mean = said.iter().map(|s| s[j]).sum::<f64>() / 400.0;
            assert!((mean - v[j].clamp(-b, b)).abs() <= 4.5 * b / 20.0);
        }
    }
}

#[test]
fn the_fully_biased_quantizer_contracts_and_is_scaled_sign_on_symmetric_entries() {
    let v = laplace(2048, 8);
    let q = &said(&v, "bingrad(b)", 1)[0];
    let centre = v.iter().sum::<f64>() / 2048.0;
    let spread = v.iter().map(|x| (x - centre).powi(2)).sum::<f64>().sqrt();
    assert!(norm(&minus(q, &v)) <= spread && spread <= norm(&v));
    let symmetric: Vec<f64> = (1..=32).flat_map(|k| [k as f64 / 8.0, -(k as f64) / 8.0]).collect();
    let (b, sign) = (said(&symmetric, "bingrad(b)", 1), said(&symmetric, "sign", 1));
    assert!(norm(&minus(&b[0], &sign[0])) < 1e-6);
    let (b, sign) = (said(&TOY, "bingrad(b)", 1), said(&TOY, "sign", 1));
    assert!(norm(&minus(&b[0], &sign[0])) > 1.0);
}

#[test]
fn qsgd_with_one_level_is_terngrad_and_its_variance_is_known() {
    let v = gauss(256, 5);
    let top = v.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let exact = v.iter().map(|g| g.abs() * (top - g.abs())).sum::<f64>() / 256.0;
    let (ternary, one) = (said(&v, "terngrad", 400), said(&v, "qsgd(1)", 400));
    near(error(&v, &ternary), exact, 0.02);
    assert_eq!(ternary, one);
    for s in [1.0f64, 4.0, 16.0, 64.0] {
        let bound = (256.0 / (s * s)).min(16.0 / s) * norm(&v).powi(2) / 256.0;
        assert!(error(&v, &said(&v, &format!("qsgd({s}, norm=l2)"), 100)) <= bound);
    }
}
