//! CoCoA, CoCoA+ and ACPD.

use super::assert_close;
use crate::oracle::{
    acpd,
    acpd::Down,
    cocoa, cocoa_plus,
    dual::{Data, Solver, dot, rounds, solve},
    problem::{normal, uniform},
    vectors::{minus, norm},
};

/// The notes' data: unit rows with so many entries, planted labels, dealt evenly.
fn sparse(n: usize, d: usize, entries: usize, workers: usize, lambda: f64, seed: u64) -> Data {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for i in 0..n {
        let mut row = vec![0.0; d];
        for e in 0..entries {
            row[(uniform(seed, i, 0, e) * d as f64) as usize] = normal(seed, i, 1, e);
        }
        let length = norm(&row);
        let row: Vec<f64> = row.iter().map(|a| a / length).collect();
        let score = (0..d).map(|j| row[j] * normal(seed, 0, 2, j)).sum::<f64>() + 0.3 * normal(seed, i, 3, 0);
        labels.push(if score > 0.0 { 1.0 } else { -1.0 });
        rows.push(row);
    }
    let size = n / workers;
    Data { rows, labels, shards: (0..workers).map(|k| k * size..(k + 1) * size).collect(), lambda }
}

/// A row of a shard of `size`, at random.
fn random(size: usize) -> impl Fn(usize, u64, usize) -> usize {
    move |k, job, h| (uniform(50 + job, k, 0, h) * size as f64) as usize
}

/// All workers in an order drawn for (outer, inner).
fn shuffled(workers: usize) -> impl Fn(u64, u64) -> Vec<usize> {
    move |l, j| {
        let mut order: Vec<usize> = (0..workers).collect();
        order.sort_by(|&a, &b| uniform(60 + l, a, j, 0).total_cmp(&uniform(60 + l, b, j, 0)));
        order
    }
}

fn sum(rows: &[Vec<f64>]) -> Vec<f64> {
    (0..rows[0].len()).map(|j| rows.iter().map(|row| row[j]).sum()).collect()
}

#[test]
fn a_coordinate_step_alone_is_the_best_one_and_many_of_them_solve_ridge_regression() {
    let data = sparse(40, 12, 5, 1, 0.02, 1);
    let pick = random(40);
    let one = Solver { sigma: 1.0, curvature: 1.0, steps: 1, pick: &pick };
    let (mut alpha, mut w) = (vec![0.0; 40], vec![0.0; 12]);
    for job in 0..30 {
        let before = data.dual(&alpha);
        let old = alpha.clone();
        let mut delta = vec![0.0; 12];
        solve(&data, &one, (0, job), &mut alpha, (&w, &mut delta));
        w = sum(&[w, delta]);
        let best = data.dual(&alpha);
        assert!(best >= before);
        let i = (0..40).find(|&i| alpha[i] != old[i]).unwrap();
        for off in [-1e-3, 1e-3, -0.3, 0.3] {
            let mut other = alpha.clone();
            other[i] += off;
            assert!(data.dual(&other) < best);
        }
    }
    // Sequential steps of one worker inside a round are the same steps: Δ takes the place of w.
    let held = cocoa::run(&data, &cocoa::Settings { steps: 4000, pick: &pick }, 1);
    let w = &held[1].w;
    let mut slope: Vec<f64> = w.iter().map(|a| data.lambda * a).collect();
    for i in 0..40 {
        for j in 0..12 {
            slope[j] += (dot(w, &data.rows[i]) - data.labels[i]) * data.rows[i][j] / 40.0;
        }
    }
    assert!(norm(&slope) < 1e-12, "{}", norm(&slope));
    assert!(data.gap(w, &held[1].alpha).abs() < 1e-14);
}

#[test]
fn the_dual_never_falls_and_the_gap_never_goes_below_zero() {
    for workers in [1, 2, 5] {
        let data = sparse(60, 15, 6, workers, 0.01, 2);
        let pick = random(60 / workers);
        let averaged = cocoa::run(&data, &cocoa::Settings { steps: 30, pick: &pick }, 80);
        let added = cocoa_plus::run(&data, &cocoa_plus::Settings { steps: 30, pick: &pick }, 80);
        for held in [&averaged, &added] {
            for pair in held.windows(2) {
                assert!(data.dual(&pair[1].alpha) >= data.dual(&pair[0].alpha) - 1e-15);
            }
            for h in held {
                assert!(data.gap(&h.w, &h.alpha) >= -1e-15);
                assert_close(&h.w, &data.point(&h.alpha), 1e-12);
            }
        }
        let [slow, fast] = [&averaged, &added].map(|held| data.gap(&held[80].w, &held[80].alpha));
        if workers == 1 {
            assert_eq!(slow, fast);
        } else {
            assert!(fast < slow, "{workers}: {fast} {slow}");
        }
    }
}

#[test]
fn adding_without_sigma_in_the_curvature_or_without_sigma_at_all_diverges() {
    let data = sparse(80, 6, 6, 8, 1e-3, 3);
    let pick = random(10);
    let end = |sigma: f64, curvature: f64| {
        let held = rounds(&data, &Solver { sigma, curvature, steps: 40, pick: &pick }, 1.0, 300);
        data.gap(&held[300].w, &held[300].alpha)
    };
    // The gap starts at ½.
    assert!(end(8.0, 8.0) < 0.01, "{}", end(8.0, 8.0));
    for (sigma, curvature) in [(8.0, 1.0), (1.0, 1.0)] {
        let gap = end(sigma, curvature);
        assert!(!gap.is_finite() || gap > 1e6, "{sigma} {curvature}: {gap}");
    }
}

fn settings<'a>(
    (group, inner, keep): (usize, u64, usize),
    (gamma, down): (f64, Down),
    pick: &'a dyn Fn(usize, u64, usize) -> usize,
    arrivals: &'a dyn Fn(u64, u64) -> Vec<usize>,
) -> acpd::Settings<'a> {
    acpd::Settings { gamma, group, inner, keep, down, steps: 25, curvature: None, pick, arrivals }
}

#[test]
fn waiting_for_everybody_and_saying_everything_is_cocoa_plus_and_cocoa() {
    let data = sparse(60, 15, 6, 4, 0.01, 4);
    let (pick, arrivals) = (random(15), shuffled(4));
    let averaged = cocoa::run(&data, &cocoa::Settings { steps: 25, pick: &pick }, 40);
    let added = cocoa_plus::run(&data, &cocoa_plus::Settings { steps: 25, pick: &pick }, 40);
    for (gamma, reference) in [(0.25, &averaged), (1.0, &added)] {
        for down in [Down::Pending, Down::Top] {
            let run = acpd::run(&data, &settings((4, 5, 15), (gamma, down), &pick, &arrivals), 8);
            for (r, held) in run.inner.iter().enumerate() {
                assert_close(&held.w, &reference[r + 1].w, 1e-12);
                assert_close(&held.alpha, &reference[r + 1].alpha, 1e-12);
                assert!(held.residuals.iter().flatten().all(|a| *a == 0.0));
            }
        }
        // The controls: fewer workers, or fewer entries, are another method.
        for (group, keep) in [(3, 15), (4, 14)] {
            let run = acpd::run(&data, &settings((group, 5, keep), (gamma, Down::Pending), &pick, &arrivals), 8);
            assert!(norm(&minus(&run.inner[30].w, &reference[31].w)) > 1e-4);
        }
    }
}

#[test]
fn at_outer_boundaries_the_model_is_that_of_the_dual_variables() {
    let data = sparse(80, 30, 8, 4, 0.01, 5);
    let pick = random(20);
    let shuffle = shuffled(4);
    let orders: [&dyn Fn(u64, u64) -> Vec<usize>; 2] = [&shuffle, &|_, _| vec![2, 0, 1, 3]];
    for arrivals in orders {
        for (group, inner, keep) in [(2, 6, 3), (1, 4, 1), (4, 3, 5), (3, 1, 2)] {
            for (gamma, down) in [(0.5, Down::Pending), (1.0, Down::Top), (0.25, Down::Top)] {
                let run = acpd::run(&data, &settings((group, inner, keep), (gamma, down), &pick, arrivals), 15);
                for held in &run.outer {
                    assert_close(&held.w, &data.point(&held.alpha), 1e-12);
                    assert!(data.gap(&held.w, &held.alpha) >= -1e-15);
                }
                let mut worst = 0.0f64;
                for held in &run.inner {
                    // Nothing is forgotten or said twice: w is short of what the residuals hold, w_k of u_k.
                    let owed: Vec<f64> = sum(&held.residuals).iter().map(|a| gamma * a).collect();
                    assert_close(&sum(&[held.w.clone(), owed]), &data.point(&held.alpha), 1e-12);
                    for k in 0..4 {
                        assert_close(&sum(&[held.local[k].clone(), held.pending[k].clone()]), &held.w, 1e-12);
                    }
                    assert!(data.gap(&held.w, &held.alpha) >= -1e-15);
                    worst = worst.max(norm(&minus(&held.w, &data.point(&held.alpha))));
                }
                // The control: between the boundaries, before the flush, it is not.
                assert!(worst > 1e-3, "{worst}");
            }
        }
    }
}

#[test]
fn the_gap_falls_geometrically_over_outer_rounds() {
    let data = sparse(80, 30, 8, 4, 0.01, 6);
    let (pick, arrivals) = (random(20), shuffled(4));
    for (group, down) in [(2, Down::Pending), (2, Down::Top), (3, Down::Top)] {
        let run = acpd::run(&data, &settings((group, 6, 5), (0.5, down), &pick, &arrivals), 60);
        let gaps: Vec<f64> = run.outer.iter().map(|held| data.gap(&held.w, &held.alpha)).collect();
        for pair in gaps.windows(2).filter(|pair| pair[0] > 1e-12) {
            assert!(pair[1] < 0.95 * pair[0], "{} {}", pair[1], pair[0]);
        }
        assert!(gaps[60] < 1e-11, "{}", gaps[60]);
    }
}

#[test]
fn the_authors_curvature_makes_acpd_diverge_where_the_subproblems_arrives() {
    let data = sparse(80, 6, 6, 8, 1e-3, 3);
    let (pick, arrivals) = (random(10), shuffled(8));
    let end = |curvature| {
        let mut settings = settings((8, 5, 6), (1.0, Down::Pending), &pick, &arrivals);
        settings.curvature = curvature;
        let run = acpd::run(&data, &settings, 60);
        data.gap(&run.outer[60].w, &run.outer[60].alpha)
    };
    assert!(end(None) < 0.01, "{}", end(None));
    let gap = end(Some(1.0));
    assert!(!gap.is_finite() || gap > 1e6, "{gap}");
}

#[test]
fn who_is_late_is_heard_in_a_later_round_and_everybody_in_the_last() {
    let data = sparse(80, 30, 8, 4, 0.01, 7);
    let pick = random(20);
    // Worker 3 never comes before it is waited for; the others go in pairs.
    let arrivals = |_: u64, j: u64| vec![(j % 3) as usize, ((j + 1) % 3) as usize, 3];
    let run = acpd::run(&data, &settings((2, 5, 4), (0.5, Down::Pending), &pick, &arrivals), 3);
    let own = |h: &acpd::Held, k: usize| h.alpha[data.shards[k].clone()].to_vec();
    for l in 0..3 {
        for j in 0..4 {
            let phi = arrivals(0, j as u64);
            let before = if j == 0 { &run.outer[l] } else { &run.inner[5 * l + j - 1] };
            for k in 0..4 {
                assert_eq!(own(before, k) != own(&run.inner[5 * l + j], k), phi[..2].contains(&k), "{l} {j} {k}");
            }
        }
        for k in 0..4 {
            assert!(own(&run.inner[5 * l + 3], k) != own(&run.inner[5 * l + 4], k));
        }
    }
}

#[test]
fn among_equals_the_lower_index_goes() {
    assert_eq!(acpd::top(&[1.0, -2.0, 2.0, -1.0, 2.0], 2), [0.0, -2.0, 2.0, 0.0, 0.0]);
    assert_eq!(acpd::top(&[0.0, 0.0, 1.0], 2), [0.0, 0.0, 1.0]);
    assert_eq!(acpd::top(&[1.0, 2.0], 5), [1.0, 2.0]);
}

/// Who arrives when if solving takes worker k `pace[k]`, and a message of s entries s/d: the orders of all inner rounds
/// and the times at which inner rounds end.
fn timetable(pace: &[f64], (group, inner, share): (usize, u64, f64), outer: usize) -> (Vec<Vec<Vec<usize>>>, Vec<f64>) {
    let (mut orders, mut ends, mut now) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..outer {
        let mut arrival: Vec<f64> = pace.iter().map(|p| now + p + share).collect();
        let mut own = Vec::new();
        for j in 0..inner {
            let mut order: Vec<usize> = (0..pace.len()).collect();
            order.sort_by(|&a, &b| arrival[a].total_cmp(&arrival[b]).then(a.cmp(&b)));
            let heard = if j + 1 == inner { pace.len() } else { group };
            now = order[..heard].iter().map(|&k| arrival[k]).fold(now, f64::max);
            for &k in &order[..heard] {
                arrival[k] = now + share + pace[k] + share;
            }
            own.push(order);
            ends.push(now);
        }
        now += 1.0;
        orders.push(own);
    }
    (orders, ends)
}

#[test]
fn waiting_for_two_of_four_saves_time_and_saying_a_tenth_saves_bits() {
    // The notes' shapes; they give no data, and do not say which γ their dense run had. Theirs: dense 58 units of time
    // and 258 with a straggler, pairs 39 and 136, all four with few entries 336. These, with one γ for all: 35 and 143,
    // 30.5 and 127, 246. With γ = 1 the dense run needs 8 rounds, 24 units and 96: that CoCoA+ is not beaten here.
    let data = sparse(400, 200, 10, 4, 1e-2, 8);
    let pick = random(100);
    let reach = |pace: [f64; 4], group: usize, keep: usize| {
        let (orders, ends) = timetable(&pace, (group, 20, keep as f64 / 200.0), 20);
        let arrivals = |l: u64, j: u64| orders[l as usize][j as usize].clone();
        let settings = acpd::Settings { steps: 200, ..settings((group, 20, keep), (0.5, Down::Top), &pick, &arrivals) };
        let run = acpd::run(&data, &settings, 20);
        let r = run.inner.iter().position(|held| data.gap(&held.w, &held.alpha) <= 1e-4).unwrap();
        // Up: an index of 8 bits and a value of 32 for a kept entry, a value for a dense one, four dense ones a flush.
        let heard: usize = (0..=r).map(|j| if j % 20 == 19 { 4 } else { group }).sum();
        let bits = if keep < 200 { 40 * heard * keep + 32 * 4 * 200 * (r / 20) } else { 32 * 200 * heard };
        (ends[r], bits as f64)
    };
    let (even, slow) = ([1.0; 4], [1.0, 10.0, 1.0, 1.0]);
    let ((dense, dense_bits), (dense_slow, _)) = (reach(even, 4, 200), reach(slow, 4, 200));
    let ((pairs, pair_bits), (pairs_slow, _)) = (reach(even, 2, 20), reach(slow, 2, 20));
    let ((_, all_bits), (all_slow, _)) = (reach(even, 4, 20), reach(slow, 4, 20));
    assert!(pairs < dense && pairs_slow < dense_slow && pairs_slow < 0.6 * all_slow);
    assert!(pair_bits < 0.5 * dense_bits && all_bits < 0.5 * dense_bits);
}
