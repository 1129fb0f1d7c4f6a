//! Zeroth order: estimates from losses alone, variance reduction over rows, proximal steps, shared directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sordino::Result;
use sordino::base::{Error, Layout, Purpose, Stream, Use, flat};
use sordino::estimate;
use sordino::grammar::Element;
use sordino::optim::Prox;
use sordino::workload::{Batch, Draw, Metrics, Rows, Split, Start, Task, Workload};

use super::{mixed, near, run};
use crate::oracle::vectors::norm;
use crate::worlds::{apart, narrow, quadratic, wide};

/// Loss and gradient of one row.
type Of = dyn Fn(usize, &[f64]) -> (f64, Vec<f64>) + Send + Sync;

/// A finite sum: rows given by a formula in f64.
#[derive(Clone)]
struct Sum {
    rows: usize,
    start: Vec<f64>,
    of: Arc<Of>,
    /// Whether losses alone are known.
    black: bool,
    /// Losses of rows that were asked for.
    asked: Arc<AtomicU64>,
}

impl Sum {
    fn new(
        rows: usize,
        start: Vec<f64>,
        of: impl Fn(usize, &[f64]) -> (f64, Vec<f64>) + Send + Sync + 'static,
    ) -> Self {
        Self { rows, start, of: Arc::new(of), black: false, asked: Arc::default() }
    }

    fn mean(&self, rows: impl ExactSizeIterator<Item = usize>, x: &[f32]) -> (f64, Vec<f64>) {
        let (n, x) = (rows.len().max(1) as f64, wide(x));
        let (mut loss, mut slope) = (0.0, vec![0.0; x.len()]);
        for row in rows {
            let (l, g) = (self.of)(row, &x);
            loss += l / n;
            slope.iter_mut().zip(g).for_each(|(s, g)| *s += g / n);
        }
        (loss, slope)
    }

    fn all(&self, x: &[f32]) -> (f64, Vec<f64>) {
        self.mean(0..self.rows, x)
    }

    /// ‖g_η‖ at `x`, with the true gradient.
    fn mapping(&self, prox: &Prox, eta: f64, x: &[f32]) -> f64 {
        flat::norm(&prox.mapping(&Layout::vector(x.len()), eta, x, &narrow(&self.all(x).1)))
    }
}

impl Task for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn workload(&self, clients: usize, _: u64) -> Result<Box<dyn Workload>> {
        let (rows, layout) = (Rows::dealt(self.rows, clients), Layout::vector(self.start.len()));
        Ok(Box::new(Share { of: self.clone(), rows, layout }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

struct Share {
    of: Sum,
    rows: Rows,
    layout: Layout,
}

impl Workload for Share {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: narrow(&self.of.start), buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.len(client)
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        if self.of.black {
            return Err(Error::request("losses alone are known"));
        }
        let (loss, slope) = self.of.mean(self.rows.pick(draw)?.iter().map(|row| *row as usize), x);
        gradient.copy_from_slice(&narrow(&slope));
        Ok(loss)
    }

    fn loss(&mut self, x: &[f32], _: &[f32], draw: &Draw) -> Result<f64> {
        let rows = self.rows.pick(draw)?;
        self.of.asked.fetch_add(rows.len() as u64, Ordering::Relaxed);
        Ok(self.of.mean(rows.iter().map(|row| *row as usize), x).0)
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let loss = self.of.all(x).0;
        Ok((split == Split::Train).then_some(Metrics { loss, accuracy: None, examples: self.of.rows }))
    }
}

fn normals(what: u64, n: usize) -> Vec<f64> {
    let mut s = Stream::new(21, Use::Problem, what, 0);
    (0..n).map(|_| f64::from(s.normal())).collect()
}

/// Rows ½ Σⱼ hⱼ(xⱼ − cᵢⱼ)² with hⱼ = (j + 1)/d: L = 1, and a minimiser with an l1 norm in closed form.
fn bowls(rows: usize, d: usize) -> Sum {
    let centres = normals(d as u64, rows * d);
    Sum::new(rows, vec![2.0; d], move |i, x| {
        let h = |j: usize| (j + 1) as f64 / d as f64;
        let gap: Vec<f64> = x.iter().zip(&centres[i * d..]).map(|(x, c)| x - c).collect();
        let loss = gap.iter().enumerate().map(|(j, g)| 0.5 * h(j) * g * g).sum();
        (loss, gap.iter().enumerate().map(|(j, g)| h(j) * g).collect())
    })
}

/// The toy: n = 200, d = 10, losses 1/(1 + exp(y⟨a, x⟩)), from 0.5; and its L.
fn sigmoids() -> (Sum, f64) {
    const N: usize = 200;
    const D: usize = 10;
    let (a, plane, noise) = (normals(1, N * D), normals(2, D), normals(3, N));
    let label = |i: usize| {
        let score: f64 = a[i * D..][..D].iter().zip(&plane).map(|(a, p)| a * p).sum();
        if score + noise[i] > 0.0 { 1.0 } else { -1.0 }
    };
    let labels: Vec<f64> = (0..N).map(label).collect();
    let longest = a.chunks(D).map(|a| a.iter().map(|v| v * v).sum::<f64>()).fold(0.0, f64::max);
    let sum = Sum::new(N, vec![0.5; D], move |i, x| {
        let a = &a[i * D..][..D];
        let loss = 1.0 / (1.0 + (labels[i] * a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>()).exp());
        (loss, a.iter().map(|a| -labels[i] * a * loss * (1.0 - loss)).collect())
    });
    (sum, 0.0963 * longest)
}

/// What `text` makes of a task's gradients.
fn estimated(text: &str, task: &dyn Task) -> Box<dyn Workload> {
    estimate::build(&Element::parse(text).unwrap()).unwrap().wrap(task.workload(1, 0).unwrap())
}

fn look(of: &mut dyn Workload, x: &[f32], draw: &Draw) -> Vec<f32> {
    let mut gradient = vec![f32::NAN; x.len()];
    of.gradient(x, &mut [], draw, &mut gradient).unwrap();
    gradient
}

fn draw(step: u64, batch: Batch) -> Draw {
    Draw { seed: 6, client: 0, step, batch }
}

const L1: Prox = Prox::L1 { weight: 0.05, low: f32::NEG_INFINITY, high: f32::INFINITY };

#[test]
fn on_quadratics_central_differences_of_any_width_are_proximal_svrg_and_saga() {
    let task = bowls(27, 6);
    let trajectory = |estimate: &str, task: &Sum| {
        let sets = [
            "optim=sgd(rate=0.3333, momentum=0, schedule=constant, prox=l1(0.05))",
            &format!("local=descent(batch=9, estimate={estimate})"),
            "payload=gradient",
        ];
        mixed(&sets, task, 1, 60).unwrap()[0].models().iter().map(|x| x.to_vec()).collect::<Vec<_>>()
    };
    let far = |a: &[Vec<f32>], b: &[Vec<f32>]| a.iter().zip(b).map(|(a, b)| apart(a, b)).fold(0.0, f64::max);
    let black = Sum { black: true, ..task.clone() };
    for method in ["svrg(of=E, every=3)", "saga(of=E)"] {
        let of = |estimate: &str, task: &Sum| trajectory(&method.replace('E', estimate), task);
        let plain = of("plain", &task);
        for mu in [0.01, 1.0, 20.0] {
            let gap = far(&of(&format!("coosge({mu})"), &black), &plain);
            assert!(gap < 1e-4, "{method}, mu = {mu}: {gap}");
        }
        assert!(far(&of("gausge", &black), &plain) > 0.1, "{method}: a random direction is no gradient");
    }
    // Control: where the third derivative is not zero, the width shows.
    let (curved, _) = sigmoids();
    let gap = far(&trajectory("svrg(of=coosge(1))", &curved), &trajectory("svrg", &curved));
    assert!(gap > 1e-3, "{gap}");
}

#[test]
fn the_bias_of_central_differences_is_bounded_by_their_width() {
    let (task, l) = sigmoids();
    let x = narrow(&task.start);
    let error = |mu: f64| {
        let found = look(&mut *estimated(&format!("coosge({mu})"), &task), &x, &draw(0, Batch::Full));
        norm(&wide(&found).iter().zip(task.all(&x).1).map(|(a, b)| a - b).collect::<Vec<_>>())
    };
    for mu in [0.01, 0.1, 0.5] {
        assert!(error(mu) <= 10f64.sqrt() * l * mu / 2.0 + 1e-6, "mu = {mu}: {}", error(mu));
    }
    assert!(error(0.5) > 50.0 * error(0.01), "the width is to be seen");
}

#[test]
fn proximal_svrg_keeps_the_bound_on_the_mean_squared_mapping() {
    // n = 64: b = 16, m = 4, η = 1/(3L), L = 1; ψ = 0.05‖x‖₁.
    let steps = 120;
    let ratio = |d: usize, rate: f64, of: &str| {
        let task = bowls(64, d);
        let sets = [
            &format!("optim=sgd(rate={rate}, momentum=0, schedule=constant, prox=l1(0.05))"),
            &format!("local=descent(batch=16, estimate=svrg(of={of}, every=4))"),
            "payload=gradient",
        ];
        let ranks = mixed(&sets, &task, 1, steps).unwrap();
        let models = ranks[0].models();
        let value = |x: &[f32]| task.all(x).0 + L1.value(&Layout::vector(d), x);
        // Coordinates are apart: the least of each is the mean of its centres, softly cut by 0.05/hⱼ.
        let pull = task.all(&vec![0.0; d]).1;
        let least: Vec<f64> = pull
            .iter()
            .enumerate()
            .map(|(j, g)| {
                let h = (j + 1) as f64 / d as f64;
                -g.signum() * (g.abs() - 0.05).max(0.0) / h
            })
            .collect();
        let bound = 18.0 * (value(models[0]) - value(&narrow(&least))) / steps as f64;
        let squares = models[..steps as usize].iter().map(|x| task.mapping(&L1, rate, x).powi(2)).sum::<f64>();
        squares / steps as f64 / bound
    };
    for d in [2, 5, 11] {
        for of in ["plain", "coosge(0.1)"] {
            let found = ratio(d, 1.0 / 3.0, of);
            assert!(found <= 1.0, "d = {d}, {of}: {found}");
        }
    }
    // Control: a rate beyond 2/L breaks it.
    assert!(ratio(5, 2.2, "plain") > 1.0);
}

#[test]
fn along_gaussian_directions_the_mean_is_the_gradient_and_the_square_d_plus_two_times_as_long() {
    const D: usize = 8;
    let g = normals(5, D);
    let (steps, square) = (40_000u64, g.iter().map(|g| g * g).sum::<f64>());
    let linear = {
        let g = g.clone();
        Sum::new(1, vec![0.0; D], move |_, x| (x.iter().zip(&g).map(|(x, g)| x * g).sum(), g.clone()))
    };
    let moments = |text: &str, task: &Sum| {
        let (mut of, mut mean, mut length) = (estimated(text, task), vec![0.0; D], 0.0);
        for step in 0..steps {
            let found = look(&mut *of, &narrow(&task.start), &draw(step, Batch::Full));
            mean.iter_mut().zip(&found).for_each(|(m, v)| *m += f64::from(*v) / steps as f64);
            length += flat::squared_norm(&found) / steps as f64;
        }
        (mean, length)
    };
    let (n, d) = (steps as f64, D as f64);
    // E(⟨g, u⟩²‖u‖²)² = (105 + 30(d − 1) + 3((d − 1)² + 2(d − 1)))‖g‖⁴.
    let fourth = 105.0 + 30.0 * (d - 1.0) + 3.0 * ((d - 1.0).powi(2) + 2.0 * (d - 1.0));
    for (text, q) in [("gausge(0.01)", 1.0), ("gausge(0.01, directions=3)", 3.0)] {
        let (mean, length) = moments(text, &linear);
        for (m, g) in mean.iter().zip(&g) {
            assert!((m - g).abs() < 6.0 * ((square + g * g) / q / n).sqrt(), "{text}: {m} and {g}");
        }
        let expected = (1.0 + (d + 1.0) / q) * square;
        let bound = 6.0 * ((fourth - (d + 2.0).powi(2)) / n).sqrt() * square;
        assert!((length - expected).abs() < bound, "{text}: {length} and {expected}, {bound} allowed");
    }
    // On a quadratic the mean is the gradient however wide; on a fourth power it is that of the smoothed one.
    let wide_bowl = Sum::new(1, vec![0.5; D], |_, x| (x.iter().map(|x| 0.5 * x * x).sum(), x.to_vec()));
    let (mean, length) = moments("gausge(0.5)", &wide_bowl);
    let far = |mean: &[f64], to: f64| mean.iter().map(|m| (m - to).abs()).fold(0.0, f64::max);
    assert!(far(&mean, 0.5) < 6.0 * (length / n).sqrt(), "{mean:?}");
    let fourth_power = Sum::new(1, vec![0.5; D], |_, x| {
        (x.iter().map(|x| x.powi(4)).sum(), x.iter().map(|x| 4.0 * x.powi(3)).collect())
    });
    let (mean, length) = moments("gausge(0.3)", &fourth_power);
    // Over all coordinates, which are alike: a mean's variance is at most the mean variance.
    let (middle, spread) = (mean.iter().sum::<f64>() / d, 6.0 * (length / d / n).sqrt());
    let smoothed = 4.0 * 0.125 + 12.0 * 0.09 * 0.5;
    assert!((middle - smoothed).abs() < spread && (middle - 0.5).abs() > 2.0 * spread, "{middle} is not {smoothed}");
}

#[test]
fn rows_that_share_their_directions_cancel_and_fresh_ones_do_not() {
    let (task, _) = sigmoids();
    let x: Vec<f32> = narrow(&task.start);
    let beside: Vec<f32> = x.iter().map(|x| x + 1e-3).collect();
    let mut svrg = estimated("svrg(of=gausge, every=8)", &task);
    let full = look(&mut *svrg, &x, &draw(0, Batch::Rows(34)));
    let few = look(&mut *svrg, &beside, &draw(1, Batch::Rows(34)));
    let shared = flat::distance(&few, &full);
    // The same rows with directions of their own at both points.
    let mut gausge = estimated("gausge", &task);
    let mut rows = |x: &[f32], step: u64| {
        let mut sum = vec![0.0; x.len()];
        for place in 0..34 {
            flat::add_scaled(&mut sum, 1.0 / 34.0, &look(&mut *gausge, x, &draw(step, Batch::Row(place))));
        }
        sum
    };
    let fresh = flat::distance(&rows(&beside, 1), &rows(&x, 0));
    let same = flat::distance(&rows(&beside, 0), &rows(&x, 0));
    assert!(fresh > 20.0 * shared && fresh > 20.0 * same, "{shared} shared, {same} in one step, {fresh} fresh");
}

#[test]
fn variance_reduction_arrives_where_mini_batches_keep_shaking() {
    let (task, l) = sigmoids();
    let prox = Prox::L1 { weight: 0.02, low: f32::NEG_INFINITY, high: f32::INFINITY };
    let eta = 1.0 / (4.0 * l);
    let end = |name: &str, estimate: &str, rate: f64, steps: u64| {
        let sets = [
            &format!("optim=sgd(rate={rate}, momentum=0, schedule=constant, prox=l1(0.02))"),
            &format!("local=descent(batch=34, estimate={estimate})"),
        ];
        let black = Sum { black: true, ..task.clone() };
        let ranks = run(name, &sets.map(|s| &s[..]), &black, 1, steps).unwrap();
        let x = ranks[0].last();
        (task.mapping(&prox, eta, x), task.all(x).0 + prox.value(&Layout::vector(x.len()), x))
    };
    let (svrg, value) = end("zo-proxsvrg", "svrg(of=coosge, every=5)", eta, 3000);
    let (saga, other) = end("zo-proxsaga", "saga(of=coosge)", eta, 3000);
    let (shaking, above) = end("zo-proxsgd", "coosge", eta, 3000);
    assert!(svrg < 2e-3 && saga < 2e-3, "{svrg} {saga}");
    assert!(shaking > 10.0 * svrg.max(saga), "{shaking}, not {svrg} or {saga}");
    assert!(above > value && (value - other).abs() < 1e-4, "{above} {value} {other}");
    // With random directions some variance stays; with the same one for every row for ever another point is found.
    let short = eta / 12.0;
    let (moving, _) = end("zo-proxsaga", "saga(of=gausge)", short, 6000);
    let (frozen, stuck) = end("zo-proxsvrg", "svrg(of=gausge, every=1000000)", short, 6000);
    assert!(frozen > 3.0 * moving && stuck > value + 1e-3, "{frozen} frozen at {stuck}, {moving} else");
}

#[test]
fn an_epoch_asks_for_as_many_losses_as_the_paper_counts() {
    let (n, d, b, m) = (27u64, 6u64, 4u64, 3u64);
    for (of, epoch) in [("coosge", 2 * d * n + 4 * d * b * m), ("gausge", 2 * n + 4 * b * m)] {
        let task = Sum { black: true, ..bowls(n as usize, d as usize) };
        let mut svrg = estimated(&format!("svrg(of={of}, every={m})"), &task);
        for step in 0..2 * m {
            look(&mut *svrg, &[1.0; 6], &draw(step, Batch::Rows(b as usize)));
        }
        assert_eq!(task.asked.swap(0, Ordering::Relaxed), 2 * epoch, "{of}");
        // A row that J draws twice is refreshed once.
        let mut saga = estimated(&format!("saga(of={of})"), &task);
        let look_costs = (epoch - 4 * b * m * if of == "coosge" { d } else { 1 }) / n;
        look(&mut *saga, &[1.0; 6], &draw(0, Batch::Rows(b as usize)));
        let first = task.asked.swap(0, Ordering::Relaxed);
        assert!(first <= look_costs * (n + 2 * b) && first > look_costs * (n + b), "{of}: {first}");
    }
}

#[test]
fn a_table_that_no_memory_holds_is_refused_before_it_is_made() {
    let task = Sum::new(1 << 30, vec![0.0; 2], |_, _| unreachable!("nobody looks at a row"));
    let error = run("zo-proxsaga", &["optim.rate=0.1"], &task, 1, 1).unwrap_err().to_string();
    assert!(error.contains("1024 MiB") && error.contains("use local.estimate=svrg"), "{error}");
}

#[test]
fn a_soft_threshold_makes_zeros_and_a_box_holds() {
    let task = bowls(27, 12);
    let end = |prox: &str| {
        let sets = [
            &format!("optim=sgd(rate=0.3, momentum=0.5, schedule=constant, prox={prox})"),
            "local=descent(batch=9, estimate=coosge)",
        ];
        run("zo-proxsgd", &sets, &task, 3, 200).unwrap()
    };
    let zeros = |prox: &str| end(prox)[0].last().iter().filter(|v| **v == 0.0).count();
    assert!(zeros("l1(0.2)") >= 4 && zeros("l1(0.2)") < 12, "{}", zeros("l1(0.2)"));
    assert_eq!(zeros("none"), 0);
    let boxed = end("l1(0.01, low=-0.05, high=0.1)");
    assert!(boxed[0].rounds.iter().all(|round| round.model.iter().all(|v| (-0.05..=0.1).contains(v))));
    assert!(boxed[0].last().contains(&0.1) && end("none")[0].last().iter().any(|v| *v > 0.1));
}

#[test]
fn with_shared_directions_one_number_travels_and_says_all() {
    let steps = 30;
    let go = |sets: &[&str], dim: usize| {
        let task = sordino::workload::Quadratic { dim, ..quadratic() };
        run("zo-seeded", &[&["optim=sgd(rate=0.004, momentum=0, schedule=constant)"], sets].concat(), &task, 4, steps)
            .unwrap()
    };
    let seeded = go(&[], 96);
    let dense = go(&["compress=dense"], 96);
    for (a, b) in seeded[0].models().iter().zip(dense[0].models()) {
        assert!(apart(a, b) < 1e-5, "{}", apart(a, b));
    }
    for (step, models) in seeded[0].models().windows(2).enumerate() {
        let mut stream = Stream::new(1, Use::Shared, 0, step as u64).part(0);
        let u: Vec<f32> = (0..96).map(|_| stream.normal()).collect();
        let moved: Vec<f32> = models[1].iter().zip(models[0]).map(|(a, b)| a - b).collect();
        near(flat::dot(&moved, &u).abs(), flat::norm(&moved) * flat::norm(&u), 1e-4);
    }
    // Control: directions of their own, or more of them than are said, do not travel whole.
    for sets in
        [&["local=descent(estimate=gausge)"][..], &["local=descent(estimate=gausge(shared=true, directions=2))"]]
    {
        let lossy = go(sets, 96);
        let whole = go(&[sets, &["compress=dense"]].concat(), 96);
        assert!(apart(lossy[0].last(), whole[0].last()) > 1e-2);
    }
    let two = ["local=descent(estimate=gausge(shared=true, directions=2))", "compress=span(2)"];
    let whole = go(&[two[0], "compress=dense"], 96);
    assert!(apart(go(&two, 96)[0].last(), whole[0].last()) < 1e-5);
    // What a step costs on the wire does not depend on how large the model is.
    let bytes = |ranks: &[sordino::testing::Rank]| {
        ranks.iter().map(|rank| rank.ledger.bytes_where(|l| l.purpose == Purpose::Payload)).max().unwrap() / steps
    };
    let (small, large) = (bytes(&seeded), bytes(&go(&[], 960)));
    assert!(small == large && small < 100, "{small} and {large} bytes a step");
    assert!(bytes(&dense) > 5 * small);
}
