//! Workers that come back one at a time: asynchronous SGD, its two cautious kinds, and FedBuff.

use super::{assert_close, assert_same};
use crate::oracle::{
    arrivals::Run,
    async_sgd,
    clients::Clients,
    delay_adaptive_sgd, fedavg, fedbuff,
    inner::Inner,
    picky_sgd,
    problem::{Given, Noise, Problem, Quadratics, uniform},
    sync_sgd,
    vectors::{mean, minus, norm},
};

fn constant(problem: &dyn Problem, eta: f64, order: &[usize]) -> Run {
    async_sgd::run(problem, &async_sgd::Settings { rate: &|_| eta }, order)
}

fn adaptive(problem: &dyn Problem, eta: f64, order: &[usize]) -> Run {
    delay_adaptive_sgd::run(problem, &delay_adaptive_sgd::Settings { rate: &|_| eta }, order)
}

fn picky(problem: &dyn Problem, eta: f64, radius: f64, order: &[usize]) -> Run {
    picky_sgd::run(problem, &picky_sgd::Settings { rate: &|_| eta, radius }, order)
}

fn buffered(problem: &dyn Problem, steps: u64, size: usize, order: &[usize]) -> Run {
    let settings = fedbuff::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, steps, size, outer_rate: 0.7 };
    fedbuff::run(problem, &settings, order)
}

/// Orders of arrival of `n` workers: random, unfair, by turns, with workers that never come or only at the end.
fn orders(n: usize, t: usize) -> Vec<Vec<usize>> {
    let random = |power: f64| -> Vec<usize> {
        (0..t).map(|s| (uniform(3, 0, s as u64, n).powf(power) * n as f64) as usize).collect()
    };
    let mut late = vec![0; t];
    for (s, k) in late.iter_mut().rev().take(n - 1).enumerate() {
        *k = s + 1;
    }
    vec![random(1.0), random(5.0), (0..t).map(|s| s % n).collect(), vec![0; t], late]
}

#[test]
fn applied_delays_and_ages_under_way_add_up_to_the_others_steps() {
    for (n, t) in [(1, 10), (2, 50), (7, 40), (12, 500)] {
        let problem = Quadratics::scattered(n, 3, Noise::Uniform(0.1));
        for order in orders(n, t) {
            let runs = [
                constant(&problem, 0.01, &order),
                adaptive(&problem, 0.01, &order),
                picky(&problem, 0.01, 0.05, &order),
                buffered(&problem, 2, 1, &order),
            ];
            for run in &runs {
                let applied = run.delays.iter().sum::<u64>();
                assert_eq!(applied + run.ages.iter().sum::<u64>(), ((n - 1) * t) as u64);
                // So the mean delay is below n, however late the latest.
                assert!(applied < (n * t) as u64);
                assert_eq!(run.models.len(), t + 1);
            }
            // The same with versions in the place of steps, when a buffer makes one of several.
            for size in [2, 5] {
                let run = buffered(&problem, 1, size, &order);
                let total = run.delays.iter().sum::<u64>() + run.ages.iter().sum::<u64>();
                assert_eq!(total, ((n - 1) * (t / size)) as u64);
            }
        }
    }
}

#[test]
fn a_straggler_that_comes_at_the_end_hardly_shows_in_the_mean_delay_but_does_in_the_largest() {
    let problem = Quadratics::scattered(2, 3, Noise::None);
    let mut order = vec![0; 1000];
    order[999] = 1;
    let run = constant(&problem, 0.01, &order);
    assert_eq!((run.delays.iter().max(), run.delays.iter().sum::<u64>()), (Some(&999), 999));
    // Fewer than half of the delays reach twice the mean (Markov). That fewer than half exceed the mean does not
    // follow: by turns, all but the first do.
    for (n, t) in [(2, 60), (7, 400), (12, 500)] {
        for order in orders(n, t) {
            let delays = constant(&Quadratics::scattered(n, 2, Noise::None), 0.01, &order).delays;
            let applied = delays.iter().sum::<u64>();
            if applied > 0 {
                let long = delays.iter().filter(|&&d| d * t as u64 >= 2 * applied).count();
                assert!(2 * long <= t, "{long} of {t}");
            }
        }
    }
    let turns: Vec<usize> = (0..60).map(|s| s % 2).collect();
    let delays = constant(&problem, 0.01, &turns).delays;
    let applied = delays.iter().sum::<u64>();
    assert!(delays.iter().filter(|&&d| d * 60 > applied).count() == 59);
}

#[test]
fn one_worker_is_plain_sgd_in_every_row() {
    let problem = Quadratics::scattered(1, 5, Noise::Uniform(0.2));
    let plain = sync_sgd::trajectory(&problem, &sync_sgd::Settings { rate: &|_| 0.1, inner: Inner::PLAIN }, 40);
    let order = vec![0; 40];
    assert_same(&constant(&problem, 0.1, &order).models, &plain, 1e-14);
    assert_same(&adaptive(&problem, 0.1, &order).models, &plain, 1e-14);
    assert_same(&picky(&problem, 0.1, 0.0, &order).models, &plain, 1e-14);
    let settings = fedbuff::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, steps: 4, size: 1, outer_rate: 1.0 };
    let run = fedbuff::run(&problem, &settings, &order[..10]);
    for (j, x) in run.models.iter().enumerate() {
        assert_close(x, &plain[4 * j], 1e-13);
    }
}

#[test]
fn by_turns_every_gradient_is_as_old_as_there_are_other_workers() {
    // f = ½ x² everywhere: x_{t+1} = x_t - η x_{t-τ} with τ = min(t, n - 1), whatever the worker.
    let problem = Given { workers: 4, start: vec![1.0], gradient: &|_, _, x| x.to_vec(), loss: &|x| 0.5 * x[0] * x[0] };
    let order: Vec<usize> = (0..60).map(|t| t % 4).collect();
    let run = constant(&problem, 0.2, &order);
    let mut x = vec![1.0];
    for t in 0..60usize {
        assert_eq!(run.delays[t], t.min(3) as u64);
        x.push(x[t] - 0.2 * x[t - t.min(3)]);
    }
    assert_close(&run.models.concat(), &x, 1e-14);
    assert_eq!(run.ages, [3, 2, 1, 0]);
    // The control: fresh gradients are another trajectory; here both arrive.
    let fresh = 0.8f64.powi(5);
    assert!((x[5] - fresh).abs() > 0.05 && x[60].abs() < 1e-2);
    // No delay is beyond the threshold: the adaptive row is the same.
    assert_same(&adaptive(&problem, 0.2, &order).models, &run.models, 0.0);
    // The jobs of a worker are numbered one by one.
    let counting =
        Given { workers: 2, start: vec![0.0], gradient: &|k, j, _| vec![(10 * k) as f64 + j as f64], loss: &|_| 0.0 };
    let run = constant(&counting, 1.0, &[1, 1, 0, 1]);
    assert_close(&run.models.concat(), &[0.0, -10.0, -21.0, -21.0, -33.0], 0.0);
}

/// One worker walks while the others wait, then all the others arrive at once, who came last first; and so on.
fn bursts(n: usize, walk: usize, times: usize) -> Vec<usize> {
    let mut order = Vec::new();
    for burst in 0..times {
        order.extend(vec![0; walk]);
        order.extend((1..n).map(|k| if burst % 2 == 0 { k } else { n - k }));
    }
    order
}

#[test]
fn very_stale_gradients_blow_up_a_constant_rate_and_neither_cautious_row() {
    // f = ½ x², η = 1/(4L).
    let problem =
        Given { workers: 20, start: vec![1.0], gradient: &|_, _, x| x.to_vec(), loss: &|x| 0.5 * x[0] * x[0] };
    let order = bursts(20, 100, 40);
    let away = constant(&problem, 0.25, &order).models;
    assert!(!away.last().unwrap()[0].is_finite() || away.last().unwrap()[0].abs() > 1e6);
    let slow = adaptive(&problem, 0.25, &order).models;
    assert!(slow.iter().all(|x| x[0].abs() <= 1.0), "{slow:?}");
    assert!(slow.last().unwrap()[0].abs() < 1e-3);
    let choosy = picky(&problem, 0.25, 0.01, &order).models;
    assert!(choosy.iter().all(|x| x[0].abs() <= 1.0) && choosy.last().unwrap()[0].abs() < 0.02);
    // A single one: after a walk to the minimum the gradient of the start throws the model back by a quarter of the
    // way, by 1/τ of that, or not at all.
    let mut order = vec![0; 200];
    order.push(1);
    assert_close(&constant(&problem, 0.25, &order).models[201], &[-0.25], 1e-12);
    assert_close(&adaptive(&problem, 0.25, &order).models[201], &[-0.25 / 200.0], 1e-12);
    assert_close(&picky(&problem, 0.25, 0.5, &order).models[201], &[0.0], 1e-12);
    // The threshold is how many jobs are under way, and includes itself.
    let mut order = vec![0; 20];
    order.push(1);
    assert_eq!(adaptive(&problem, 0.25, &order).models, constant(&problem, 0.25, &order).models);
    order.insert(0, 0);
    let (a, c) = (adaptive(&problem, 0.25, &order).models, constant(&problem, 0.25, &order).models);
    assert_close(&[c[22][0] - c[21][0], a[22][0] - a[21][0]], &[-0.25, -0.25 / 21.0], 1e-13);
}

#[test]
fn picky_takes_everything_within_a_large_radius_and_only_what_is_at_hand_within_none() {
    let problem = Quadratics::scattered(6, 4, Noise::Uniform(0.2));
    for order in orders(6, 300) {
        let all = constant(&problem, 0.05, &order).models;
        assert_same(&picky(&problem, 0.05, f64::INFINITY, &order).models, &all, 0.0);
        // Within radius 0 every gradient taken is one at the model as it is: the models are SGD's.
        let run = picky(&problem, 0.05, 0.0, &order);
        let mut jobs = [0; 6];
        let mut stood = 0;
        for (t, &k) in order.iter().enumerate() {
            let (old, new) = (&run.models[t], &run.models[t + 1]);
            if old == new {
                stood += 1;
            } else {
                let g = problem.gradient(k, jobs[k], old);
                assert_close(new, &(0..4).map(|j| old[j] - 0.05 * g[j]).collect::<Vec<_>>(), 1e-13);
            }
            jobs[k] += 1;
            // Fresh ones are always taken. A delay alone is no reason to refuse: while refused gradients come in, the
            // model stands, and what was given to others meanwhile is at hand.
            assert!(run.delays[t] > 0 || old != new);
        }
        assert_eq!(stood > 0, order.iter().any(|&k| k > 0));
    }
}

#[test]
fn a_gradient_from_afar_never_moves_picky_sgd_and_the_cautious_rows_arrive() {
    let mut problem = Quadratics::scattered(8, 4, Noise::None);
    problem.curvature = vec![problem.curvature[0].clone(); 8];
    problem.centres = vec![problem.centres[0].clone(); 8];
    let target = problem.minimiser();
    for order in orders(8, 4000).iter().take(4) {
        let run = picky(&problem, 0.1, 0.3, order);
        let mut given = [0; 8];
        for (t, &k) in order.iter().enumerate() {
            if norm(&minus(&run.models[t], &run.models[given[k]])) > 0.3 {
                assert_eq!(run.models[t], run.models[t + 1]);
            }
            given[k] = t + 1;
        }
        assert!(norm(&minus(&run.models[4000], &target)) < 1e-6, "{}", norm(&minus(&run.models[4000], &target)));
        let run = adaptive(&problem, 0.1, order);
        assert!(norm(&minus(&run.models[4000], &target)) < 1e-6, "{}", norm(&minus(&run.models[4000], &target)));
    }
}

#[test]
fn rates_count_the_servers_steps_whether_taken_or_not_and_a_clients_own() {
    // Gradient 1 everywhere; worker 1's first one is too far off, and the step that it does not make has its rate.
    let problem = Given { workers: 2, start: vec![0.0], gradient: &|_, _, _| vec![1.0], loss: &|_| 0.0 };
    let rate = |t: u64| 10f64.powi(-(t as i32));
    let order = [0, 0, 1, 1, 0];
    let all = async_sgd::run(&problem, &async_sgd::Settings { rate: &rate }, &order).models;
    assert_close(&all.concat(), &[0.0, -1.0, -1.1, -1.11, -1.111, -1.1111], 1e-14);
    let some = picky_sgd::run(&problem, &picky_sgd::Settings { rate: &rate, radius: 0.5 }, &order).models;
    assert_close(&some.concat(), &[0.0, -1.0, -1.1, -1.1, -1.101, -1.1011], 1e-14);
    let settings = fedbuff::Settings { rate: &rate, inner: Inner::PLAIN, steps: 2, size: 2, outer_rate: 1.0 };
    let run = fedbuff::run(&problem, &settings, &[0, 0, 1, 1]);
    assert_close(&run.models[2], &[-0.5555], 1e-14);
    assert_close(&run.models[4], &[-0.5555 - 0.5 * (1.1 * 0.5f64.sqrt() + 0.011)], 1e-14);
}

#[test]
fn a_first_buffer_is_a_round_of_averaging_and_the_second_counts_the_old_less() {
    let problem = Quadratics::scattered(3, 4, Noise::Uniform(0.2));
    let settings = fedbuff::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, steps: 5, size: 3, outer_rate: 1.0 };
    let run = fedbuff::run(&problem, &settings, &[2, 0, 1, 0, 1, 2]);
    let clients = Clients { sizes: vec![1.0; 3], sample: &|_| vec![0, 1, 2], steps: &|r, _| 5 * r..5 * r + 5 };
    let round = fedavg::trajectory(&problem, &fedavg::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, clients }, 1);
    assert_close(&run.models[3], &round[1], 1e-14);
    for t in [1, 2] {
        assert_eq!(run.models[t], run.models[0]);
        assert_eq!(run.models[3 + t], run.models[3]);
    }
    // 2 and 0 went on from the first model before the buffer was full; 1 got the new one.
    assert_eq!(run.delays, [0, 0, 0, 1, 0, 1]);
    assert_eq!(run.ages, [1, 1, 0]);
    let moved = |k: usize, from: &[f64]| {
        let mut y = from.to_vec();
        for t in 5..10 {
            let g = problem.gradient(k, t, &y);
            y = (0..4).map(|j| y[j] - 0.1 * g[j]).collect();
        }
        minus(&y, from)
    };
    let (old, new) = (&run.models[0], &run.models[3]);
    let half = 0.5f64.sqrt();
    let scaled = |v: Vec<f64>| v.iter().map(|a| half * a).collect::<Vec<f64>>();
    let step = mean(&[scaled(moved(0, old)), moved(1, new), scaled(moved(2, old))]);
    assert_close(&minus(&run.models[6], new), &step, 1e-13);
    // The controls: no weights, or their sum in the place of the size.
    let free = mean(&[moved(0, old), moved(1, new), moved(2, old)]);
    let shared: Vec<f64> = step.iter().map(|a| a * 3.0 / (1.0 + 2.0 * half)).collect();
    for wrong in [free, shared] {
        assert!(norm(&minus(&wrong, &step)) > 0.01);
    }
}

#[test]
fn a_buffer_of_one_is_asynchronous_sgd_with_the_root_of_the_delay() {
    let problem = Quadratics::scattered(5, 4, Noise::Uniform(0.2));
    for order in orders(5, 120) {
        let settings = fedbuff::Settings { rate: &|_| 0.1, inner: Inner::PLAIN, steps: 1, size: 1, outer_rate: 0.7 };
        let run = fedbuff::run(&problem, &settings, &order);
        let rate = |t: u64| 0.07 / (1.0 + run.delays[t as usize] as f64).sqrt();
        let same = async_sgd::run(&problem, &async_sgd::Settings { rate: &rate }, &order);
        assert_same(&run.models, &same.models, 1e-12);
        assert_eq!(run.delays, same.delays);
        assert_eq!(run.ages, same.ages);
    }
}
