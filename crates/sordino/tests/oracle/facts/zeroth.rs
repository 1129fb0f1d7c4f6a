//! Gradients from values: the estimators, ZO-ProxSVRG, ZO-ProxSAGA and shared directions.

use super::{assert_close, assert_same};
use crate::oracle::{
    differences::{Estimator, Sum, along, estimate, unit},
    inner::Inner,
    problem::{Noise, Problem, Quadratics, normal, uniform},
    prox::Prox,
    sync_sgd,
    vectors::{mean, minus, norm},
    zo_proxsaga, zo_proxsgd, zo_proxsvrg,
    zo_proxsvrg::At,
    zo_seeded,
    zo_seeded::Difference,
};
use std::cell::Cell;

/// A standard normal vector that depends on nothing but three integers.
fn gauss(seed: u64, a: u64, b: usize, d: usize) -> Vec<f64> {
    (0..d).map(|j| normal(seed, b, a, j)).collect()
}

/// `b` indices below `n`, with replacement.
fn indices(seed: u64, t: u64, b: usize, n: usize) -> Vec<usize> {
    (0..b).map(|l| (uniform(seed, 0, t, l) * n as f64) as usize).collect()
}

/// The index b = n^(2/3) and the epoch m = n^(1/3) of the notes.
fn sizes(n: usize) -> (usize, u64) {
    ((n as f64).powf(2.0 / 3.0).round() as usize, (n as f64).powf(1.0 / 3.0).round() as u64)
}

/// `½ Σ_j h_ij x_j² - b_ij x_j`, some `h_ij` negative, their means positive.
struct Bowls {
    h: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
}

impl Bowls {
    fn new(n: usize, d: usize, seed: u64) -> Self {
        let centre: Vec<f64> = (0..d).map(|j| 0.05 + uniform(seed, 0, 9, j)).collect();
        let curvature = |i: usize, j: usize| {
            let bend = 2.0 * uniform(seed, i, 0, j) - 1.0;
            centre[j] + bend
        };
        let mut h: Vec<Vec<f64>> = (0..n).map(|i| (0..d).map(|j| curvature(i, j)).collect()).collect();
        let off = minus(&mean(&h), &centre);
        for row in &mut h {
            *row = minus(row, &off);
        }
        Self { h, b: (0..n).map(|i| gauss(seed, 1, i, d)).collect() }
    }

    fn value(&self, i: usize, x: &[f64]) -> f64 {
        (0..x.len()).map(|j| 0.5 * self.h[i][j] * x[j] * x[j] - self.b[i][j] * x[j]).sum()
    }

    fn gradient(&self, i: usize, x: &[f64]) -> Vec<f64> {
        (0..x.len()).map(|j| self.h[i][j] * x[j] - self.b[i][j]).collect()
    }

    fn mean_gradient(&self, x: &[f64]) -> Vec<f64> {
        mean(&(0..self.h.len()).map(|i| self.gradient(i, x)).collect::<Vec<_>>())
    }

    fn smoothness(&self) -> f64 {
        self.h.iter().flatten().fold(0.0, |a, b| b.abs().max(a))
    }
}

/// The notes' toy: sigmoid loss of random rows with planted labels.
struct Sigmoid {
    rows: Vec<Vec<f64>>,
    labels: Vec<f64>,
}

const LAMBDA: f64 = 0.02;

impl Sigmoid {
    fn new(n: usize, d: usize, seed: u64) -> Self {
        let truth = gauss(seed, 1, 0, d);
        let rows: Vec<Vec<f64>> = (0..n).map(|i| gauss(seed, 0, i, d)).collect();
        let score = |i: usize| (0..d).map(|j| rows[i][j] * truth[j]).sum::<f64>() + normal(seed, i, 2, 0);
        let labels = (0..n).map(|i| if score(i) > 0.0 { 1.0 } else { -1.0 }).collect();
        Self { rows, labels }
    }

    fn margin(&self, i: usize, x: &[f64]) -> f64 {
        self.labels[i] * (0..x.len()).map(|j| self.rows[i][j] * x[j]).sum::<f64>()
    }

    fn value(&self, i: usize, x: &[f64]) -> f64 {
        1.0 / (1.0 + self.margin(i, x).exp())
    }

    fn gradient(&self, i: usize, x: &[f64]) -> Vec<f64> {
        let s = self.value(i, x);
        self.rows[i].iter().map(|a| -s * (1.0 - s) * self.labels[i] * a).collect()
    }

    fn mean_gradient(&self, x: &[f64]) -> Vec<f64> {
        mean(&(0..self.rows.len()).map(|i| self.gradient(i, x)).collect::<Vec<_>>())
    }

    /// `max |σ''| max ‖a‖²`, with the notes' constant.
    fn smoothness(&self) -> f64 {
        0.0963 * self.rows.iter().map(|row| norm(row).powi(2)).fold(0.0, f64::max)
    }

    fn objective(&self, x: &[f64]) -> f64 {
        (0..self.rows.len()).map(|i| self.value(i, x)).sum::<f64>() / self.rows.len() as f64 + Prox::L1(LAMBDA).value(x)
    }
}

#[test]
fn coordinate_differences_are_exact_on_quadratics_for_every_mu() {
    let bowls = Bowls::new(5, 6, 1);
    let sum = Sum { n: 5, d: 6, f: &|i, x| bowls.value(i, x) };
    for i in 0..5 {
        let x = gauss(2, 0, i, 6);
        let exact = bowls.gradient(i, &x);
        for mu in [1e-2, 1.0, 1e2] {
            assert_close(&estimate(&sum, Estimator::Coordinate(mu), i, &x, &[]), &exact, 1e-12);
        }
        // The control: one-sided differences are off by half of μ times the curvature.
        for j in 0..6 {
            let u: Vec<f64> = unit(j, 6);
            let one_sided = estimate(&sum, Estimator::Gaussian(1.0), i, &x, &u)[j];
            assert_close(&[one_sided - exact[j]], &[0.5 * bowls.h[i][j]], 1e-12);
        }
    }
}

#[test]
fn coordinate_differences_keep_the_bound_of_their_bias_and_reach_it() {
    let (n, d) = (40, 10);
    let toy = Sigmoid::new(n, d, 3);
    let sum = Sum { n, d, f: &|i, x| toy.value(i, x) };
    let root = (d as f64).sqrt();
    for i in 0..n {
        let l = 0.0963 * norm(&toy.rows[i]).powi(2);
        for mu in [1e-3, 0.1, 1.0, 5.0] {
            let (x, y) = (gauss(4, 0, i, d), gauss(4, 1, i, d));
            let (at_x, at_y) = (
                estimate(&sum, Estimator::Coordinate(mu), i, &x, &[]),
                estimate(&sum, Estimator::Coordinate(mu), i, &y, &[]),
            );
            assert!(norm(&minus(&at_x, &toy.gradient(i, &x))) <= root * l * mu / 2.0);
            assert!(norm(&minus(&at_x, &at_y)) <= root * l * norm(&minus(&x, &y)));
        }
    }
    // ½ L Σ x|x| has curvature L on one side and -L on the other: the bound is met at 0, and beyond it lies nothing.
    let kink = Sum { n: 1, d, f: &|_, x| 1.5 * x.iter().map(|a| a * a.abs()).sum::<f64>() };
    let bias = norm(&estimate(&kink, Estimator::Coordinate(0.4), 0, &vec![0.0; d], &[]));
    assert_close(&[bias], &[root * 3.0 * 0.4 / 2.0], 1e-12);
}

#[test]
fn gaussian_differences_of_linear_functions_have_the_second_moment_of_theory() {
    // ĝ = (g·u) u: the second moment of X = ‖ĝ‖² / ‖g‖² = u₁² ‖u‖² is 105 + 30 (d-1) + 3 ((d-1)² + 2 (d-1)).
    let (d, draws) = (5usize, 100_000);
    let slope = [1.0, -2.0, 0.5, 3.0, 0.0];
    let sum = Sum { n: 1, d, f: &|_, x| (0..d).map(|j| slope[j] * x[j]).sum() };
    let (mut first, mut second) = (vec![0.0; d], 0.0);
    for t in 0..draws {
        let g = estimate(&sum, Estimator::Gaussian(0.1), 0, &[0.3; 5], &gauss(5, t, 0, d));
        for j in 0..d {
            first[j] += g[j] / draws as f64;
        }
        second += g.iter().map(|a| a * a).sum::<f64>() / draws as f64;
    }
    let square = norm(&slope).powi(2);
    let c = (d - 1) as f64;
    let variance = 105.0 + 30.0 * c + 3.0 * (c * c + 2.0 * c) - (d as f64 + 2.0).powi(2);
    let allowed = 5.0 * (variance / draws as f64).sqrt();
    assert!((second / square - (d as f64 + 2.0)).abs() < allowed, "{} {allowed}", second / square);
    // The controls: d + 1 and d + 3 are outside.
    assert!(allowed < 0.5);
    for j in 0..d {
        // The variance of an entry is ‖g‖² + g_j².
        let allowed = 5.0 * ((square + slope[j] * slope[j]) / draws as f64).sqrt();
        assert!((first[j] - slope[j]).abs() < allowed, "{j}: {}", first[j]);
    }
}

#[test]
fn gaussian_differences_of_quadratics_have_the_gradient_as_mean() {
    let (d, draws, mu) = (6usize, 40_000, 0.3);
    let bowls = Bowls::new(1, d, 6);
    let sum = Sum { n: 1, d, f: &|i, x| bowls.value(i, x) };
    let x = gauss(7, 0, 0, d);
    let g = bowls.gradient(0, &x);
    let mut first = vec![0.0; d];
    for t in 0..draws {
        let own = estimate(&sum, Estimator::Gaussian(mu), 0, &x, &gauss(8, t, 0, d));
        for j in 0..d {
            first[j] += own[j] / draws as f64;
        }
    }
    for j in 0..d {
        let curved = (mu * bowls.smoothness()).powi(2) * ((d + 2) * (d + 4)) as f64 / 4.0;
        let allowed = 5.0 * ((norm(&g).powi(2) + g[j] * g[j] + curved) / draws as f64).sqrt();
        assert!((first[j] - g[j]).abs() < allowed, "{j}: {} {}", first[j], g[j]);
    }
}

#[test]
fn proximal_steps_minimise_what_they_should() {
    let groups = vec![0..2, 2..5];
    for (t, psi) in [Prox::L1(0.4), Prox::Groups(0.7, groups), Prox::Box(-0.5, 0.8), Prox::None].iter().enumerate() {
        for trial in 0..50 {
            let (v, eta) = (gauss(9, trial, t, 6), 0.1 + uniform(9, t, trial, 99));
            let price = |y: &[f64]| psi.value(y) + norm(&minus(y, &v)).powi(2) / (2.0 * eta);
            let y = psi.step(&v, eta);
            let best = price(&y);
            for near in 0..30 {
                let z = along(&y, 10f64.powi(-(near % 4)), &gauss(10, near as u64, t, 6));
                assert!(price(&z) >= best - 1e-12, "{psi:?}");
            }
        }
    }
    assert_eq!(Prox::L1(2.0).step(&[1.5, -0.5, -3.0, 1.0], 0.5), [0.5, 0.0, -2.0, 0.0]);
    assert_close(&Prox::Groups(5.0, vec![0..2, 2..3]).step(&[3.0, 4.0, 1.0], 0.5), &[1.5, 2.0, 0.0], 1e-15);
    assert_eq!(Prox::Groups(1.0, vec![0..2, 2..2]).step(&[0.0, 0.0, 7.0], 0.5), [0.0, 0.0, 7.0]);
}

/// ZO-ProxSVRG with constant rate and given directions; the models.
fn svrg(sum: &Sum, estimator: Estimator, (eta, prox): (f64, &Prox), seed: u64, steps: u64) -> Vec<Vec<f64>> {
    let (b, m) = sizes(sum.n);
    let settings = zo_proxsvrg::Settings {
        rate: &|_| eta,
        inner: m,
        estimator,
        prox: prox.clone(),
        draw: &|s, t| indices(seed, s * m + t, b, sum.n),
        direction: &|s, i, _| gauss(seed + 1, s, i, sum.d),
    };
    zo_proxsvrg::trajectory(sum, &settings, &vec![0.5; sum.d], steps.div_ceil(m))
}

/// ZO-ProxSAGA likewise; `frozen` directions are never drawn again.
fn saga(
    sum: &Sum,
    estimator: Estimator,
    (eta, prox): (f64, &Prox),
    (seed, frozen): (u64, bool),
    steps: u64,
) -> Vec<Vec<f64>> {
    let (b, _) = sizes(sum.n);
    let settings = zo_proxsaga::Settings {
        rate: &|_| eta,
        estimator,
        prox: prox.clone(),
        draw: &|t| indices(seed, 2 * t, b, sum.n),
        redraw: &|t| indices(seed, 2 * t + 1, b, sum.n),
        direction: &|t, i| gauss(seed + 1, if frozen { 0 } else { t }, i, sum.d),
    };
    zo_proxsaga::trajectory(sum, &settings, &vec![0.5; sum.d], steps)
}

#[test]
fn on_quadratics_coordinate_differences_are_the_methods_with_gradients() {
    let bowls = Bowls::new(27, 5, 11);
    let sum = Sum { n: 27, d: 5, f: &|i, x| bowls.value(i, x) };
    let gradient = |i: usize, x: &[f64]| bowls.gradient(i, x);
    let eta = 1.0 / (3.0 * bowls.smoothness());
    for prox in [Prox::None, Prox::L1(0.1), Prox::Groups(0.1, vec![0..3, 3..5]), Prox::Box(-0.2, 0.6)] {
        for mu in [0.01, 3.0] {
            let exact = svrg(&sum, Estimator::Exact(&gradient), (eta, &prox), 12, 90);
            assert_same(&svrg(&sum, Estimator::Coordinate(mu), (eta, &prox), 12, 90), &exact, 1e-10);
            let exact = saga(&sum, Estimator::Exact(&gradient), (eta, &prox), (12, false), 90);
            assert_same(&saga(&sum, Estimator::Coordinate(mu), (eta, &prox), (12, false), 90), &exact, 1e-10);
        }
    }
}

#[test]
fn the_first_steps_are_those_worked_out_by_hand() {
    // f_0 = x², f_1 = 2x from x = 1, rate ¼, one index a step. Full gradient at 1: 2.
    let sum = Sum { n: 2, d: 1, f: &|i, x| if i == 0 { x[0] * x[0] } else { 2.0 * x[0] } };
    let draw = |t: u64| vec![(t % 2) as usize];
    let settings = zo_proxsvrg::Settings {
        rate: &|_| 0.25,
        inner: 2,
        estimator: Estimator::Coordinate(0.5),
        prox: Prox::L1(0.4),
        draw: &|s, t| draw(2 * s + t),
        direction: &|_, _, _| vec![],
    };
    let x = zo_proxsvrg::trajectory(&sum, &settings, &[1.0], 2);
    // v = 2 - 2 + 2: 1 - 0.5 - 0.1 = 0.4. Then v = 2 - 2 + 2: -0.1 + 0.1 = 0. New full gradient at 0: 1.
    // v = 0 - 0 + 1: -0.25 + 0.1 = -0.15; v = 1: -0.4 + 0.1 = -0.3.
    assert_close(&x.concat(), &[1.0, 0.4, 0.0, -0.15, -0.3], 1e-14);
    let settings = zo_proxsaga::Settings {
        rate: &|_| 0.25,
        estimator: Estimator::Coordinate(0.5),
        prox: Prox::L1(0.4),
        draw: &draw,
        redraw: &|_| vec![0],
        direction: &|_, _| vec![],
    };
    let x = zo_proxsaga::trajectory(&sum, &settings, &[1.0], 4);
    // A = 2, 2. v = 2: 0.4, A_0 = 2 (from 1). Then I = 1: v = 2 - 2 + 2: -0.1 + 0.1 = 0, A_0 = 0.8 (from 0.4).
    // I = 0: v = 0 - 0.8 + 1.4: -0.15 + 0.1 = -0.05, A_0 = 0 (from 0). I = 1: v = 1: -0.3 + 0.1 = -0.2.
    assert_close(&x.concat(), &[1.0, 0.4, 0.0, -0.05, -0.2], 1e-14);
}

#[test]
fn the_mean_gradient_mapping_keeps_the_bound_of_proximal_svrg_on_random_problems() {
    let mut worst = 0.0f64;
    for trial in 0..60 {
        let (n, d) = (if trial % 2 == 0 { 27 } else { 64 }, 2 + trial as usize % 7);
        let bowls = Bowls::new(n, d, 100 + trial);
        let sum = Sum { n, d, f: &|i, x| bowls.value(i, x) };
        let (l, lambda) = (bowls.smoothness(), 0.2 * uniform(13, 0, trial, 0));
        let (eta, prox) = (1.0 / (3.0 * l), Prox::L1(lambda));
        let steps = 30 * sizes(n).1;
        let x = svrg(&sum, Estimator::Coordinate(0.1), (eta, &prox), 200 + trial, steps);
        let objective = |y: &[f64]| (0..n).map(|i| bowls.value(i, y)).sum::<f64>() / n as f64 + prox.value(y);
        // The mean is separable: soft threshold of b over h.
        let (h, b) = (mean(&bowls.h), mean(&bowls.b));
        let best: Vec<f64> = (0..d).map(|j| Prox::L1(lambda).step(&[b[j]], 1.0)[0] / h[j]).collect();
        let bound = 18.0 * l * (objective(&x[0]) - objective(&best)) / steps as f64;
        let squares = x[..steps as usize]
            .iter()
            .map(|y| norm(&prox.mapping(y, &bowls.mean_gradient(y), eta)).powi(2))
            .sum::<f64>()
            / steps as f64;
        assert!(squares <= bound, "trial {trial}: {squares} {bound}");
        worst = worst.max(squares / bound);
    }
    assert!(worst > 0.01, "the bound says nothing: {worst}");
}

#[test]
fn variance_reduction_arrives_where_zeroth_order_sgd_wanders() {
    let (n, d) = (200, 10);
    let toy = Sigmoid::new(n, d, 21);
    let sum = Sum { n, d, f: &|i, x| toy.value(i, x) };
    let (eta, prox) = (1.0 / (4.0 * toy.smoothness()), Prox::L1(LAMBDA));
    let far = |x: &[f64]| norm(&prox.mapping(x, &toy.mean_gradient(x), eta));
    let (b, _) = sizes(n);
    let plain = zo_proxsgd::Settings {
        rate: &|_| eta,
        estimator: Estimator::Coordinate(1e-3),
        prox: prox.clone(),
        draw: &|t| indices(22, t, b, n),
        direction: &|_, _| vec![],
    };
    let wander = zo_proxsgd::trajectory(&sum, &plain, &vec![0.5; d], 3000);
    let reduced = [
        svrg(&sum, Estimator::Coordinate(1e-3), (eta, &prox), 23, 3000),
        saga(&sum, Estimator::Coordinate(1e-3), (eta, &prox), (23, false), 3000),
    ];
    let late = |x: &[Vec<f64>]| x[2900..3000].iter().map(|y| far(y)).sum::<f64>() / 100.0;
    for x in &reduced {
        assert!(late(x) < 0.02 * late(&wander), "{} {}", late(x), late(&wander));
    }
}

#[test]
fn shared_directions_leave_less_variance_than_fresh_ones() {
    let (n, d) = (200, 10);
    let toy = Sigmoid::new(n, d, 21);
    let sum = Sum { n, d, f: &|i, x| toy.value(i, x) };
    let (eta, prox) = (1.0 / (4.0 * toy.smoothness() * d as f64), Prox::L1(LAMBDA));
    let far = |x: &[f64]| norm(&prox.mapping(x, &toy.mean_gradient(x), eta));
    let (b, m) = sizes(n);
    let end = |fresh: bool| {
        let settings = zo_proxsvrg::Settings {
            rate: &|_| 5.0 * eta,
            inner: m,
            estimator: Estimator::Gaussian(1e-3),
            prox: prox.clone(),
            draw: &|s, t| indices(24, s * m + t, b, n),
            direction: &|s, i, at| match at {
                At::Here(t) if fresh => gauss(25, s, (3 * t as usize + 1) * n + i, d),
                At::Snapshot(t) if fresh => gauss(25, s, (3 * t as usize + 2) * n + i, d),
                _ => gauss(25, s, i, d),
            },
        };
        let x = zo_proxsvrg::trajectory(&sum, &settings, &vec![0.5; d], 600);
        x[1500..].iter().map(|y| far(y)).sum::<f64>() / (x.len() - 1500) as f64
    };
    let (shared, fresh) = (end(false), end(true));
    assert!(shared < 0.9 * fresh, "{shared} {fresh}");
}

#[test]
fn frozen_directions_hold_saga_at_a_wrong_point() {
    let (n, d) = (200, 10);
    let toy = Sigmoid::new(n, d, 21);
    let sum = Sum { n, d, f: &|i, x| toy.value(i, x) };
    let (eta, prox) = (1.0 / (4.0 * toy.smoothness()), Prox::L1(LAMBDA));
    let far = |x: &[f64]| norm(&prox.mapping(x, &toy.mean_gradient(x), eta));
    let gradient = |i: usize, x: &[f64]| toy.gradient(i, x);
    let best = toy.objective(&saga(&sum, Estimator::Exact(&gradient), (eta, &prox), (26, false), 3000)[3000]);
    let [drawn, frozen] =
        [false, true].map(|f| saga(&sum, Estimator::Gaussian(1e-3), (eta / 2.0, &prox), (26, f), 6000));
    let late = |x: &[Vec<f64>]| x[5500..].iter().map(|y| toy.objective(y)).sum::<f64>() / (x.len() - 5500) as f64;
    assert!(late(&drawn) < best + 0.005, "{} {best}", late(&drawn));
    assert!(late(&frozen) > best + 0.03, "{} {best}", late(&frozen));
    // To the frozen method its end is stationary: the mapping of what it takes for the gradient vanishes, the true one
    // does not.
    let end = &frozen[6000];
    let estimates: Vec<Vec<f64>> =
        (0..n).map(|i| estimate(&sum, Estimator::Gaussian(1e-3), i, end, &gauss(27, 0, i, d))).collect();
    let (seen, true_one) = (norm(&prox.mapping(end, &mean(&estimates), eta)), far(end));
    assert!(seen < 0.1 * true_one && true_one > 0.02, "{seen} {true_one}");
}

#[test]
fn a_first_step_does_not_depend_on_who_is_drawn_because_both_terms_look_along_one_direction() {
    let toy = Sigmoid::new(27, 4, 27);
    let sum = Sum { n: 27, d: 4, f: &|i, x| toy.value(i, x) };
    let start = [0.5; 4];
    let full = mean(
        &(0..27).map(|i| estimate(&sum, Estimator::Gaussian(0.1), i, &start, &gauss(28, 0, i, 4))).collect::<Vec<_>>(),
    );
    let expected = Prox::L1(LAMBDA).step(&along(&start, -0.2, &full), 0.2);
    for seed in 0..3 {
        let reduced = zo_proxsvrg::Settings {
            rate: &|_| 0.2,
            inner: 3,
            estimator: Estimator::Gaussian(0.1),
            prox: Prox::L1(LAMBDA),
            draw: &|_, t| indices(seed, t, 9, 27),
            direction: &|s, i, _| gauss(28, s, i, 4),
        };
        assert_close(&zo_proxsvrg::trajectory(&sum, &reduced, &start, 1)[1], &expected, 1e-13);
        let table = zo_proxsaga::Settings {
            rate: &|_| 0.2,
            estimator: Estimator::Gaussian(0.1),
            prox: Prox::L1(LAMBDA),
            draw: &|t| indices(seed, t, 9, 27),
            redraw: &|t| indices(seed, 7 + t, 9, 27),
            direction: &|t, i| gauss(28, t, i, 4),
        };
        assert_close(&zo_proxsaga::trajectory(&sum, &table, &start, 1)[1], &expected, 1e-13);
        // The control: new directions for the term at x.
        let fresh = zo_proxsvrg::Settings {
            direction: &|s, i, at| gauss(28, s, if let At::Here(_) = at { 100 + i } else { i }, 4),
            ..reduced
        };
        assert!(norm(&minus(&zo_proxsvrg::trajectory(&sum, &fresh, &start, 1)[1], &expected)) > 1e-4);
    }
}

#[test]
fn the_price_in_values_is_that_of_the_notes() {
    let bowls = Bowls::new(27, 5, 30);
    let calls = Cell::new(0);
    let f = |i: usize, x: &[f64]| {
        calls.set(calls.get() + 1);
        bowls.value(i, x)
    };
    let sum = Sum { n: 27, d: 5, f: &f };
    let (n, d, b, m) = (27, 5, 9, 3);
    svrg(&sum, Estimator::Coordinate(0.1), (0.1, &Prox::None), 31, 3);
    assert_eq!(calls.take(), 2 * d * n + 4 * d * b * m);
    svrg(&sum, Estimator::Gaussian(0.1), (0.1, &Prox::None), 31, 3);
    assert_eq!(calls.take(), 2 * n + 4 * b * m);
    saga(&sum, Estimator::Coordinate(0.1), (0.1, &Prox::None), (31, false), 4);
    assert_eq!(calls.take(), 2 * d * n + 4 * 4 * d * b);
}

fn seeded<'a>(
    f: &'a dyn Fn(usize, u64, &[f64]) -> f64,
    direction: &'a dyn Fn(u64, usize) -> Vec<f64>,
    directions: usize,
) -> zo_seeded::Settings<'a> {
    zo_seeded::Settings {
        rate: &|_| 0.05,
        workers: 4,
        directions,
        mu: 0.5,
        difference: Difference::Central,
        f,
        direction,
    }
}

#[test]
fn with_the_coordinates_as_directions_shared_seeds_are_gradient_descent() {
    let d = 6;
    let problem = Quadratics::scattered(4, d, Noise::None);
    let f = |k: usize, _: u64, x: &[f64]| {
        (0..d).map(|j| 0.5 * problem.curvature[k][j] * (x[j] - problem.centres[k][j]).powi(2)).sum::<f64>()
    };
    let coordinate = |_: u64, j: usize| -> Vec<f64> { unit(j, d).iter().map(|a| a * (d as f64).sqrt()).collect() };
    let x = zo_seeded::trajectory(&seeded(&f, &coordinate, d), &problem.start(), 50);
    let plain = sync_sgd::Settings { rate: &|_| 0.05, inner: Inner::PLAIN };
    assert_same(&x, &sync_sgd::trajectory(&problem, &plain, 50), 1e-12);
    // Forward differences are off by ½ μ √d h_j along every coordinate.
    let forward = zo_seeded::Settings { difference: Difference::Forward, ..seeded(&f, &coordinate, d) };
    let x = zo_seeded::trajectory(&forward, &problem.start(), 1);
    let g = mean(&(0..4).map(|k| problem.gradient(k, 0, &problem.start())).collect::<Vec<_>>());
    let h = mean(&problem.curvature);
    let expected: Vec<f64> = (0..d).map(|j| -0.05 * (g[j] + 0.25 * (d as f64).sqrt() * h[j])).collect();
    assert_close(&x[1], &expected, 1e-12);
}

#[test]
fn shared_directions_make_four_workers_one_worker_on_the_mean_loss() {
    let d = 6;
    let problem = Quadratics::scattered(4, d, Noise::None);
    let own = |k: usize, x: &[f64]| {
        (0..d).map(|j| 0.5 * problem.curvature[k][j] * (x[j] - problem.centres[k][j]).powi(2)).sum::<f64>()
    };
    let direction = |t: u64, j: usize| gauss(40, t, j, d);
    let losses = |k: usize, _: u64, x: &[f64]| own(k, x);
    let mean_loss = |_: usize, _: u64, x: &[f64]| (0..4).map(|k| own(k, x)).sum::<f64>() / 4.0;
    for difference in [Difference::Forward, Difference::Central] {
        let many = zo_seeded::Settings { difference, ..seeded(&losses, &direction, 3) };
        let one = zo_seeded::Settings { difference, workers: 1, ..seeded(&mean_loss, &direction, 3) };
        let run = |settings: &zo_seeded::Settings| zo_seeded::trajectory(settings, &problem.start(), 60);
        assert_same(&run(&many), &run(&one), 1e-11);
    }
    // It arrives: central differences of a quadratic are exact along u, and the mean gradient vanishes there.
    let x = zo_seeded::trajectory(&seeded(&losses, &direction, 3), &problem.start(), 4000);
    let target = problem.minimiser();
    assert!(norm(&minus(&x[4000], &target)) < 1e-9, "{}", norm(&minus(&x[4000], &target)));
    // The control: directions of a worker's own, of which the others know nothing, multiply the wrong numbers.
    let mut y = problem.start();
    for t in 0..400u64 {
        let mut v = vec![0.0; d];
        for k in 0..4 {
            let (u, said) = (gauss(41 + k as u64, t, 0, d), gauss(40, t, 0, d));
            let s = (own(k, &along(&y, 0.5, &u)) - own(k, &along(&y, -0.5, &u))) / 1.0;
            v = along(&v, 0.25 * s, &said);
        }
        y = along(&y, -0.05, &v);
    }
    assert!(norm(&minus(&y, &target)) > 1.0, "{}", norm(&minus(&y, &target)));
}
