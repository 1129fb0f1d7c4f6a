//! Rows that know losses alone: differences of values, with less variance, and one number a step.
//!
//! The library takes losses at points that it rounds to f32, and μ divides what that does to them: where parameters stay
//! below 2 in size a slope along a direction is off by at most 2⁻²⁴·√d·‖∇f‖/μ, which is 3·10⁻⁶·‖∇f‖ for the μ here. That
//! is as much of what a step moves, and runs move by less than 3 in all: it stays within what roundings may add up to.
//! Central differences divide by the distance that the points really have, and are off by less.

use std::sync::Arc;

use sordino::Result;
use sordino::base::{Error, Layout, Stream, Use};
use sordino::testing::{Rank, Trial};
use sordino::workload::{Batch, Draw, Metrics, Rows, Split, Start, Task, Workload};

use super::{SEED, compare, cosine, farthest, models};
use crate::oracle::{
    differences::{Estimator, Sum},
    problem::{normal, uniform},
    prox::Prox,
    zo_proxsaga, zo_proxsgd, zo_proxsvrg,
    zo_proxsvrg::At,
    zo_seeded,
    zo_seeded::Difference,
};
use crate::worlds::{gap, narrow, row, wide};

const CLIENTS: usize = 4;
/// Rows a client.
const EACH: usize = 8;
const D: usize = 7;
const STEPS: u64 = 60;
/// Rows a step.
const B: usize = 3;
const MU: f64 = 0.05;

/// The value of one row.
type Value = dyn Fn(usize, &[f64]) -> f64 + Send + Sync;

/// A mean of rows of which only values are known, so many for every client, one client after another.
#[derive(Clone)]
struct Black {
    start: f64,
    of: Arc<Value>,
}

impl Black {
    /// The mean over some rows.
    fn mean(&self, rows: &[usize], x: &[f64]) -> f64 {
        rows.iter().map(|row| (self.of)(*row, x)).sum::<f64>() / rows.len() as f64
    }

    fn all(&self, x: &[f64]) -> f64 {
        self.mean(&(0..CLIENTS * EACH).collect::<Vec<_>>(), x)
    }

    fn start(&self) -> Vec<f64> {
        vec![self.start; D]
    }
}

fn dealt() -> Rows {
    let own = |client: usize| (client * EACH..(client + 1) * EACH).map(|row| row as u32).collect();
    Rows::shards(Arc::new((0..CLIENTS).map(own).collect()))
}

impl Task for Black {
    fn name(&self) -> &'static str {
        "black"
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        assert_eq!(clients, CLIENTS);
        Ok(Box::new(Share { of: self.clone(), rows: dealt(), layout: Layout::vector(D) }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

struct Share {
    of: Black,
    rows: Rows,
    layout: Layout,
}

impl Workload for Share {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: narrow(&self.of.start()), buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, _: &[f32], _: &mut [f32], _: &Draw, _: &mut [f32]) -> Result<f64> {
        Err(Error::request("losses alone are known"))
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        let rows: Vec<usize> = self.rows.pick(draw)?.iter().map(|row| *row as usize).collect();
        Ok(self.of.mean(&rows, &wide(x)))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let loss = self.of.all(&wide(x));
        Ok((split == Split::Train).then_some(Metrics { loss, accuracy: None, examples: CLIENTS * EACH }))
    }
}

/// Sigmoid losses of planted labels, neither convex nor quadratic; and bowls of unequal curvature, whose third derivative
/// is zero.
fn problems() -> [(&'static str, Black); 2] {
    let sigmoid = |i: usize, x: &[f64]| {
        let a = |j: usize| normal(31, i, 0, j);
        let score = (0..D).map(|j| a(j) * normal(31, 0, 1, j)).sum::<f64>() + normal(31, i, 2, 0);
        1.0 / (1.0 + (score.signum() * (0..D).map(|j| a(j) * x[j]).sum::<f64>()).exp())
    };
    let bowl = |i: usize, x: &[f64]| {
        let term = |j: usize| (0.2 + uniform(32, i, 0, j)) * (x[j] - normal(32, i, 1, j)).powi(2);
        (0..D).map(|j| 0.5 * term(j)).sum()
    };
    [("sigmoids", Black { start: 0.5, of: Arc::new(sigmoid) }), ("bowls", Black { start: 1.5, of: Arc::new(bowl) })]
}

/// Penalties as the library writes them and as the reference has them, each with a weaker one.
fn penalties() -> [(&'static str, Prox, Prox); 3] {
    let groups = || vec![0..3, 3..6, 6..7];
    [
        ("l1(0.05)", Prox::L1(0.05), Prox::L1(0.04)),
        ("group(0.07, size=3)", Prox::Groups(0.07, groups()), Prox::Groups(0.06, groups())),
        ("box(-0.1, 0.5)", Prox::Box(-0.1, 0.5), Prox::Box(-0.1, 0.49)),
    ]
}

fn run(name: &str, sets: &[&str], task: &Black) -> Vec<Rank> {
    Trial::new(&row(name, sets), task, CLIENTS, SEED, STEPS).run().unwrap()
}

/// A direction.
fn along(mut stream: Stream) -> Vec<f64> {
    (0..D).map(|_| f64::from(stream.normal())).collect()
}

/// A client's own direction of a step, or a row's if it is given.
fn own(client: usize, step: u64, row: Option<usize>) -> Stream {
    let stream = Stream::new(SEED, Use::Direction, client as u64, step);
    row.map_or(stream.clone(), |row| stream.part(row as u64))
}

/// The rows that a client's mini-batch has in a step.
fn batches() -> Vec<Vec<Vec<usize>>> {
    let mut rows = dealt();
    let mut of = |client: usize, step: u64| -> Vec<usize> {
        let draw = Draw { seed: SEED, client: client as u64, step, batch: Batch::Rows(B) };
        rows.pick(&draw).unwrap().iter().map(|row| *row as usize).collect()
    };
    (0..STEPS).map(|step| (0..CLIENTS).map(|client| of(client, step)).collect()).collect()
}

/// The rows that variance reduction draws for all clients: the first choice, or an independent second one.
fn drawn(step: u64, choice: u64) -> Vec<usize> {
    let of = |client: usize| {
        let mut stream = Stream::new(SEED, Use::Inclusion, client as u64, step).part(choice);
        (0..B).map(|_| client * EACH + stream.below(EACH as u64) as usize).collect::<Vec<_>>()
    };
    (0..CLIENTS).flat_map(of).collect()
}

/// The settings of a row: the rate falls, so that what it multiplies shows.
fn sets(rate: f64, prox: &str, estimate: &str) -> [String; 2] {
    [
        format!("optim=sgd(rate={rate}, momentum=0, schedule=cosine, prox={prox})"),
        format!("local=descent(batch={B}, estimate={estimate})"),
    ]
}

#[test]
fn proximal_descent_along_a_direction_of_every_clients_batch() {
    // What one client's batch of one step looks like along one of its directions is a row of its own to the reference.
    let batches = batches();
    for (world, task) in problems() {
        for (prox, penalty, weaker) in penalties() {
            for q in [1, 3] {
                let spot = |i: usize| (i / (CLIENTS * q), i / q % CLIENTS, i % q);
                let value = |i: usize, x: &[f64]| {
                    let (step, client, _) = spot(i);
                    task.mean(&batches[step][client], x)
                };
                let rate = cosine(0.06, 0, STEPS);
                let oracle = |mu: f64, prox: &Prox, late: u64| {
                    let sum = Sum { n: STEPS as usize * CLIENTS * q, d: D, f: &value };
                    let settings = zo_proxsgd::Settings {
                        rate: &rate,
                        estimator: Estimator::Gaussian(mu),
                        prox: prox.clone(),
                        draw: &|t| (0..CLIENTS * q).map(|l| t as usize * CLIENTS * q + l).collect(),
                        direction: &|t, i| along(own(spot(i).1, t + late, None).part(spot(i).2 as u64)),
                    };
                    zo_proxsgd::trajectory(&sum, &settings, &task.start(), STEPS)
                };
                let set = sets(0.06, prox, &format!("gausge({MU}, directions={q})"));
                let found = models(&run("zo-proxsgd", &set.each_ref().map(String::as_str), &task));
                let controls = [
                    oracle(1.2 * MU, &penalty, 0),
                    oracle(MU, &weaker, 0),
                    oracle(MU, &Prox::None, 0),
                    oracle(MU, &penalty, 1),
                ];
                compare(&format!("zo-proxsgd, {world}, {prox}"), &found, &oracle(MU, &penalty, 0), &controls);
            }
        }
    }
}

#[test]
fn proximal_descent_by_central_differences() {
    let batches = batches();
    let [(_, task), _] = problems();
    let value = |i: usize, x: &[f64]| task.mean(&batches[i / CLIENTS][i % CLIENTS], x);
    let rate = cosine(0.4, 0, STEPS);
    let oracle = |mu: f64, prox: Prox| {
        let sum = Sum { n: STEPS as usize * CLIENTS, d: D, f: &value };
        let settings = zo_proxsgd::Settings {
            rate: &rate,
            estimator: Estimator::Coordinate(mu),
            prox,
            draw: &|t| (0..CLIENTS).map(|l| t as usize * CLIENTS + l).collect(),
            direction: &|_, _| vec![],
        };
        zo_proxsgd::trajectory(&sum, &settings, &task.start(), STEPS)
    };
    let set = sets(0.4, "l1(0.02)", "coosge(0.3)");
    let found = models(&run("zo-proxsgd", &set.each_ref().map(String::as_str), &task));
    let controls = [oracle(0.25, Prox::L1(0.02)), oracle(0.3, Prox::None)];
    compare("zo-proxsgd, coosge", &found, &oracle(0.3, Prox::L1(0.02)), &controls);
}

/// Which directions variance reduction looks along.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// The library's.
    Shared,
    /// Others at x than at the snapshot.
    Fresh,
    /// The same for ever.
    Frozen,
}

/// The reference of svrg with a snapshot every `inner` steps.
fn svrg(task: &Black, rate: f64, estimator: Estimator, prox: &Prox, (inner, look): (u64, Look)) -> Vec<Vec<f64>> {
    let settings = zo_proxsvrg::Settings {
        rate: &cosine(rate, 0, STEPS),
        inner,
        estimator,
        prox: prox.clone(),
        draw: &|s, t| drawn(s * inner + t, 0),
        direction: &|s, i, at| {
            let epoch = if look == Look::Frozen { 0 } else { s * inner };
            let other = if look == Look::Fresh && matches!(at, At::Here(_)) { 1000 } else { 0 };
            along(own(i / EACH, epoch + other, Some(i % EACH)).part(0))
        },
    };
    zo_proxsvrg::trajectory(&Sum { n: CLIENTS * EACH, d: D, f: &*task.of }, &settings, &task.start(), STEPS / inner)
}

#[test]
fn the_clients_snapshots_are_one_snapshot_of_all_rows() {
    let gauss = |mu| Estimator::Gaussian(mu);
    for (world, task) in problems() {
        for (prox, penalty, weaker) in penalties() {
            let set = sets(0.06, prox, &format!("svrg(of=gausge({MU}), every=5)"));
            let found = models(&run("zo-proxsvrg", &set.each_ref().map(String::as_str), &task));
            let oracle = |mu, prox: &Prox, inner, look| svrg(&task, 0.06, gauss(mu), prox, (inner, look));
            let controls = [
                oracle(MU, &penalty, 5, Look::Fresh),
                oracle(MU, &penalty, 5, Look::Frozen),
                oracle(MU, &penalty, 6, Look::Shared),
                oracle(1.2 * MU, &penalty, 5, Look::Shared),
                oracle(MU, &weaker, 5, Look::Shared),
                oracle(MU, &Prox::None, 5, Look::Shared),
            ];
            let expected = oracle(MU, &penalty, 5, Look::Shared);
            compare(&format!("zo-proxsvrg, {world}, {prox}"), &found, &expected, &controls);
        }
    }
    let [(_, task), _] = problems();
    let set = sets(0.4, "l1(0.02)", "svrg(of=coosge(0.3), every=4)");
    let found = models(&run("zo-proxsvrg", &set.each_ref().map(String::as_str), &task));
    let oracle = |mu, inner| svrg(&task, 0.4, Estimator::Coordinate(mu), &Prox::L1(0.02), (inner, Look::Shared));
    compare("zo-proxsvrg, coosge", &found, &oracle(0.3, 4), &[oracle(0.25, 4), oracle(0.3, 5)]);
}

/// The reference of saga; `again` is the choice of rows that are looked at again.
fn saga(task: &Black, rate: f64, estimator: Estimator, prox: &Prox, (again, look): (u64, Look)) -> Vec<Vec<f64>> {
    let settings = zo_proxsaga::Settings {
        rate: &cosine(rate, 0, STEPS),
        estimator,
        prox: prox.clone(),
        draw: &|t| drawn(t, 0),
        redraw: &|t| drawn(t, again),
        direction: &|t, i| along(own(i / EACH, if look == Look::Frozen { 0 } else { t }, Some(i % EACH)).part(0)),
    };
    zo_proxsaga::trajectory(&Sum { n: CLIENTS * EACH, d: D, f: &*task.of }, &settings, &task.start(), STEPS)
}

#[test]
fn the_clients_tables_are_one_table_of_all_rows() {
    let gauss = |mu| Estimator::Gaussian(mu);
    for (world, task) in problems() {
        for (prox, penalty, weaker) in penalties() {
            let set = sets(0.06, prox, &format!("saga(of=gausge({MU}))"));
            let found = models(&run("zo-proxsaga", &set.each_ref().map(String::as_str), &task));
            let oracle = |mu, prox: &Prox, again, look| saga(&task, 0.06, gauss(mu), prox, (again, look));
            let controls = [
                oracle(MU, &penalty, 0, Look::Shared),
                oracle(MU, &penalty, 1, Look::Frozen),
                oracle(1.2 * MU, &penalty, 1, Look::Shared),
                oracle(MU, &weaker, 1, Look::Shared),
                oracle(MU, &Prox::None, 1, Look::Shared),
            ];
            let expected = oracle(MU, &penalty, 1, Look::Shared);
            compare(&format!("zo-proxsaga, {world}, {prox}"), &found, &expected, &controls);
        }
    }
    let [(_, task), _] = problems();
    let set = sets(0.4, "l1(0.02)", "saga(of=coosge(0.3))");
    let found = models(&run("zo-proxsaga", &set.each_ref().map(String::as_str), &task));
    let oracle = |mu, again| saga(&task, 0.4, Estimator::Coordinate(mu), &Prox::L1(0.02), (again, Look::Shared));
    compare("zo-proxsaga, coosge", &found, &oracle(0.3, 1), &[oracle(0.25, 1), oracle(0.3, 0)]);
}

#[test]
fn numbers_along_directions_that_everybody_knows() {
    let batches = batches();
    for (world, task) in problems() {
        for q in [1, 2] {
            let value = |k: usize, t: u64, x: &[f64]| task.mean(&batches[t as usize][k], x);
            let rate = cosine(0.06, 0, STEPS);
            let settings =
                |mu, directions, difference, of: &'static dyn Fn(u64, usize) -> Vec<f64>| zo_seeded::Settings {
                    rate: &rate,
                    workers: CLIENTS,
                    directions,
                    mu,
                    difference,
                    f: &value,
                    direction: of,
                };
            let shared = &|t: u64, j: usize| along(Stream::new(SEED, Use::Shared, 0, t).part(j as u64));
            let later = &|t: u64, j: usize| along(Stream::new(SEED, Use::Shared, 0, t + 1).part(j as u64));
            let right = settings(MU, q, Difference::Forward, shared);
            let oracle = |settings: &zo_seeded::Settings| zo_seeded::trajectory(settings, &task.start(), STEPS);
            let set = [
                "optim=sgd(rate=0.06, momentum=0, schedule=cosine)".into(),
                format!("local=descent(batch={B}, estimate=gausge(mu={MU}, directions={q}, shared=true))"),
                format!("compress=span({q})"),
            ];
            let ranks = run("zo-seeded", &set.each_ref().map(String::as_str), &task);
            let found = models(&ranks);
            let controls = [
                oracle(&settings(MU, q, Difference::Central, shared)),
                oracle(&settings(1.2 * MU, q, Difference::Forward, shared)),
                oracle(&settings(MU, 3 - q, Difference::Forward, shared)),
                oracle(&settings(MU, q, Difference::Forward, later)),
            ];
            compare(&format!("zo-seeded, {world}, {q}"), &found, &oracle(&right), &controls);
            // What each says is its numbers along the directions, and not another's.
            for (t, x) in found[..found.len() - 1].iter().enumerate() {
                let word = |k: usize| {
                    let mut word = vec![0.0; D];
                    for (j, s) in zo_seeded::numbers(&right, k, t as u64, x).into_iter().enumerate() {
                        let u = shared(t as u64, j);
                        (0..D).for_each(|l| word[l] += s * u[l] / q as f64);
                    }
                    word
                };
                for (k, rank) in ranks.iter().enumerate() {
                    let said = wide(&rank.rounds[t].said);
                    assert!(gap(&said, &word(k)) < super::ROUNDING, "{world}, step {t}, worker {k}");
                }
                assert!(farthest(&[word(0)], &[word(1)]) > 1e-4, "{world}, step {t}: all say the same");
            }
        }
    }
}
