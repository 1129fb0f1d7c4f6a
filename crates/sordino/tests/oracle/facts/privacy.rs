//! Private methods, where their noise goes, and what they cost.

use super::{assert_close, assert_same};
use crate::oracle::{
    clients::Clients,
    clip21, clip21_sgd2m,
    compress::clip,
    dp_clip21, dp_fedavg, dp_sgd, fedavg,
    inner::Inner,
    problem::{Given, Noise, Problem, Quadratics, normal},
    rdp::{Conversion, divergence, epsilon},
    sync_sgd,
    vectors::{mean, minus, norm},
};

/// Two workers that want 3 and -1, from 0.
fn stall(run: &dyn Fn(&dyn Problem) -> Vec<Vec<f64>>) -> Vec<f64> {
    let gradient = |i: usize, _: u64, x: &[f64]| vec![if i == 0 { x[0] - 3.0 } else { x[0] + 1.0 }];
    run(&Given { workers: 2, start: vec![0.0], gradient: &gradient, loss: &|_| 0.0 }).iter().map(|x| x[0]).collect()
}

#[test]
fn noise_that_the_shift_forgets_grows_like_the_root_of_the_rounds() {
    let rounds = [100, 1000, 4000];
    let mut squares = [[0.0; 3]; 2];
    for seed in 0..400 {
        for (variant, in_shift) in [true, false].into_iter().enumerate() {
            let noise = |i: usize, t: u64, _: usize| normal(seed, i, t, 0);
            let settings = dp_clip21::Settings { rate: &|_| 0.05, tau: 1.0, deviation: 0.1, noise: &noise, in_shift };
            let x = stall(&|problem| dp_clip21::trajectory(problem, &settings, 4000));
            for (square, &k) in squares[variant].iter_mut().zip(&rounds) {
                *square += (x[k] - 1.0).powi(2) / 400.0;
            }
        }
    }
    let quiet = stall(&|problem| clip21::trajectory(problem, &clip21::Settings { rate: &|_| 0.05, tau: 1.0 }, 4000));
    // Once nothing is clipped: A is x - 1 ← (1-γ)(x - 1) - γ ω̄ with fresh ω̄ of variance σ²/2; in B the noise of m
    // rounds ago has come through by the share 1 - (1-γ)^m. The root mean square of 400 runs is known to 1/√800,
    // 3.5 %.
    let published = [[0.0127, 0.0115, 0.0104], [0.58, 2.16, 4.50]];
    for (place, &k) in rounds.iter().enumerate() {
        let rest = (quiet[k] - 1.0).powi(2);
        let fresh = 0.0025 * 0.005 * (1.0 - 0.95f64.powi(2 * k as i32)) / (1.0 - 0.95f64.powi(2));
        let walk: f64 = (1..=k).map(|m| 0.005 * (1.0 - 0.95f64.powi(m as i32)).powi(2)).sum();
        for (variant, expected) in [(0, (rest + fresh).sqrt()), (1, (rest + walk).sqrt())] {
            let measured = squares[variant][place].sqrt();
            assert!((measured / expected - 1.0).abs() < 4.0 * 0.0354, "{variant}, {k}: {measured} for {expected}");
            assert!((published[variant][place] / expected - 1.0).abs() < 4.0 * 0.0354, "{variant}, {k}: {expected}");
        }
    }
    assert!(squares[0][2] < 1.3 * squares[0][1] && squares[1][2] > 3.0 * squares[1][1]);
}

#[test]
fn the_servers_mean_is_that_of_the_shifts_or_walks_away_by_the_sum_of_the_noise() {
    let problem = Quadratics::scattered(3, 4, Noise::None);
    let noise = |i: usize, t: u64, j: usize| normal(9, i, t, j);
    let settings =
        |in_shift| dp_clip21::Settings { rate: &|_| 0.05, tau: 0.5, deviation: 0.3, noise: &noise, in_shift };
    for held in dp_clip21::run(&problem, &settings(true), 50) {
        assert_close(&held.v, &mean(&held.shifts), 1e-12);
    }
    let mut walk = vec![0.0; 4];
    for (t, held) in dp_clip21::run(&problem, &settings(false), 50).iter().enumerate().skip(1) {
        for j in 0..4 {
            walk[j] += (0..3).map(|i| 0.3 * noise(i, t as u64 - 1, j)).sum::<f64>() / 3.0;
        }
        assert_close(&minus(&held.v, &mean(&held.shifts)), &walk, 1e-12);
    }
    // The damped follow-up walks β̂ times as far.
    let damped =
        clip21_sgd2m::Settings { rate: &|_| 0.05, tau: 0.5, beta: 0.3, beta_hat: 0.1, deviation: 0.3, noise: &noise };
    let last = &clip21_sgd2m::run(&problem, &damped, 50)[50];
    assert_close(&minus(&last.s, &mean(&last.shifts)), &walk.iter().map(|w| 0.1 * w).collect::<Vec<_>>(), 1e-12);
}

#[test]
fn without_noise_the_private_clip21s_are_clip21() {
    let problem = Quadratics::scattered(4, 5, Noise::Uniform(0.3));
    let plain = clip21::trajectory(&problem, &clip21::Settings { rate: &|_| 0.1, tau: 0.7 }, 60);
    for in_shift in [true, false] {
        let noise: &dyn Fn(usize, u64, usize) -> f64 = &|_, _, _| 1.0;
        let settings = dp_clip21::Settings { rate: &|_| 0.1, tau: 0.7, deviation: 0.0, noise, in_shift };
        assert_same(&dp_clip21::trajectory(&problem, &settings, 60), &plain, 1e-12);
        let double = |beta, beta_hat| {
            let settings = clip21_sgd2m::Settings { rate: &|_| 0.1, tau: 0.7, beta, beta_hat, deviation: 0.0, noise };
            clip21_sgd2m::trajectory(&problem, &settings, 60)
        };
        assert_same(&double(1.0, 1.0), &plain, 1e-12);
        assert!(norm(&minus(&double(0.5, 1.0)[60], &plain[60])) > 1e-3);
        assert!(norm(&minus(&double(1.0, 0.5)[60], &plain[60])) > 1e-3);
    }
}

#[test]
fn a_message_of_clip21_differs_by_tau_if_a_worker_leaves_and_by_twice_that_if_its_data_change() {
    let mut largest: f64 = 0.0;
    for trial in 0..2000u64 {
        let draw = |what: usize| -> Vec<f64> { (0..3).map(|j| 4.0 * normal(31, what, trial, j)).collect() };
        let shift = draw(0);
        let (one, other) = (clip(&minus(&draw(1), &shift), 0.8), clip(&minus(&draw(2), &shift), 0.8));
        assert!(norm(&one) <= 0.8 + 1e-12);
        largest = largest.max(norm(&minus(&one, &other)));
    }
    assert!(largest > 1.5 && largest <= 1.6 + 1e-12, "{largest}");
}

/// DP-SGD of one worker on the samples `½ (x - a)²`.
fn sampled(a: &[f64], steps: usize, start: f64, rate: f64, perturb: f64) -> Vec<f64> {
    let sample = |_: usize, s: usize, x: &[f64]| vec![x[0] - a[s]];
    let settings = dp_sgd::Settings {
        rate: &|_| rate,
        inner: Inner::PLAIN,
        clip: 1.0,
        multiplier: 0.0,
        expected: a.len() as f64,
        batch: &|_, _| (0..a.len()).collect(),
        noise: &|_, _, _| 0.0,
        perturb,
        zeta: &|_, t, s, _| normal(77, s, t, 0),
        sample: &sample,
    };
    let problem = Given { workers: 1, start: vec![start], gradient: &|_, _, _| vec![0.0], loss: &|_| 0.0 };
    dp_sgd::trajectory(&problem, &settings, steps).iter().map(|x| x[0]).collect()
}

/// `E[clip_1(u + κ ζ)]`, averaged over the samples, by the midpoint rule.
fn expected(a: &[f64], x: f64, perturb: f64) -> f64 {
    let mut sum = 0.0;
    for point in 0..20_000 {
        let z = -10.0 + (point as f64 + 0.5) * 1e-3;
        let weight = 1e-3 * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        sum += weight * a.iter().map(|a| (x - a + perturb * z).clamp(-1.0, 1.0)).sum::<f64>() / a.len() as f64;
    }
    sum
}

#[test]
fn clipping_every_sample_finds_a_wrong_place_and_perturbing_first_mends_it() {
    let a = [-3.0, -3.0, 9.0];
    // The mean gradient is x - 1; the mean clipped gradient is 1/3 at 1, and 0 at -2.5.
    let from_best = sampled(&a, 1, 1.0, 1.0, 0.0);
    assert_close(&[from_best[0] - from_best[1]], &[1.0 / 3.0], 1e-15);
    let still = sampled(&a, 1, -2.5, 1.0, 0.0);
    assert_eq!(still[0], still[1]);
    for start in [-4.0, 1.0, 6.0] {
        assert_close(&[sampled(&a, 5000, start, 0.05, 0.0)[5000]], &[-2.5], 1e-12);
    }
    let strengths = [0.0, 1.0, 5.0, 20.0];
    for (k, at_best, at_three) in [(0, 0.333, 0.33), (1, 0.333, 0.33), (2, 0.086, 0.26), (3, 0.002, 0.08)] {
        let (best, three) = (expected(&a, 1.0, strengths[k]), expected(&a, 3.0, strengths[k]));
        assert!((best - at_best).abs() < 6e-4 && (three - at_three).abs() < 6e-3, "{}: {best} {three}", strengths[k]);
        // The reference draws what the integral says: 20 000 steps of 3 samples, each of deviation at most 1.
        let moved = sampled(&a, 20_000, 1.0, 1e-9, strengths[k]);
        let drawn = (moved[0] - moved[20_000]) / (20_000.0 * 1e-9);
        assert!((drawn - best).abs() < 4.0 / 60_000f64.sqrt(), "{}: {drawn} for {best}", strengths[k]);
    }
    // Strong enough, the method settles near 1. Its slope there is 0.04, its noise 0.6 a step: with rate 0.2 the mean
    // of 200 000 steps is known to 0.04.
    let tail = &sampled(&a, 200_000, 1.0, 0.2, 20.0)[1000..];
    let settled = tail.iter().sum::<f64>() / tail.len() as f64;
    assert!((settled - 1.0).abs() < 0.2, "{settled}");
}

#[test]
fn two_clipped_samples_that_pull_apart_leave_a_plain_without_slope() {
    for start in [-2.0, -0.7, 1.5, 2.0] {
        assert!(sampled(&[3.0, -3.0], 100, start, 0.1, 0.0).iter().all(|&x| x == start));
    }
    assert!(sampled(&[3.0, -3.0], 100, 2.5, 0.1, 0.0)[100] < 2.1);
    assert!(expected(&[3.0, -3.0], 1.5, 0.0).abs() < 1e-12 && expected(&[3.0, -3.0], 1.5, 5.0) > 0.1);
}

/// DP-SGD of several workers with Poisson batches of expected size 5 of 20.
fn noisy<'a>(
    sample: dp_sgd::PerSample<'a>,
    clip: f64,
    multiplier: f64,
    batch: &'a dyn Fn(usize, u64) -> Vec<usize>,
) -> dp_sgd::Settings<'a> {
    dp_sgd::Settings {
        rate: &|_| 0.1,
        inner: Inner::PLAIN,
        clip,
        multiplier,
        expected: 5.0,
        batch,
        noise: &|i, t, j| normal(55, i, t, j),
        perturb: 0.0,
        zeta: &|_, _, _, _| 0.0,
        sample,
    }
}

#[test]
fn the_noise_of_private_sgd_is_measured_by_the_expected_batch() {
    let sample: dp_sgd::PerSample = &|i, s, x| (0..6).map(|j| 9.0 * (x[j] - normal(1, i, s as u64, j))).collect();
    let nobody = noisy(sample, 0.5, 2.0, &|_, _| Vec::new());
    // Nobody came: the noise alone, of deviation σ C / b = 0.2; 4 workers halve it.
    let (mut one, mut all) = (0.0, 0.0);
    for t in 0..2000 {
        let rows: Vec<Vec<f64>> = (0..4).map(|i| dp_sgd::private(&nobody, i, t, &[0.0; 6])).collect();
        one += norm(&rows[0]).powi(2) / 12_000.0;
        all += norm(&mean(&rows)).powi(2) / 12_000.0;
    }
    // 12 000 squares of normals: known to √(2/12000) = 1.3 %.
    assert!((one / 0.04 - 1.0).abs() < 0.055 && (all / 0.01 - 1.0).abs() < 0.055, "{one} {all}");
    // One sample more moves the sum by at most C, whatever it says, whatever the others.
    let (few, many) = (noisy(sample, 0.5, 2.0, &|_, _| vec![3, 4]), noisy(sample, 0.5, 2.0, &|_, _| vec![3, 4, 7]));
    let moved = norm(&minus(&dp_sgd::private(&many, 0, 0, &[2.0; 6]), &dp_sgd::private(&few, 0, 0, &[2.0; 6])));
    assert!(moved <= 0.5 / 5.0 + 1e-12 && moved > 0.09, "{moved}");
    // The control: dividing by who came, one more of opposite gradients moves the mean by C/2, not C/5.
    let opposite: dp_sgd::PerSample = &|_, s, _| vec![if s == 0 { 9.0 } else { -9.0 }];
    let mean_of =
        |samples: &[usize]| mean(&samples.iter().map(|&s| clip(&opposite(0, s, &[]), 0.5)).collect::<Vec<_>>());
    assert!((mean_of(&[0])[0] - mean_of(&[0, 1])[0]).abs() > 0.5 / 5.0);
}

#[test]
fn without_noise_and_bound_private_sgd_is_sgd_and_clips_samples_not_means() {
    let sample: dp_sgd::PerSample = &|i, s, x| (0..4).map(|j| x[j] - 3.0 * normal(2, i, s as u64, j)).collect();
    let batch: &dyn Fn(usize, u64) -> Vec<usize> = &|i, t| (0..5).map(|s| (s + i + t as usize) % 20).collect();
    let gradient =
        |i: usize, t: u64, x: &[f64]| mean(&batch(i, t).iter().map(|&s| sample(i, s, x)).collect::<Vec<_>>());
    let problem = Given { workers: 3, start: vec![1.0; 4], gradient: &gradient, loss: &|_| 0.0 };
    for inner in [Inner::PLAIN, Inner::Sgd { momentum: 0.9, decay: 1e-3 }, Inner::ADAMW] {
        let free = dp_sgd::Settings { inner, ..noisy(sample, 1e9, 0.0, batch) };
        let plain = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &|_| 0.1, inner }, 30);
        assert_same(&dp_sgd::trajectory(&problem, &free, 30), &plain, 1e-12);
    }
    // 5 samples clipped to C: the mean is shorter than C, where the clipped mean would have length C.
    let bound = noisy(sample, 0.1, 0.0, batch);
    let length = norm(&dp_sgd::private(&bound, 0, 0, &[1.0; 4]));
    assert!(length < 0.09 && norm(&clip(&gradient(0, 0, &[1.0; 4]), 0.1)) > 0.0999, "{length}");
}

/// DP-FedAvg of six clients that take four steps.
fn six(clip: f64, multiplier: f64, expected: f64, sample: &dyn Fn(u64) -> Vec<usize>) -> dp_fedavg::Settings<'_> {
    dp_fedavg::Settings {
        rate: &|_| 0.1,
        inner: Inner::PLAIN,
        outer_rate: 1.0,
        clip,
        multiplier,
        expected,
        clients: Clients { sizes: vec![1.0; 6], sample, steps: &|r, _| 4 * r..4 * r + 4 },
        noise: &|r, j| normal(66, 0, r, j),
    }
}

#[test]
fn private_averaging_bounds_every_client_and_divides_by_who_was_expected() {
    let problem = Quadratics::scattered(6, 4, Noise::Uniform(0.3));
    // Everybody, no bound, no noise: federated averaging.
    let clients = Clients { sizes: vec![1.0; 6], sample: &|_| (0..6).collect(), steps: &|r, _| 4 * r..4 * r + 4 };
    let plain = fedavg::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, clients };
    let free = six(1e9, 0.0, 6.0, &|_| (0..6).collect());
    assert_same(&dp_fedavg::trajectory(&problem, &free, 20), &fedavg::trajectory(&problem, &plain, 20), 1e-12);
    // A client more moves the model by at most C/q, though it alone has moved further.
    let step =
        |sample: &dyn Fn(u64) -> Vec<usize>| dp_fedavg::trajectory(&problem, &six(0.2, 1.5, 3.0, sample), 1)[1].clone();
    let moved = norm(&minus(&step(&|_| vec![0, 2, 5]), &step(&|_| vec![0, 2])));
    assert!((moved - 0.2 / 3.0).abs() < 1e-12, "{moved}");
    let whole =
        norm(&minus(&dp_fedavg::trajectory(&problem, &six(1e9, 0.0, 1.0, &|_| vec![5]), 1)[1], &problem.start()));
    assert!(whole > 0.5, "{whole}");
    // Nobody came: noise of deviation σ C/q all the same.
    let walk = dp_fedavg::trajectory(&problem, &six(0.2, 1.5, 3.0, &|_| Vec::new()), 3000);
    let square = walk.windows(2).map(|pair| norm(&minus(&pair[1], &pair[0])).powi(2)).sum::<f64>() / 12_000.0;
    assert!((square / 0.01 - 1.0).abs() < 0.055, "{square}");
    // A bound on the sum of clients is no bound on each: two of a kind move the model twice as far.
    assert!(norm(&minus(&step(&|_| vec![0, 0]), &step(&|_| vec![]))) > 0.2 / 3.0 + 1e-3);
}

#[test]
fn the_accountant_meets_the_published_anchors() {
    let mnist = 256.0 / 60_000.0;
    for (q, sigma, rounds, classic, tight) in
        [(mnist, 1.1, 14_062, 3.01, 2.60), (0.01, 4.0, 10_000, 1.26, 1.04), (mnist, 1.3, 3515, 1.19, 0.95)]
    {
        let price = |conversion| epsilon(q, sigma, rounds, 1e-5, conversion);
        assert!((price(Conversion::Classic) - classic).abs() < 0.005, "{}", price(Conversion::Classic));
        assert!((price(Conversion::Tight) - tight).abs() < 0.005, "{}", price(Conversion::Tight));
        // The control: without the gain of sampling it would cost ten times as much.
        assert!(epsilon(1.0, sigma, rounds, 1e-5, Conversion::Tight) > 10.0 * tight);
    }
}

#[test]
fn the_accountant_is_monotone_and_adds_up() {
    for conversion in [Conversion::Classic, Conversion::Tight] {
        let rounds: Vec<f64> = [1, 10, 100, 1000].map(|t| epsilon(0.02, 1.5, t, 1e-5, conversion)).to_vec();
        let rates: Vec<f64> = [0.001, 0.01, 0.1, 1.0].map(|q| epsilon(q, 1.5, 100, 1e-5, conversion)).to_vec();
        let quieter: Vec<f64> = [8.0, 4.0, 2.0, 1.0].map(|s| epsilon(0.02, s, 100, 1e-5, conversion)).to_vec();
        let surer: Vec<f64> = [1e-2, 1e-4, 1e-6, 1e-8].map(|d| epsilon(0.02, 1.5, 100, d, conversion)).to_vec();
        for row in [rounds, rates, quieter, surer] {
            assert!(row.windows(2).all(|pair| pair[0] < pair[1]), "{row:?}");
        }
    }
    for q in [0.01, 0.3, 1.0] {
        assert!(epsilon(q, 2.0, 50, 1e-5, Conversion::Tight) < epsilon(q, 2.0, 50, 1e-5, Conversion::Classic));
        for alpha in 2..50 {
            assert!(divergence(q, 2.0, alpha) < divergence(q, 2.0, alpha + 1));
        }
    }
    assert_close(&[divergence(1.0, 1.7, 9), divergence(1.0 - 1e-12, 1.7, 9)], &[9.0 / 2.0 / 1.7 / 1.7; 2], 1e-9);
    // Order 2 by hand: ln(1 + q² (exp(1/σ²) - 1)).
    assert_close(&[divergence(0.1, 0.8, 2)], &[(0.01 * ((1.0f64 / 0.64).exp() - 1.0)).ln_1p()], 1e-12);
}

/// `∫ f(z) φ_σ(z) dz` by the midpoint rule.
fn gaussian(sigma: f64, f: &dyn Fn(f64) -> f64) -> f64 {
    let width = 60.0 * sigma;
    let cell = width / 200_000.0;
    let density = |z: f64| (-0.5 * (z / sigma).powi(2)).exp() / (sigma * std::f64::consts::TAU.sqrt());
    (0..200_000).map(|point| -width / 2.0 + (point as f64 + 0.5) * cell).map(|z| cell * density(z) * f(z)).sum()
}

#[test]
fn the_divergence_is_the_integral_and_the_price_is_an_upper_bound() {
    // Density ratio of the mixture to the noise alone.
    let ratio = |q: f64, sigma: f64, z: f64| 1.0 - q + q * ((2.0 * z - 1.0) / (2.0 * sigma * sigma)).exp();
    for (q, sigma, too_little) in [(0.01, 1.1, 0.1), (0.2, 2.0, 0.5), (0.5, 4.0, 0.5)] {
        for alpha in [2, 3, 8, 20] {
            let moment = gaussian(sigma, &|z| ratio(q, sigma, z).powi(alpha as i32));
            assert_close(&[divergence(q, sigma, alpha)], &[moment.ln() / (alpha as f64 - 1.0)], 1e-9);
        }
        // What ε really buys in one round, in both directions: at most δ.
        for conversion in [Conversion::Classic, Conversion::Tight] {
            let bound = epsilon(q, sigma, 1, 1e-5, conversion).exp();
            let added = gaussian(sigma, &|z| (ratio(q, sigma, z) - bound).max(0.0));
            let removed = gaussian(sigma, &|z| (1.0 - bound * ratio(q, sigma, z)).max(0.0));
            assert!(added <= 1e-5 && removed <= 1e-5, "{q} {sigma}: {added} {removed}");
            // The control: half of ε buys less; a tenth where q is small, for there one round by integer orders is
            // priced five times too high.
            let less = bound.powf(too_little);
            assert!(gaussian(sigma, &|z| (ratio(q, sigma, z) - less).max(0.0)) > 1e-5);
        }
    }
}
