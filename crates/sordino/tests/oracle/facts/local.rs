//! Local methods, their schedules and their outer steps.

use super::{assert_close, assert_same, logspace};
use crate::oracle::{
    diloco, fedmom,
    inner::{Inner, State},
    local_sgd, post_local_sgd,
    problem::{Given, Logistic, Noise, Problem, Quadratics, Rate, normal},
    qsr, slowmo, sync_sgd,
};
use std::f64::consts::PI;

/// Linear warm-up from 1e-6, then a cosine down to 1e-6.
fn cosine(peak: f64, warmup: u64, steps: u64) -> impl Fn(u64) -> f64 {
    move |t| {
        if t < warmup {
            1e-6 + t as f64 * (peak - 1e-6) / warmup as f64
        } else {
            let share = (t - warmup) as f64 / (steps - warmup) as f64;
            1e-6 + 0.5 * (peak - 1e-6) * (1.0 + (PI * share).cos())
        }
    }
}

fn schedule(rate: &dyn Fn(u64) -> f64, base: u64, alpha: f64, warmup: u64, steps: u64) -> qsr::Settings<'_> {
    qsr::Settings { rate, inner: Inner::PLAIN, base, alpha, warmup, steps, hold_while_rising: false }
}

#[test]
fn the_golden_periods_of_the_vision_transformer() {
    let rate = cosine(0.008, 10_000, 93_600);
    let settings = schedule(&rate, 4, 0.0175, 10_000, 93_600);
    let golden = [(10_000, 4), (20_000, 5), (40_000, 9), (60_000, 39), (80_000, 1168), (90_000, 3600), (93_000, 600)];
    for (t, h) in golden {
        assert_eq!(qsr::period(&settings, t, Some(t - 1)), h, "step {t}");
    }
}

#[test]
fn the_rounds_of_the_published_runs() {
    let vit = cosine(0.008, 10_000, 93_600);
    let resnet = cosine(0.8, 5 * 312, 62_400);
    let linear = |t: u64| {
        if t < 10_000 {
            1e-6 + t as f64 * (0.008 - 1e-6) / 1e4
        } else {
            1e-6 + (93_600 - t) as f64 / 83_600.0 * (0.008 - 1e-6)
        }
    };
    let runs: [(Rate, u64, f64, u64, u64, usize); 4] = [
        (&vit, 4, 0.0175, 10_000, 93_600, 9711),
        (&vit, 8, 0.0175, 10_000, 93_600, 6461),
        (&resnet, 2, 0.2, 1560, 62_400, 24_792),
        (&resnet, 4, 0.25, 1560, 62_400, 12_539),
    ];
    for (rate, base, alpha, warmup, steps, rounds) in runs {
        for hold_while_rising in [false, true] {
            let settings = qsr::Settings { hold_while_rising, ..schedule(rate, base, alpha, warmup, steps) };
            let all = qsr::periods(&settings);
            assert_eq!(all.len(), rounds);
            assert_eq!(all.iter().sum::<u64>(), steps);
            assert!(all[..all.len() - 1].is_sorted());
        }
    }
    let all = qsr::periods(&schedule(&linear, 4, 0.0175, 10_000, 93_600));
    assert_close(&[all.len() as f64 / 93_600.0], &[0.0934], 5e-5);
    let constant = qsr::periods(&schedule(&vit, 7, 0.0, 10_000, 93_600));
    assert_eq!(constant.len(), 93_600usize.div_ceil(7));
}

/// Eight workers on `½ (1 + u²) v²` with noise on ∂v only: flatter where u is smaller.
fn valley(deviation: f64, start: f64, seed: u64, run: &dyn Fn(&dyn Problem) -> Vec<Vec<f64>>) -> f64 {
    let gradient = |i: usize, t: u64, x: &[f64]| {
        vec![x[0] * x[1] * x[1], (1.0 + x[0] * x[0]) * x[1] + deviation * normal(seed, i, t, 0)]
    };
    let loss = |x: &[f64]| 0.5 * (1.0 + x[0] * x[0]) * x[1] * x[1];
    let problem = Given { workers: 8, start: vec![start, 0.0], gradient: &gradient, loss: &loss };
    let x = run(&problem);
    x[x.len() - 1][0]
}

#[test]
fn longer_rounds_drift_to_flatter_places() {
    let mean_of = |every: u64| {
        let settings = local_sgd::Settings { rate: &|_| 0.05, inner: Inner::PLAIN, every };
        let run = |problem: &dyn Problem| local_sgd::trajectory(problem, &settings, 4000 / every as usize);
        (0..5).map(|seed| valley(1.0, 1.0, seed, &run)).sum::<f64>() / 5.0
    };
    let parallel = {
        let settings = sync_sgd::Settings { rate: &|_| 0.05, inner: Inner::PLAIN };
        let run = |problem: &dyn Problem| sync_sgd::trajectory(problem, &settings, 4000);
        (0..5).map(|seed| valley(1.0, 1.0, seed, &run)).sum::<f64>() / 5.0
    };
    let expected = [(1, 0.684), (2, 0.532), (4, 0.347), (10, 0.140), (20, 0.059), (100, 0.015), (400, 0.012)];
    let mut last = f64::INFINITY;
    for (every, value) in expected {
        let u = mean_of(every);
        assert!(u < last, "every {every}: {u}");
        // The notes' means over an unknown number of runs.
        assert!((u / value - 1.0).abs() < 0.15, "every {every}: {u} for {value}");
        last = u;
    }
    assert_close(&[parallel], &[mean_of(1)], 1e-12);
}

#[test]
fn the_quadratic_rule_finds_flatter_places_with_fewer_meetings() {
    let rate = |t: u64| 1e-4 + 0.5 * (0.1 - 1e-4) * (1.0 + (PI * t as f64 / 6000.0).cos());
    let mean_of =
        |run: &dyn Fn(&dyn Problem) -> Vec<Vec<f64>>| (0..5).map(|seed| valley(0.7, 2.0, seed, run)).sum::<f64>() / 5.0;
    let parallel = mean_of(&|problem| {
        sync_sgd::trajectory(problem, &sync_sgd::Settings { rate: &rate, inner: Inner::PLAIN }, 6000)
    });
    let constant = mean_of(&|problem| {
        let settings = local_sgd::Settings { rate: &rate, inner: Inner::PLAIN, every: 4 };
        local_sgd::trajectory(problem, &settings, 1500)
    });
    let rule = |alpha: f64| {
        let settings = schedule(&rate, 4, alpha, 0, 6000);
        let share = qsr::periods(&settings).len() as f64 / 6000.0;
        (mean_of(&|problem| qsr::trajectory(problem, &settings, usize::MAX)), share)
    };
    let ((small, small_share), (large, large_share)) = (rule(0.2), rule(0.4));
    for (u, value) in [(parallel, 1.643), (constant, 0.563), (small, 0.375), (large, 0.083)] {
        assert!((u / value - 1.0).abs() < 0.1, "{u} for {value}");
    }
    assert_close(&[small_share, large_share], &[0.101, 0.025], 5e-4);
    assert!(large < small && small < constant && constant < parallel);
}

#[test]
fn meeting_every_step_is_parallel_sgd_but_not_parallel_adamw() {
    let problem = Logistic::waves(4, 10, 6, 1e-2, Some(2));
    let rate = |t: u64| 0.1 / (1.0 + t as f64 / 50.0);
    for (inner, same) in [(Inner::Sgd { momentum: 0.9, decay: 1e-3 }, true), (Inner::ADAMW, false)] {
        let parallel = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &rate, inner }, 60);
        let local = local_sgd::trajectory(&problem, &local_sgd::Settings { rate: &rate, inner, every: 1 }, 60);
        let quadratic = qsr::Settings { inner, ..schedule(&rate, 1, 0.0, 0, 60) };
        assert_same(&qsr::trajectory(&problem, &quadratic, usize::MAX), &local, 0.0);
        if same {
            assert_same(&parallel, &local, 1e-13);
        } else {
            assert!((parallel[60][0] - local[60][0]).abs() > 1e-3);
        }
    }
}

#[test]
fn the_rule_with_growing_rounds_visits_every_step_once_with_both_optimizers() {
    let rate = |t: u64| 0.1 / (1.0 + t as f64 / 8.0);
    let problem = Logistic::waves(3, 10, 6, 1e-2, Some(2));
    for inner in [Inner::Sgd { momentum: 0.9, decay: 1e-3 }, Inner::ADAMW] {
        let settings = qsr::Settings { inner, ..schedule(&rate, 2, 0.12, 4, 100) };
        let periods = qsr::periods(&settings);
        assert_eq!(periods[..3], [2, 2, 3]);
        assert!(periods.contains(&9) && periods.iter().sum::<u64>() == 100);
        let x = qsr::trajectory(&problem, &settings, usize::MAX);
        assert_eq!(x.len(), periods.len() + 1);
        // One worker cannot tell when it met: its rounds are one long run.
        let alone = Logistic::waves(1, 10, 6, 1e-2, Some(2));
        let x = qsr::trajectory(&alone, &settings, usize::MAX);
        let plain = sync_sgd::trajectory(&alone, &sync_sgd::Settings { rate: &rate, inner }, 100);
        assert_same(&x[x.len() - 1..], &plain[100..], 1e-15);
    }
}

#[test]
fn post_local_sgd_is_parallel_first_and_local_then() {
    let problem = Quadratics::scattered(4, 5, Noise::Uniform(0.5));
    let (rate, inner) = (|_: u64| 0.1, Inner::Sgd { momentum: 0.9, decay: 0.0 });
    let settings = |every, switch| post_local_sgd::Settings { rate: &rate, inner, every, switch, steps: 43 };
    let parallel = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &rate, inner }, 43);
    let local = local_sgd::trajectory(&problem, &local_sgd::Settings { rate: &rate, inner, every: 8 }, 5);
    let both = post_local_sgd::trajectory(&problem, &settings(8, 20), usize::MAX);
    assert_same(&both[..21], &parallel[..21], 1e-13);
    assert_eq!(both.len(), 1 + 20 + 3);
    assert_same(&post_local_sgd::trajectory(&problem, &settings(8, 43), usize::MAX), &parallel, 1e-13);
    assert_same(&post_local_sgd::trajectory(&problem, &settings(8, 0), 5), &local, 0.0);
}

/// The notes' ten clients.
fn clients() -> Quadratics {
    let centre = |k: usize, j: usize| 3.0 + (k as f64).sin() * (j as f64).cos();
    Quadratics {
        curvature: vec![logspace(-2.0, 0.0, 10); 10],
        centres: (1..=10).map(|k| (1..=10).map(|j| centre(k, j)).collect()).collect(),
        start: vec![10.0; 10],
        noise: Noise::None,
        seed: 0,
    }
}

#[test]
fn federated_momentum_needs_fewer_rounds() {
    let problem = clients();
    let best = problem.loss(&problem.minimiser());
    let gaps = |beta: f64| -> Vec<f64> {
        let settings = fedmom::Settings {
            rate: &|_| 0.1,
            every: 5,
            outer_rate: 1.0,
            beta,
            sizes: vec![1.0; 10],
            sample: &|_| (0..10).collect(),
        };
        fedmom::trajectory(&problem, &settings, 600).iter().map(|w| problem.loss(w) - best).collect()
    };
    let (plain, momentum) = (gaps(0.0), gaps(0.9));
    assert_close(&[plain[0]], &[61.9936], 1e-6);
    assert_close(&[plain[1], plain[10]], &[34.159_141, 4.369_598], 2e-7);
    assert_close(&[plain[50]], &[0.6589], 5e-5);
    assert_close(&[momentum[1], momentum[10]], &[18.758_398, 1.754_611], 2e-7);
    assert!((momentum[50] - 5.312e-3).abs() < 5e-7, "{}", momentum[50]);
    assert_eq!(plain.iter().position(|&gap| gap <= 1e-3), Some(552));
    assert_eq!(momentum.iter().position(|&gap| gap <= 1e-3), Some(65));
}

#[test]
fn federated_momentum_starts_as_its_first_step_says_and_ends_as_nesterov() {
    let problem = Quadratics::scattered(4, 6, Noise::None);
    let settings = fedmom::Settings {
        rate: &|_| 0.2,
        every: 1,
        outer_rate: 1.5,
        beta: 0.9,
        sizes: vec![1.0; 4],
        sample: &|_| (0..4).collect(),
    };
    let w = fedmom::trajectory(&problem, &settings, 60);
    let plain = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &|_| 0.3, inner: Inner::PLAIN }, 1);
    let first: Vec<f64> = (0..6).map(|j| w[0][j] + 1.9 * (plain[1][j] - plain[0][j])).collect();
    assert_close(&w[1], &first, 1e-13);
    // Nesterov's two sequences with step 1.5 · 0.2.
    let (mut x, mut v) = (problem.start(), problem.start());
    for row in &w[1..] {
        let g = crate::oracle::vectors::mean(&[0, 1, 2, 3].map(|i| problem.gradient(i, 0, &x)));
        let next: Vec<f64> = (0..6).map(|j| x[j] - 0.3 * g[j]).collect();
        x = (0..6).map(|j| next[j] + 0.9 * (next[j] - v[j])).collect();
        v = next;
        assert_close(row, &x, 1e-12);
    }
}

#[test]
fn federated_averaging_weighs_the_sampled_clients() {
    let problem = Quadratics::scattered(3, 2, Noise::None);
    let settings = |sample| fedmom::Settings {
        rate: &|_| 0.1,
        every: 3,
        outer_rate: 1.0,
        beta: 0.0,
        sizes: vec![1.0, 5.0, 2.0],
        sample,
    };
    let alone = |k: usize| {
        let only = Quadratics {
            curvature: vec![problem.curvature[k].clone()],
            centres: vec![problem.centres[k].clone()],
            ..problem.clone()
        };
        local_sgd::trajectory(&only, &local_sgd::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, every: 3 }, 1)
            .remove(1)
    };
    let (a, c) = (alone(0), alone(2));
    let expected: Vec<f64> = (0..2).map(|j| (a[j] + 2.0 * c[j]) / 3.0).collect();
    assert_close(&fedmom::trajectory(&problem, &settings(&|_| vec![0, 2]), 1)[1], &expected, 1e-14);
    let nobody = fedmom::trajectory(&problem, &settings(&|_| Vec::new()), 1);
    assert_eq!(nobody[0], nobody[1]);
}

#[test]
fn slow_momentum_without_memory_is_local_sgd() {
    let problem = Logistic::waves(4, 10, 6, 1e-2, Some(2));
    let rate = |t: u64| 0.3 / (1.0 + t as f64 / 20.0);
    for inner in [Inner::PLAIN, Inner::ADAMW] {
        let settings = slowmo::Settings { rate: &rate, inner, every: 4, alpha: 1.0, beta: 0.0 };
        let local = local_sgd::Settings { rate: &rate, inner, every: 4 };
        assert_same(&slowmo::trajectory(&problem, &settings, 20), &local_sgd::trajectory(&problem, &local, 20), 1e-12);
    }
}

#[test]
fn slow_momentum_after_every_step_is_heavy_ball() {
    let problem = Quadratics::scattered(4, 6, Noise::Uniform(0.3));
    let settings = slowmo::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, every: 1, alpha: 0.8, beta: 0.7 };
    let ball = sync_sgd::Settings { rate: &|_| 0.08, inner: Inner::Sgd { momentum: 0.7, decay: 0.0 } };
    assert_same(&slowmo::trajectory(&problem, &settings, 50), &sync_sgd::trajectory(&problem, &ball, 50), 1e-12);
}

#[test]
fn slow_momentum_forgets_local_momentum_between_rounds() {
    let problem = Quadratics::scattered(1, 3, Noise::None);
    let inner = Inner::Sgd { momentum: 0.9, decay: 0.0 };
    let settings = slowmo::Settings { rate: &|_| 0.1, inner, every: 1, alpha: 1.0, beta: 0.0 };
    let plain = sync_sgd::Settings { rate: &|_| 0.1, inner: Inner::PLAIN };
    assert_same(&slowmo::trajectory(&problem, &settings, 20), &sync_sgd::trajectory(&problem, &plain, 20), 1e-13);
}

#[test]
fn slow_momentum_divides_by_the_rate_of_the_rounds_first_step() {
    // Gradient 1; rates 1, ½ | ¼, ¼. u = 1.5, x = -1.5; then u = 0.75 + 0.5/¼ = 2.75, x = -1.5 - 2.75/4.
    let problem = Given { workers: 1, start: vec![0.0], gradient: &|_, _, _| vec![1.0], loss: &|x| x[0] };
    let rate = |t: u64| [1.0, 0.5, 0.25, 0.25][t as usize];
    let settings = slowmo::Settings { rate: &rate, inner: Inner::PLAIN, every: 2, alpha: 1.0, beta: 0.5 };
    let x = slowmo::trajectory(&problem, &settings, 2);
    assert_close(&[x[1][0], x[2][0]], &[-1.5, -2.1875], 1e-15);
}

#[test]
fn diloco_reduces_to_what_it_is_made_of() {
    let problem = Quadratics::scattered(4, 5, Noise::Uniform(0.3));
    let settings = |inner, every, outer_rate, beta| diloco::Settings { rate: &|_| 0.1, inner, every, outer_rate, beta };
    let plain = sync_sgd::Settings { rate: &|_| 0.1, inner: Inner::PLAIN };
    assert_same(
        &diloco::trajectory(&problem, &settings(Inner::PLAIN, 1, 1.0, 0.0), 40),
        &sync_sgd::trajectory(&problem, &plain, 40),
        1e-13,
    );
    // One worker, one round of AdamW after the other: the state must be kept.
    let alone = Quadratics::scattered(1, 5, Noise::Uniform(0.3));
    let adam = sync_sgd::Settings { rate: &|_| 0.1, inner: Inner::ADAMW };
    let rounds = diloco::trajectory(&alone, &settings(Inner::ADAMW, 4, 1.0, 0.0), 10);
    let steps = sync_sgd::trajectory(&alone, &adam, 40);
    for (r, theta) in rounds.iter().enumerate() {
        assert_close(theta, &steps[4 * r], 1e-13);
    }
    // FedMom's two sequences are the same Nesterov step: m is the speed of v.
    let nesterov = fedmom::Settings {
        rate: &|_| 0.1,
        every: 3,
        outer_rate: 0.7,
        beta: 0.9,
        sizes: vec![1.0; 4],
        sample: &|_| (0..4).collect(),
    };
    assert_same(
        &diloco::trajectory(&problem, &settings(Inner::PLAIN, 3, 0.7, 0.9), 30),
        &fedmom::trajectory(&problem, &nesterov, 30),
        1e-12,
    );
}

#[test]
fn the_inner_optimizers_take_the_steps_worked_out_by_hand() {
    // SGD: m = g, then 0.9 g + g'.
    let (mut x, mut state) = (vec![1.0], State::new(1));
    let inner = Inner::Sgd { momentum: 0.9, decay: 0.5 };
    state.step(inner, 0.1, &mut x, &[2.0]);
    assert_close(&x, &[0.75], 1e-15); // m = 2.5
    state.step(inner, 0.2, &mut x, &[1.0]);
    assert_close(&x, &[0.75 - 0.2 * (0.9 * 2.5 + 1.375)], 1e-15);
    // AdamW: the first step is the rate along the sign, after the shrinking.
    let (mut x, mut state) = (vec![1.0, -2.0], State::new(2));
    state.step(Inner::ADAMW, 0.1, &mut x, &[3.0, -0.02]);
    assert_close(&x, &[0.999 - 0.1, -1.998 + 0.1], 1e-6);
    state.step(Inner::ADAMW, 0.1, &mut x, &[-3.0, -0.02]);
    // m̂ = (0.9 · 0.3 - 0.3)/0.19 = -0.1579, v̂ = 9.
    assert_close(&x[..1], &[0.899 * 0.999 + 0.1 * 0.157_894_736_8 / 3.0], 1e-9);
}
