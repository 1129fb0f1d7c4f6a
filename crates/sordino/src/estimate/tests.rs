use std::sync::Arc;

use super::*;
use crate::base::{Error, Layout, Role, Stream, Tensor, Use, flat};
use crate::workload::{Batch, Deal, Draw, Logistic, Metrics, Part, SparseRows, Split, Start, Task};

/// Rows that each want x to be somewhere: f(x) = mean ½ s|x − a|², with s = 1 + the batch's mean of a₀² where the model
/// normalises. A normalised model has a buffer, which follows the batch's mean of a₀.
#[derive(Clone)]
struct Wishes {
    /// Rows by their number; a row that was taken away leaves the others their numbers.
    rows: Vec<(u64, Vec<f32>)>,
    /// How many there were: what a Poisson batch's chance is a fraction of.
    total: usize,
    layout: Layout,
}

impl Wishes {
    fn new(rows: &[Vec<f32>], normalised: bool) -> Self {
        let dim = rows[0].len();
        let buffer = Tensor::new("mean", &[1], Role::Buffer);
        let tensors = [Tensor::new("a", &[dim / 2], Role::Weight), Tensor::new("b", &[dim - dim / 2], Role::Bias)];
        let layout = Layout::new(tensors.into_iter().chain(normalised.then_some(buffer)));
        Self { rows: (0..).zip(rows.iter().cloned()).collect(), total: rows.len(), layout }
    }

    fn without(&self, row: usize) -> Self {
        let mut fewer = self.clone();
        fewer.rows.remove(row);
        fewer
    }

    fn pick(&self, draw: &Draw) -> Vec<&[f32]> {
        let n = self.rows.len();
        let chance = |most: usize, row: u64| {
            let mut s = Stream::new(draw.seed, Use::Inclusion, draw.client, draw.step).part(row);
            s.uniform64() < most as f64 / self.total as f64
        };
        let picked: Vec<usize> = match draw.batch {
            Batch::Full => (0..n).collect(),
            Batch::Row(row) => vec![row],
            Batch::Rows(b) => (0..b).map(|i| (draw.step as usize * b + i) % n).collect(),
            Batch::Poisson(b) => (0..n).filter(|i| chance(b, self.rows[*i].0)).collect(),
        };
        picked.into_iter().map(|i| &self.rows[i].1[..]).collect()
    }
}

fn gradient_of(rows: &[&[f32]], x: &[f32], buffers: &mut [f32], gradient: &mut [f32]) -> f64 {
    gradient.fill(0.0);
    let n = rows.len().max(1) as f32;
    let mean = |f: &dyn Fn(f32) -> f32| rows.iter().map(|a| f(a[0])).sum::<f32>() / n;
    let mut slope = 1.0;
    if let [b] = buffers {
        *b = 0.9 * *b + 0.1 * mean(&|a| a);
        slope += mean(&|a| a * a);
    }
    let mut loss = 0.0;
    for a in rows {
        loss += 0.5 * f64::from(slope) * flat::distance(x, a).powi(2) / f64::from(n);
        for ((g, x), a) in gradient.iter_mut().zip(x).zip(*a) {
            *g += slope * (x - a) / n;
        }
    }
    loss
}

impl Workload for Wishes {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: vec![0.0; self.layout.len()], buffers: vec![0.5; self.layout.buffer_len()] }
    }

    fn rows(&self, _: u64) -> usize {
        self.total
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        Ok(gradient_of(&self.pick(draw), x, buffers, gradient))
    }

    fn parts(
        &mut self,
        x: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        for part in self.pick(draw).chunks(most) {
            let loss = gradient_of(part, x, buffers, gradient);
            each(gradient, part.len(), loss)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
        Ok(None)
    }
}

fn normals(rows: usize, dim: usize) -> Vec<Vec<f32>> {
    let mut s = Stream::new(3, Use::Problem, 0, 0);
    (0..rows).map(|_| (0..dim).map(|_| s.normal()).collect()).collect()
}

fn logistic(rows: usize, features: usize) -> Box<dyn Workload> {
    let values: Vec<f32> = normals(rows, features).concat();
    let train = SparseRows {
        offsets: (0..=rows).map(|r| r * features).collect(),
        columns: (0..rows * features).map(|i| (i % features) as u32).collect(),
        labels: values.chunks(features).map(|a| if a[0] + a[1] > 0.3 { 1.0 } else { -1.0 }).collect(),
        values,
    };
    let (l2, nonconvex, data) = (0.05, 0.02, 0);
    let task = Logistic {
        name: "l".into(),
        train: Arc::new(train),
        test: None,
        features,
        deal: Deal::Iid,
        l2,
        nonconvex,
        data,
    };
    task.workload(1, 0).unwrap()
}

fn wrapped(text: &str, workload: Box<dyn Workload>) -> Box<dyn Workload> {
    build(&Element::parse(text).unwrap()).unwrap().wrap(workload)
}

fn draw(step: u64, batch: Batch) -> Draw {
    Draw { seed: 1, client: 0, step, batch }
}

/// Loss, gradient, and buffers afterwards.
fn look(of: &mut dyn Workload, x: &[f32], draw: &Draw) -> (f64, Vec<f32>, Vec<f32>) {
    let (mut buffers, mut gradient) = (of.start(0).buffers, vec![f32::NAN; x.len()]);
    let loss = of.gradient(x, &mut buffers, draw, &mut gradient).unwrap();
    (loss, gradient, buffers)
}

fn near(a: &[f32], b: &[f32]) -> bool {
    flat::distance(a, b) <= 1e-6 * (1.0 + flat::norm(a))
}

/// The mean over micro-batches of each tensor's norm, weighted by rows, in plain loops.
fn naive_norms(of: &mut dyn Workload, x: &[f32], draw: &Draw, most: usize) -> Vec<f64> {
    let layout = of.layout().clone();
    let (mut norms, mut rows) = (vec![0.0; layout.ranges().len()], 0.0);
    let mut buffers = of.start(0).buffers;
    of.parts(x, &mut buffers, draw, most, &mut vec![0.0; x.len()], &mut |g, n, _| {
        for (norm, range) in norms.iter_mut().zip(layout.ranges()) {
            let squares: f64 = g[range.clone()].iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
            *norm += n as f64 * squares.sqrt();
        }
        rows += n as f64;
        Ok(())
    })
    .unwrap();
    norms.iter().map(|norm| norm / f64::max(rows, 1.0)).collect()
}

fn norms(of: &dyn Workload) -> &[f32] {
    assert_eq!(of.asides().len(), 1);
    assert_eq!(of.asides()[0].name, MICRO_NORMS);
    &of.asides()[0].values
}

#[test]
fn the_neutral_estimate_is_the_workload_itself() {
    let bare: Box<dyn Workload> = Box::new(Wishes::new(&normals(9, 6), true));
    let address = std::ptr::from_ref(&*bare).cast::<()>();
    let plain = wrapped("plain", bare);
    assert_eq!(std::ptr::from_ref(&*plain).cast::<()>(), address);
    assert!(plain.asides().is_empty());
}

#[test]
fn without_buffers_micro_batches_make_the_plain_gradient_and_tell_their_norms() {
    let make: [&dyn Fn() -> Box<dyn Workload>; 2] =
        [&|| logistic(40, 6), &|| Box::new(Wishes::new(&normals(40, 6), false))];
    for (make, tensors) in make.into_iter().zip([1, 2]) {
        let (mut bare, mut told) = (make(), wrapped("micro_norms(rows=3)", make()));
        assert_eq!(norms(&*told), vec![0.0; tensors], "before the first gradient");
        let x = normals(1, 6).concat();
        // Ten rows are four micro-batches, the last of one row.
        for batch in [Batch::Rows(10), Batch::Rows(12), Batch::Full, Batch::Poisson(8)] {
            for step in 0..3 {
                let draw = draw(step, batch);
                let ((loss, plain, _), (found, mean, _)) = (look(&mut *bare, &x, &draw), look(&mut *told, &x, &draw));
                assert!(near(&mean, &plain) && (loss - found).abs() < 1e-6 * loss, "{batch:?}");
                for (norm, naive) in norms(&*told).iter().zip(naive_norms(&mut *bare, &x, &draw, 3)) {
                    assert!((f64::from(*norm) - naive).abs() <= 1e-6 * naive, "{batch:?}: {norm} {naive}");
                }
            }
        }
        // Control: other micro-batches have other norms.
        let here = draw(0, Batch::Rows(10));
        look(&mut *told, &x, &here);
        assert!((f64::from(norms(&*told)[0]) - naive_norms(&mut *bare, &x, &here, 1)[0]).abs() > 1e-3);
    }
}

#[test]
fn the_mean_is_no_longer_than_the_mean_norm() {
    let (mut one, mut three) = (wrapped("micro_norms(rows=1)", logistic(50, 8)), logistic(50, 8));
    three = wrapped("micro_norms(rows=3)", three);
    let x = normals(1, 8).concat();
    for step in 0..20 {
        for batch in [Batch::Rows(7), Batch::Full, Batch::Poisson(5)] {
            for of in [&mut one, &mut three] {
                let (_, mean, _) = look(&mut **of, &x, &draw(step, batch));
                let (mean, norm) = (flat::norm(&mean), f64::from(norms(&**of)[0]));
                assert!(mean <= norm * (1.0 + 1e-6), "ρ = {mean}/{norm} at {batch:?}");
            }
        }
    }
    // Control: a mean that does not count rows breaks it. Gradients 1, 1 and 0 in micro-batches of two.
    let mut of =
        wrapped("micro_norms(rows=2)", Box::new(Wishes::new(&[[-1.0; 2], [-1.0; 2], [0.0; 2]].map(Vec::from), false)));
    let (_, mean, _) = look(&mut *of, &[0.0, 0.0], &draw(0, Batch::Full));
    assert!(mean[0] > 0.5 && norms(&*of) == mean, "{mean:?}");
    // A batch of one row, or rows that agree: ρ = 1.
    let mut same = wrapped("micro_norms(rows=1)", Box::new(Wishes::new(&vec![vec![2.0; 4]; 5], false)));
    let (_, mean, _) = look(&mut *same, &[0.0; 4], &draw(0, Batch::Full));
    assert!((flat::norm(&mean[..2]) - f64::from(norms(&*same)[0])).abs() < 1e-6);
}

#[test]
fn with_buffers_the_gradient_is_the_plain_one_bit_for_bit_and_moves_them_once() {
    let wishes = Wishes::new(&normals(23, 6), true);
    let (mut bare, mut told) = (wishes.clone(), wrapped("micro_norms(rows=4)", Box::new(wishes.clone())));
    let x = normals(1, 6).concat();
    for (step, batch) in [(0, Batch::Rows(10)), (1, Batch::Rows(10)), (2, Batch::Full), (3, Batch::Poisson(6))] {
        let draw = draw(step, batch);
        let plain = look(&mut bare, &x, &draw);
        assert_eq!(look(&mut *told, &x, &draw), plain);
        for (norm, naive) in norms(&*told).iter().zip(naive_norms(&mut bare, &x, &draw, 4)) {
            assert!((f64::from(*norm) - naive).abs() <= 1e-6 * naive);
        }
    }
    // Control: micro-batches of a normalised model do not make its gradient, and they move its buffers more often.
    let (mut sum, mut buffers) = (vec![0.0; 6], bare.start(0).buffers);
    let (_, plain, clean) = look(&mut bare, &x, &draw(0, Batch::Rows(8)));
    let add = &mut |g: &[f32], _: usize, _: f64| {
        flat::add_scaled(&mut sum, 0.5, g);
        Ok(())
    };
    bare.parts(&x, &mut buffers, &draw(0, Batch::Rows(8)), 4, &mut [0.0; 6], add).unwrap();
    assert!(!near(&sum, &plain));
    assert_ne!(buffers, clean);
}

#[test]
fn a_draw_without_rows_has_no_gradient_no_loss_and_no_norms() {
    for normalised in [false, true] {
        let wishes = Wishes::new(&normals(9, 4), normalised);
        let none = (0..1000).map(|step| draw(step, Batch::Poisson(1))).find(|d| wishes.pick(d).is_empty()).unwrap();
        for text in ["micro_norms", "per_sample(0.5, perturb=1)"] {
            let mut of = wrapped(text, Box::new(wishes.clone()));
            look(&mut *of, &[1.0; 4], &draw(0, Batch::Full));
            let (loss, gradient, _) = look(&mut *of, &[1.0; 4], &none);
            assert_eq!((loss, gradient), (0.0, vec![0.0; 4]), "{text}");
            assert!(of.asides().iter().all(|aside| aside.values == [0.0; 2]));
        }
    }
}

#[test]
fn a_clip_that_nothing_reaches_leaves_the_plain_mean() {
    let x = normals(1, 6).concat();
    for batch in [Batch::Rows(10), Batch::Full] {
        let (mut bare, mut far) = (logistic(40, 6), wrapped("per_sample(1e9)", logistic(40, 6)));
        let ((loss, plain, _), (found, mean, _)) =
            (look(&mut *bare, &x, &draw(2, batch)), look(&mut *far, &x, &draw(2, batch)));
        assert!(near(&plain, &mean) && (loss - found).abs() < 1e-6 * loss);
        assert_eq!(far.clipped_rows(), 0);
        let mut close = wrapped("per_sample(0.05)", logistic(40, 6));
        assert!(!near(&plain, &look(&mut *close, &x, &draw(2, batch)).1));
        let rows = if batch == Batch::Full { 40 } else { 10 };
        assert_eq!((close.clipped_rows(), close.clipped_rows()), (rows, 0));
    }
}

#[test]
fn a_poisson_batch_is_divided_by_what_was_expected_of_it() {
    let wishes = Wishes::new(&normals(30, 4), false);
    let (mut bare, mut of) = (wishes.clone(), wrapped("per_sample(1e9)", Box::new(wishes.clone())));
    let mut sizes = Vec::new();
    for step in 0..20 {
        let draw = draw(step, Batch::Poisson(10));
        let (rows, (_, mut plain, _)) = (wishes.pick(&draw).len(), look(&mut bare, &[0.5; 4], &draw));
        flat::scale(&mut plain, rows as f32 / 10.0);
        assert!(near(&plain, &look(&mut *of, &[0.5; 4], &draw).1), "{rows} rows");
        sizes.push(rows);
    }
    assert!(sizes.iter().any(|rows| *rows != 10));
    // More than there are: all of them are expected.
    let all = look(&mut *of, &[0.5; 4], &draw(0, Batch::Poisson(100))).1;
    assert!(near(&all, &look(&mut bare, &[0.5; 4], &draw(0, Batch::Full)).1));
}

#[test]
fn one_row_moves_the_result_by_no_more_than_clip_over_batch() {
    let mut rows = normals(25, 6);
    rows[7] = vec![100.0; 6];
    let all = Wishes::new(&rows, false);
    let bound = 0.7 / 8.0;
    let moved = |text: &str, row: usize| {
        let end = |of: &Wishes, step| {
            look(&mut *wrapped(text, Box::new(of.clone())), &[0.3; 6], &draw(step, Batch::Poisson(8))).1
        };
        (0..12).map(|step| flat::distance(&end(&all, step), &end(&all.without(row), step))).fold(0.0, f64::max)
    };
    let far: Vec<f64> = (0..25).map(|row| moved("per_sample(0.7)", row)).collect();
    assert!(far.iter().all(|far| *far <= bound * (1.0 + 1e-5)), "{far:?}");
    assert!(far[7] > bound * (1.0 - 1e-5), "the outlier takes all it may: {}", far[7]);
    // A perturbation changes nothing about it while the places of the other rows stay; else the noise must be secret.
    let far = |row| moved("per_sample(0.7, perturb=2)", row);
    assert!(far(24) <= bound * (1.0 + 1e-5) && far(7) > 1.5 * bound, "{} {}", far(24), far(7));
    // Control: without clipping the outlier moves the mean further.
    assert!(moved("plain", 7) > 10.0 * bound);
}

#[test]
fn buffers_stay_and_nothing_else_comes_out() {
    let wishes = Wishes::new(&normals(12, 4), true);
    let mut of = wrapped("per_sample(0.5)", Box::new(wishes.clone()));
    assert_eq!(look(&mut *of, &[1.0; 4], &draw(0, Batch::Rows(5))).2, wishes.start(0).buffers);
    assert!(of.asides().is_empty());
    let parts = of.parts(&[1.0; 4], &mut [0.5], &draw(0, Batch::Full), 1, &mut [0.0; 4], &mut |_, _, _| Ok(()));
    assert!(parts.unwrap_err().to_string().contains("of no part of it"));
}

/// Tells all rows as one part, whatever was asked for.
struct Whole(Wishes);

impl Workload for Whole {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.0.start(seed)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        self.0.gradient(x, buffers, draw, gradient)
    }

    fn parts(
        &mut self,
        x: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        _: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        self.0.parts(x, buffers, draw, 1000, gradient, each)
    }

    fn evaluate(&mut self, _: &[f32], _: &[f32], _: Split) -> Result<Option<Metrics>> {
        Err(Error::request("nobody evaluates it"))
    }
}

#[test]
fn a_workload_that_tells_several_rows_at_once_is_not_clipped_as_if_they_were_one() {
    let mut of = wrapped("per_sample", Box::new(Whole(Wishes::new(&normals(12, 4), false))));
    let refusal = of.gradient(&[0.0; 4], &mut [], &draw(0, Batch::Full), &mut [0.0; 4]).unwrap_err().to_string();
    assert!(refusal.contains("that of 12 rows came") && refusal.contains("local.estimate=plain"), "{refusal}");
}

/// What `per_sample` makes of f(x) = mean ½(x − a)², meant over so many steps.
fn clipped_mean(text: &str, a: &[f32], x: f32, steps: u64) -> f64 {
    let rows: Vec<Vec<f32>> = a.iter().map(|a| vec![*a]).collect();
    let mut of = wrapped(text, Box::new(Wishes::new(&rows, false)));
    (0..steps).map(|step| f64::from(look(&mut *of, &[x], &draw(step, Batch::Full)).1[0])).sum::<f64>() / steps as f64
}

/// E[clip(y, 1)] for y ~ N(m, k²) = ∫ from −1 to 1 of P(y > t) dt, less 1, by Simpson's rule.
fn expected_clip(m: f64, k: f64) -> f64 {
    let above = |t: f64| 0.5 * libm::erfc((t - m) / (k * std::f64::consts::SQRT_2));
    let (n, mut sum) = (2000, above(-1.0) + above(1.0));
    for i in 1..n {
        sum += above(-1.0 + 2.0 * f64::from(i) / f64::from(n)) * if i % 2 == 1 { 4.0 } else { 2.0 };
    }
    sum * 2.0 / (3.0 * f64::from(n)) - 1.0
}

#[test]
fn clipping_bends_a_lopsided_mean() {
    let a = [-3.0, -3.0, 9.0];
    assert!((clipped_mean("per_sample(1)", &a, 1.0, 1) - 1.0 / 3.0).abs() < 1e-7, "pushed away from the minimum");
    assert_eq!(clipped_mean("per_sample(1)", &a, -2.5, 1), 0.0, "at rest");
    assert_eq!(clipped_mean("per_sample(100)", &a, -2.5, 1), -3.5, "where the gradient is this");
    assert_eq!(clipped_mean("per_sample(100)", &a, 1.0, 1), 0.0);
    for x in [-2.0, -1.0, 0.0, 0.5, 2.0] {
        assert_eq!(clipped_mean("per_sample(1)", &[-3.0, 3.0], x, 1), 0.0, "flat");
    }
    assert_eq!(clipped_mean("per_sample(1)", &[-3.0, 3.0], 2.5, 1), 0.25);
}

#[test]
fn a_perturbation_of_the_spread_of_the_rows_straightens_it() {
    let a = [-3.0f32, -3.0, 9.0];
    let theory = |x: f32, k: f64| a.iter().map(|a| expected_clip(f64::from(x - a), k)).sum::<f64>() / 3.0;
    // What was computed apart, at the minimum and at x = 3.
    for (k, minimum, three) in [(1.0, 0.333, 0.33), (5.0, 0.086, 0.26), (20.0, 0.002, 0.08)] {
        assert!((theory(1.0, k) - minimum).abs() < 1e-3, "{k}: {}", theory(1.0, k));
        assert!((theory(3.0, k) - three).abs() < 6e-3, "{k}: {}", theory(3.0, k));
    }
    // Three clipped numbers in [−1, 1] a step: the mean over T steps has deviation at most 1/√(3T). Five of these.
    let steps = 5_000u32;
    let bound = 5.0 / f64::from(3 * steps).sqrt();
    for (k, x) in [(1.0, 1.0), (5.0, 1.0), (20.0, 1.0), (5.0, 3.0)] {
        let found = clipped_mean(&format!("per_sample(1, perturb={k})"), &a, x, u64::from(steps));
        assert!((found - theory(x, k)).abs() < bound, "k = {k} at {x}: {found} and {}", theory(x, k));
    }
    // Control: noise on the mean instead of on each row leaves the bend as it is.
    assert!(theory(1.0, 1e-3) > 0.086 + bound);
}

#[test]
fn perturbations_are_keyed_and_pass_the_clip() {
    let wishes = Wishes::new(&normals(12, 4), false);
    let at = |text: &str, seed, client, step| {
        let draw = Draw { seed, client, step, batch: Batch::Full };
        look(&mut *wrapped(text, Box::new(wishes.clone())), &[0.5; 4], &draw).1
    };
    let here = at("per_sample(9, perturb=1)", 1, 0, 0);
    assert_eq!(here, at("per_sample(9, perturb=1)", 1, 0, 0));
    for there in [(2, 0, 0), (1, 1, 0), (1, 0, 1)] {
        assert!(!near(&here, &at("per_sample(9, perturb=1)", there.0, there.1, there.2)), "{there:?}");
    }
    assert!(flat::norm(&at("per_sample(0.1, perturb=50)", 1, 0, 0)) <= 0.1 * (1.0 + 1e-6));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, hint) in [
        ("per_sample(0)", "above 0"),
        ("per_sample(1, perturb=-1)", "at least 0"),
        ("micro_norms(0)", "at least 1"),
        ("micro_norm", "did you mean `micro_norms`"),
    ] {
        let refusal = Element::parse(text).and_then(|e| build(&e)).err().unwrap().to_string();
        assert!(refusal.contains(hint), "{text}: {refusal}");
    }
}
