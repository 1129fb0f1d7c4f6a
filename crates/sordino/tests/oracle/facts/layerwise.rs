//! LARS, CLARS and LAMB; mixed clipping.

use super::{assert_close, assert_same};
use crate::oracle::{
    clars,
    inner::Inner,
    lamb, lars,
    layers::Tensor,
    mixed_clip::{self, Rule, shortened},
    parallel_clip,
    problem::{Given, Noise, Problem, Quadratics, Quartics, normal},
    sync_sgd,
    vectors::{mean, minus, norm},
};

/// Two weights, a bias between them.
fn tensors() -> Vec<Tensor> {
    vec![
        Tensor { start: 0, end: 4, weight: true },
        Tensor { start: 4, end: 6, weight: false },
        Tensor { start: 6, end: 9, weight: true },
    ]
}

/// LARS with ε = 0 and all tensors decayed.
fn lars(tensors: Vec<Tensor>, momentum: f64, decay: f64) -> lars::Settings<'static> {
    lars::Settings { rate: &|_| 0.5, momentum, decay, decay_rest: true, trust: 1e-3, epsilon: 0.0, tensors }
}

/// CLARS likewise, without the cap.
fn clars(tensors: Vec<Tensor>, micro: clars::Micro<'_>) -> clars::Settings<'_> {
    clars::Settings {
        rate: &|_| 0.5,
        momentum: 0.0,
        decay: 0.0,
        decay_rest: true,
        trust: 1e-3,
        epsilon: 0.0,
        cap: f64::INFINITY,
        tensors,
        micro,
    }
}

/// A problem whose gradients are the means of a worker's micro-batches.
fn run_both(
    workers: usize,
    start: &[f64],
    micro: clars::Micro,
    tensors: &[Tensor],
    rounds: usize,
) -> [Vec<Vec<f64>>; 2] {
    let gradient = |k: usize, t: u64, x: &[f64]| mean(&micro(k, t, x));
    let problem = Given { workers, start: start.to_vec(), gradient: &gradient, loss: &|_| 0.0 };
    [
        lars::trajectory(&problem, &lars(tensors.to_vec(), 0.0, 0.0), rounds),
        clars::trajectory(&problem, &clars(tensors.to_vec(), micro), rounds),
    ]
}

#[test]
fn a_step_of_lars_is_as_long_as_the_weights_say_whatever_the_gradient() {
    let problem = Quartics::scattered(3, 9, Noise::Uniform(0.2));
    let x = lars::trajectory(&problem, &lars(tensors(), 0.0, 0.0), 20);
    let decayed = lars::trajectory(&problem, &lars(tensors(), 0.0, 0.1), 20);
    let heavy = lars::trajectory(&problem, &lars(tensors(), 0.9, 0.0), 20);
    let share =
        |run: &[Vec<f64>], t: usize, tensor: &Tensor| tensor.norm(&minus(&run[t + 1], &run[t])) / tensor.norm(&run[t]);
    for t in 0..20 {
        for tensor in &tensors() {
            if tensor.weight {
                assert_close(&[share(&x, t, tensor)], &[5e-4], 1e-14);
                // Decay joins the gradient before its norm is taken.
                assert_close(&[share(&decayed, t, tensor)], &[5e-4], 1e-14);
            }
        }
        // A bias takes the step of SGD.
        let g = mean(&[0, 1, 2].map(|k| problem.gradient(k, t as u64, &x[t])));
        assert_close(&[x[t + 1][4], x[t + 1][5]], &[x[t][4] - 0.5 * g[4], x[t][5] - 0.5 * g[5]], 1e-14);
    }
    // The control: with momentum the length depends on the gradients.
    assert!(share(&heavy, 10, &tensors()[0]) > 3.0 * 5e-4);
}

#[test]
fn the_scale_of_lars_is_outside_of_the_momentum() {
    let problem = Quadratics::scattered(2, 9, Noise::None);
    let problem = Quadratics { start: vec![5.0; 9], ..problem };
    let whole = Tensor::whole(9);
    let x = lars::trajectory(&problem, &lars(whole.clone(), 0.9, 0.01), 60);
    // Written out, once as it should be and once with the scale inside.
    let (mut right, mut wrong) = (vec![problem.start()], vec![problem.start()]);
    for inside in [false, true] {
        let run = if inside { &mut wrong } else { &mut right };
        let mut m = vec![0.0; 9];
        for t in 0..60 {
            let x = run[t].clone();
            let big: Vec<f64> =
                mean(&[0, 1].map(|k| problem.gradient(k, 0, &x))).iter().zip(&x).map(|(g, x)| g + 0.01 * x).collect();
            let s = 1e-3 * norm(&x) / norm(&big);
            m = (0..9).map(|j| 0.9 * m[j] + if inside { s } else { 1.0 } * big[j]).collect();
            run.push((0..9).map(|j| x[j] - 0.5 * if inside { 1.0 } else { s } * m[j]).collect());
        }
    }
    assert_same(&x, &right, 1e-12);
    // The two have slid apart by a good part of the way.
    assert!(norm(&minus(&wrong[60], &x[60])) > 0.02 * norm(&minus(&x[0], &x[60])));
}

#[test]
fn zero_weights_and_zero_gradients_leave_the_scale_at_one() {
    // Tensor 0 is zero, tensor 2 has no gradient but decay makes one.
    let start = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let g = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let problem = Given { workers: 1, start: start.to_vec(), gradient: &|_, _, _| g.to_vec(), loss: &|_| 0.0 };
    let x = lars::trajectory(&problem, &lars(tensors(), 0.0, 0.0), 1);
    assert_close(&x[1], &[-0.5, -1.0, -1.5, -2.0, 0.5, 0.5, 1.0, 1.0, 1.0], 1e-15);
    let decayed = lars::trajectory(&problem, &lars(tensors(), 0.0, 0.1), 1);
    assert_close(&decayed[1][6..], &[1.0 - 5e-4; 3], 1e-15);
    let micro = |_: usize, _: u64, _: &[f64]| vec![g.to_vec(), g.iter().map(|a| 3.0 * a).collect()];
    let [_, y] = run_both(1, &start, &micro, &tensors(), 1);
    // s = 1 · ‖G‖/A = 1, for the micro-gradients are parallel; the mean is twice g.
    assert_close(&y[1][..4], &[-1.0, -2.0, -3.0, -4.0], 1e-15);
}

/// `‖mean g‖ / mean ‖g‖` of a tensor over all workers' micro-batches.
fn agreement(tensor: &Tensor, micro: &[Vec<f64>]) -> f64 {
    tensor.norm(&mean(micro)) * micro.len() as f64 / micro.iter().map(|g| tensor.norm(g)).sum::<f64>()
}

#[test]
fn a_step_of_clars_is_that_of_lars_times_the_agreement_of_the_samples() {
    // The noise changes its size from step to step, so that norms of another step are noticed.
    let loudness = |t: u64| [0.1, 10.0, 1.0][t as usize % 3];
    let micro = |k: usize, t: u64, x: &[f64]| -> Vec<Vec<f64>> {
        (0..4).map(|s| (0..9).map(|j| x[j] - 1.0 + loudness(t) * normal(5 + s, k, t, j)).collect()).collect()
    };
    let start = vec![3.0; 9];
    let [_, y] = run_both(3, &start, &micro, &tensors(), 30);
    let mut stale_too_long = 0;
    for t in 0..30 {
        let at = |t: u64, x: &[f64]| -> Vec<Vec<f64>> { (0..3).flat_map(|k| micro(k, t, x)).collect() };
        let now = at(t as u64, &y[t]);
        for tensor in tensors().iter().filter(|tensor| tensor.weight) {
            let rho = agreement(tensor, &now);
            assert!(rho <= 1.0);
            let step = tensor.norm(&minus(&y[t + 1], &y[t])) / tensor.norm(&y[t]);
            assert_close(&[step], &[5e-4 * rho], 1e-12);
            // LARS from the same place goes η γ ‖x‖ far: never less.
            assert!(step <= 5e-4 * (1.0 + 1e-12));
            // The control: norms from the step before break the bound.
            if t > 0 {
                let before = at(t as u64 - 1, &y[t - 1]);
                let mean_norm = before.iter().map(|g| tensor.norm(g)).sum::<f64>() / before.len() as f64;
                stale_too_long += usize::from(tensor.norm(&mean(&now)) / mean_norm > 1.0);
            }
        }
    }
    assert!(stale_too_long >= 10, "{stale_too_long}");
}

#[test]
fn clars_is_lars_only_where_all_samples_point_the_same_way() {
    let parallel = |k: usize, _: u64, x: &[f64]| -> Vec<Vec<f64>> {
        (1..4).map(|s| x.iter().map(|a| (s + 3 * k) as f64 * (a + 2.0)).collect()).collect()
    };
    let start: Vec<f64> = (0..9).map(|j| 1.0 + j as f64).collect();
    let [x, y] = run_both(2, &start, &parallel, &tensors()[..1], 10);
    assert_same(&x, &y, 1e-13);
    // Opposite senses do not count as parallel.
    let opposed = |k: usize, t: u64, x: &[f64]| -> Vec<Vec<f64>> {
        parallel(k, t, x).into_iter().map(|g| g.iter().map(|a| if k == 0 { *a } else { -a }).collect()).collect()
    };
    let [x, y] = run_both(2, &start, &opposed, &tensors()[..1], 1);
    assert!(norm(&minus(&y[1], &y[0])) < 0.6 * norm(&minus(&x[1], &x[0])));
}

#[test]
fn samples_that_are_noise_agree_as_one_over_the_root_of_their_number() {
    for (samples, bound) in [(4u64, 0.5), (16, 0.25), (64, 0.125)] {
        let tensor = Tensor { start: 0, end: 200, weight: true };
        let mut sum = 0.0;
        for trial in 0..20 {
            let rows: Vec<Vec<f64>> =
                (0..samples).map(|s| (0..200).map(|j| normal(40, trial, s, j)).collect()).collect();
            sum += agreement(&tensor, &rows) / 20.0;
        }
        // ‖mean‖ is within 1/√(2·200) of its root mean square, 20 of them within 1.2 %.
        assert!((sum / bound - 1.0).abs() < 0.04, "{samples}: {sum}");
    }
}

#[test]
fn the_published_toys_of_clars() {
    // One layer of 50, 32 gradients 0.3 + N(0, 1). The notes' single draw has ρ = 0.31. Expected: ‖mean‖² = 50 (0.09 +
    // 1/32), ‖g‖² = 50 · 1.09, so 0.333; the mean's component along 1 has deviation 1/√32, which moves ρ by 0.02.
    let whole = Tensor::whole(50);
    let mut all = Vec::new();
    for seed in 0..40 {
        let rows = |_: usize, _: u64, _: &[f64]| -> Vec<Vec<f64>> {
            (0..32).map(|s| (0..50).map(|j| 0.3 + normal(seed, 1, s, j)).collect()).collect()
        };
        let [x, y] = run_both(1, &[1.0; 50], &rows, &whole, 1);
        let lars = norm(&minus(&x[1], &x[0])) / 50f64.sqrt() / 0.5;
        let clars = norm(&minus(&y[1], &y[0])) / 50f64.sqrt() / 0.5;
        assert_close(&[lars], &[1e-3], 1e-12);
        assert!((2.5e-4..4.2e-4).contains(&clars), "seed {seed}: {clars}");
        all.push(clars);
    }
    let middle = all.iter().sum::<f64>() / 40.0;
    assert!((middle - 3.33e-4).abs() < 0.1e-4, "{middle}");
    assert!(all.iter().any(|&clars| (clars - 3.1e-4).abs() < 0.05e-4));
    // Conflict: +u and -(1 - ε) u.
    for epsilon in [0.5, 0.1, 0.01] {
        let conflict = |_: usize, _: u64, _: &[f64]| vec![vec![2.0, -1.0], vec![-2.0 * (1.0 - epsilon), 1.0 - epsilon]];
        let [x, y] = run_both(1, &[3.0, 4.0], &conflict, &Tensor::whole(2), 1);
        assert_close(&[norm(&minus(&x[1], &x[0]))], &[0.5 * 1e-3 * 5.0], 1e-14);
        assert_close(&[norm(&minus(&y[1], &y[0]))], &[0.5 * 1e-3 * 5.0 * epsilon / (2.0 - epsilon)], 1e-14);
    }
}

#[test]
fn layer_wise_steps_forget_the_scale_of_the_loss_and_keep_that_of_the_weights() {
    let micro = |scale: f64| {
        move |k: usize, t: u64, x: &[f64]| -> Vec<Vec<f64>> {
            (0..3).map(|s| (0..9).map(|j| scale * (x[j] + normal(s, k, t, j))).collect()).collect()
        }
    };
    let start: Vec<f64> = (0..9).map(|j| 1.0 + j as f64).collect();
    let layers = [tensors()[0], Tensor { start: 4, end: 9, weight: true }];
    let (plain, loud) = (micro(1.0), micro(1e5));
    for (a, b) in run_both(2, &start, &plain, &layers, 20).iter().zip(&run_both(2, &start, &loud, &layers, 20)) {
        assert_same(a, b, 1e-12);
    }
    // A loss that depends on the direction alone: its gradient is homogeneous of degree -1.
    let direction = |_: usize, t: u64, x: &[f64]| -> Vec<Vec<f64>> {
        let r = norm(x);
        (0..3)
            .map(|s| {
                let a: Vec<f64> = (0..x.len()).map(|j| normal(60 + s, 0, t, j)).collect();
                let along = (0..x.len()).map(|j| a[j] * x[j]).sum::<f64>() / r;
                (0..x.len()).map(|j| (a[j] - along * x[j] / r) / r).collect()
            })
            .collect()
    };
    let large: Vec<f64> = start.iter().map(|a| 7.0 * a).collect();
    let whole = Tensor::whole(9);
    let (small, big) = (run_both(1, &start, &direction, &whole, 20), run_both(1, &large, &direction, &whole, 20));
    for (a, b) in small.iter().zip(&big) {
        let shrunk: Vec<Vec<f64>> = b.iter().map(|x| x.iter().map(|v| v / 7.0).collect()).collect();
        assert_same(a, &shrunk, 1e-12);
    }
    // The control: plain SGD does neither.
    let problem = |start: &[f64]| {
        sync_sgd::trajectory(
            &Given {
                workers: 1,
                start: start.to_vec(),
                gradient: &|k, t, x| mean(&direction(k, t, x)),
                loss: &|_| 0.0,
            },
            &sync_sgd::Settings { rate: &|_| 0.5, inner: Inner::PLAIN },
            20,
        )
    };
    assert!(
        norm(&minus(&problem(&start)[20], &problem(&large)[20].iter().map(|v| v / 7.0).collect::<Vec<_>>())) > 0.01
    );
}

#[test]
fn only_clars_is_capped_and_only_lars_counts_decay() {
    let small = |_: usize, _: u64, _: &[f64]| vec![vec![1e-6, 0.0]];
    let problem =
        Given { workers: 1, start: vec![3.0, 4.0], gradient: &|k, t, x| mean(&small(k, t, x)), loss: &|_| 0.0 };
    let x = lars::trajectory(&problem, &lars(Tensor::whole(2), 0.0, 0.0), 1);
    assert_close(&[x[0][0] - x[1][0]], &[0.5 * 1e-3 * 5.0], 1e-14);
    let capped = clars::Settings { cap: 0.1, ..clars(Tensor::whole(2), &small) };
    let y = clars::trajectory(&problem, &capped, 1);
    assert!(((y[0][0] - y[1][0]) / (0.5 * 0.1 * 1e-6) - 1.0).abs() < 1e-8);
    // ‖G‖ has decay: (3, 4) · 0.1 with no gradient at all is a step; A has none, so CLARS stretches it to the cap.
    let decayed = clars::Settings { decay: 0.1, cap: 0.1, ..clars(Tensor::whole(2), &small) };
    let y = clars::trajectory(&problem, &decayed, 1);
    assert_close(&minus(&y[0], &y[1]), &[0.05 * (0.3 + 1e-6), 0.05 * 0.4], 1e-12);
}

#[test]
fn a_step_of_lamb_is_as_long_as_the_weights_say_up_to_the_cap() {
    let problem = Quartics::scattered(3, 9, Noise::Uniform(0.2));
    let settings = |epsilon, cap| lamb::Settings {
        rate: &|_| 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon,
        decay: 0.01,
        decay_rest: true,
        cap,
        tensors: tensors(),
    };
    let x = lamb::trajectory(&problem, &settings(1e-6, 10.0), 30);
    let capped = lamb::trajectory(&problem, &settings(1e-6, 0.5), 30);
    for t in 0..30 {
        for tensor in tensors().iter().filter(|tensor| tensor.weight) {
            let step = |run: &[Vec<f64>]| tensor.norm(&minus(&run[t + 1], &run[t]));
            assert_close(&[step(&x)], &[0.01 * tensor.norm(&x[t])], 1e-13);
            assert_close(&[step(&capped)], &[0.01 * tensor.norm(&capped[t]).min(0.5)], 1e-13);
        }
    }
    // Without ε the scale of the gradient is forgotten; with a large one it is not.
    let loud = Given {
        workers: 3,
        start: problem.start(),
        gradient: &|k, t, x| problem.gradient(k, t, x).iter().map(|a| 1e3 * a).collect(),
        loss: &|_| 0.0,
    };
    let run = |problem: &dyn Problem, epsilon| lamb::trajectory(problem, &settings(epsilon, 10.0), 30);
    assert_same(&run(&problem, 0.0), &run(&loud, 0.0), 1e-11);
    assert!(norm(&minus(&run(&problem, 1.0)[30], &run(&loud, 1.0)[30])) > 1e-3);
}

#[test]
fn lamb_on_biases_alone_is_adam() {
    let problem = Quadratics::scattered(3, 5, Noise::Uniform(0.2));
    let settings = lamb::Settings {
        rate: &|_| 0.05,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decay: 0.0,
        decay_rest: true,
        cap: 10.0,
        tensors: vec![Tensor { start: 0, end: 5, weight: false }],
    };
    let inner = Inner::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 };
    let adam = sync_sgd::Settings { rate: &|_| 0.05, inner };
    assert_same(&lamb::trajectory(&problem, &settings, 40), &sync_sgd::trajectory(&problem, &adam, 40), 1e-12);
}

fn mixed(rule: Rule, nu: f64, beta: f64) -> mixed_clip::Settings<'static> {
    mixed_clip::Settings { rate: &|_| 0.5, gamma: 0.05, nu, beta, decay: 1e-3, rule }
}

#[test]
fn a_mixed_clipped_step_is_never_longer_than_gamma_and_saturates_there() {
    let problem = Quartics::scattered(3, 5, Noise::Uniform(0.2));
    let louder = Given {
        workers: 3,
        start: problem.start(),
        gradient: &|k, t, x| problem.gradient(k, t, x).iter().map(|a| 1e6 * a).collect(),
        loss: &|_| 0.0,
    };
    for rule in [Rule::Hard, Rule::Soft] {
        for nu in [0.0, 0.7, 1.0] {
            for run in [&problem as &dyn Problem, &louder] {
                for pair in mixed_clip::trajectory(run, &mixed(rule, nu, 0.9), 40).windows(2) {
                    let step = norm(&minus(&pair[1], &pair[0]));
                    assert!(step <= 0.05 * (1.0 + 1e-12), "{rule:?} {nu}: {step}");
                }
            }
            let x = mixed_clip::trajectory(&louder, &mixed(rule, nu, 0.9), 1);
            assert!((norm(&minus(&x[1], &x[0])) / 0.05 - 1.0).abs() < 1e-5);
        }
    }
    // The control: SGD of the same rate steps further.
    let plain = sync_sgd::trajectory(&louder, &sync_sgd::Settings { rate: &|_| 0.5, inner: Inner::PLAIN }, 1);
    assert!(norm(&minus(&plain[1], &plain[0])) > 1e5);
}

#[test]
fn the_soft_rule_is_below_both_bounds_and_sgd_for_small_gradients() {
    for trial in 0..2000u64 {
        let u: Vec<f64> = (0..4).map(|j| 10f64.powi(trial as i32 % 9 - 5) * normal(3, 0, trial, j)).collect();
        let (soft, hard) = (shortened(&u, 0.5, 0.05, Rule::Soft), shortened(&u, 0.5, 0.05, Rule::Hard));
        assert!(norm(&soft) < 0.05 && norm(&soft) < 0.5 * norm(&u));
        assert_close(&[norm(&hard)], &[(0.5 * norm(&u)).min(0.05)], 1e-14);
        assert!(norm(&soft) >= 0.5 * norm(&hard));
        // Relative error against SGD: z/(1 + z) with z = η ‖u‖/γ.
        let z = 0.5 * norm(&u) / 0.05;
        let error = norm(&minus(&soft, &u.iter().map(|a| 0.5 * a).collect::<Vec<_>>())) / (0.5 * norm(&u));
        assert!(error <= z * (1.0 + 1e-9) && error >= z / (1.0 + z) * (1.0 - 1e-9), "trial {trial}: {error} for {z}");
    }
    assert_eq!(shortened(&[0.0, 0.0], 0.5, 0.05, Rule::Hard), [0.0, 0.0]);
}

#[test]
fn without_its_momentum_mixed_clipping_is_clipped_sgd_whatever_beta() {
    let problem = Quartics::scattered(3, 5, Noise::Uniform(0.2));
    let run = |rule, nu, beta| mixed_clip::trajectory(&problem, &mixed(rule, nu, beta), 40);
    for rule in [Rule::Hard, Rule::Soft] {
        assert_same(&run(rule, 0.0, 0.9), &run(rule, 0.0, 0.1), 0.0);
        // The momentum without memory is the gradient.
        assert_same(&run(rule, 1.0, 0.0), &run(rule, 0.0, 0.9), 0.0);
        assert!(norm(&minus(&run(rule, 0.7, 0.9)[40], &run(rule, 0.7, 0.1)[40])) > 1e-3);
    }
    let clipped = parallel_clip::Settings { rate: &|_| 0.5, gamma: &|_| 0.05, momentum: 0.0, decay: 0.0 };
    let free = mixed_clip::Settings { decay: 0.0, ..mixed(Rule::Hard, 0.0, 0.9) };
    let parallel = parallel_clip::trajectory(&problem, &clipped, 40);
    assert_same(&mixed_clip::trajectory(&problem, &free, 40), &parallel, 1e-13);
}

#[test]
fn the_momentum_is_damped_so_a_long_memory_hardly_moves_at_first() {
    let problem = Given { workers: 1, start: vec![0.0], gradient: &|_, _, _| vec![1e-3], loss: &|_| 0.0 };
    let settings = mixed_clip::Settings { decay: 0.0, ..mixed(Rule::Hard, 1.0, 0.999) };
    let x = mixed_clip::trajectory(&problem, &settings, 10);
    // m_t = (1 - βᵗ) g, nothing is clipped.
    let expected: f64 = (1..=10).map(|t| 0.5 * 1e-3 * (1.0 - 0.999f64.powi(t))).sum();
    assert_close(&[-x[10][0]], &[expected], 1e-15);
    // The branch along the gradient is why the method moves.
    let both =
        mixed_clip::trajectory(&problem, &mixed_clip::Settings { decay: 0.0, ..mixed(Rule::Hard, 0.7, 0.999) }, 10);
    assert!(both[10][0] < 50.0 * x[10][0]);
}
