//! Variance reduced: SVRG and SAGA, control variates over the rows of a client, on gradients or on estimates of them.
//!
//! # What it does
//! Corrects the mean over a few rows by what the same rows said before, and adds what all rows said before: svrg looks
//! at all rows every m steps, saga keeps what each row said last.
//!
//! # The step
//! ```text
//! svrg   every m steps:  x̃ = x,  G = (1/n) Σᵢ ĝᵢ(x̃)
//!        v = (1/b) Σ_{i ∈ I} (ĝᵢ(x) − ĝᵢ(x̃)) + G
//! saga   at first:  Aᵢ = ĝᵢ(x) for all i
//!        v = (1/b) Σ_{i ∈ I} (ĝᵢ(x) − Aᵢ) + mean A ;   then Aⱼ = ĝⱼ(x) for j ∈ J
//! ĝᵢ is what `of` makes of the client's row i
//! ```
//! # Contract
//! Rows are counted by their place in a full batch of the client, n of them. I and J are b rows each, drawn uniformly
//! and with replacement, `below(n)` of `Stream::new(seed, Use::Inclusion, client, step).part(0)` and `….part(1)`; b is
//! that of the draw (`local.batch`; a Poisson batch counts as its expected number), and a full batch is every row once.
//! Sums run in f64 in the order of the rows drawn. The loss told is the mean over I at x.
//!
//! Whatever is random about ĝᵢ (directions, dropout, noise) is a function of the row and of a step: for svrg the first
//! step of the epoch, a multiple of m, so that both terms and G share their directions, which are drawn anew each
//! epoch; for saga the step at which the row was looked at first, or one more than the step that refreshed it, so that
//! ĝᵢ(x) and Aᵢ share their direction and no row is looked at along one line for ever. `of` may not share directions
//! between rows.
//!
//! What is remembered is x̃ and G, or the table of n·d numbers and the steps of its rows; **it is saved and taken back**
//! with everything else. A table of more than 1 GiB is refused. One client at a time: svrg begins a new epoch if another
//! client comes, saga refuses it. Buffers stay as they came, asides are left out, gradients of parts are refused.
//!
//! An epoch of svrg looks at n + 2bm single rows, 2d losses each with coosge, 2 with gausge: 2dn + 4dbm and 2n + 4bm; a
//! step of saga at 2b, after n at first.
//!
//! # When it helps, when it hurts
//! v tends to ∇f as x and x̃ do, so a constant rate reaches a point where plain mini-batches keep shaking: finite sums of
//! smooth losses, to high accuracy. With gausge some variance stays. Networks with dropout or augmented data are no such
//! sums, and normalisation of single rows makes no sense. Rows are looked at one by one, which costs networks much.
//!
//! # Reference
//! Huang, Gu, Huo, Chen, Huang: Faster gradient-free proximal stochastic methods for nonconvex nonsmooth optimization
//! (1902.06158), with b = ⌊n^(2/3)⌋ and m = ⌊n^(1/3)⌋ from memory of it; Johnson, Zhang: Accelerating stochastic gradient
//! descent using predictive variance reduction (2013); Defazio, Bach, Lacoste-Julien: SAGA (1407.0202).
//!
//! # Deviations from the paper
//! The run goes on from the last iterate; the paper's output is an iterate drawn uniformly from all. Whether saga
//! refreshes I or an independent J was not to be read; it is J here.

use super::{ENTRIES, Estimate, build};
use crate::base::{Error, Former, Layout, Result, State, Stream, Use};
use crate::grammar::{Args, Entry, Key};
use crate::workload::{Batch, Draw, Metrics, Split, Start, Workload, undealt};

const OF: Key = Key { name: "of", default: "plain", about: "what stands for a row's gradient: plain, coosge, gausge" };

/// All rows from time to time.
pub const SVRG: Entry<Estimate> = Entry {
    name: "svrg",
    about: "mini-batches corrected by what the same rows say at a snapshot, where all rows are looked at",
    keys: &[OF, Key { name: "every", default: "10", about: "m: steps between snapshots; n^(1/3) in the paper" }],
    build: |args| {
        let (of, every) = (rows(args)?, args.count("every", 1)?);
        Ok(Estimate::new(move |workload| Box::new(Svrg::new(of.wrap(workload), every))))
    },
};

/// What every row said last.
pub const SAGA: Entry<Estimate> = Entry {
    name: "saga",
    about: "mini-batches corrected by what each of their rows said last: remembers a gradient a row",
    keys: &[OF],
    build: |args| {
        let of = rows(args)?;
        Ok(Estimate::new(move |workload| Box::new(Saga::new(of.wrap(workload)))))
    },
};

/// What rows are estimated by.
fn rows(args: &Args) -> Result<Estimate> {
    let of = args.element("of")?;
    if !["plain", "coosge", "gausge"].contains(&of.name.as_str()) {
        return Err(Error::request(format!("`of` must be plain, coosge or gausge, but `{of}` came")));
    }
    let listing = ENTRIES.iter().map(|entry| entry.listing()).find(|listing| listing.name == of.name);
    if listing.is_some_and(|l| l.resolve(of).and_then(|args| args.flag("shared")).unwrap_or(false)) {
        return Err(Error::request(format!(
            "`of={of}`: rows need directions of their own, or all corrections lie along one line; set shared=false"
        )));
    }
    build(of)
}

/// The most bytes of a table.
const TABLE: usize = 1 << 30;

/// One row at a time of an inner workload, on a copy of the buffers.
struct Single {
    inner: Box<dyn Workload>,
    buffers: Vec<f32>,
    row: Vec<f32>,
    sum: Vec<f64>,
}

impl Single {
    fn new(inner: Box<dyn Workload>) -> Self {
        Self { inner, buffers: Vec::new(), row: Vec::new(), sum: Vec::new() }
    }

    /// The gradient of row `place` goes to `self.row`, everything random about it keyed by `step`; its loss comes back.
    fn look(&mut self, x: &[f32], buffers: &[f32], draw: &Draw, place: usize, step: u64) -> Result<f64> {
        self.row.resize(x.len(), 0.0);
        self.buffers.clear();
        self.buffers.extend_from_slice(buffers);
        let draw = Draw { step, batch: Batch::Row(place), ..*draw };
        self.inner.gradient(x, &mut self.buffers, &draw, &mut self.row)
    }

    fn clear(&mut self, len: usize) {
        self.sum.clear();
        self.sum.resize(len, 0.0);
    }

    fn add(&mut self, sign: f64) {
        add(&mut self.sum, sign, &self.row);
    }
}

fn add(sum: &mut [f64], sign: f64, vector: &[f32]) {
    for (s, v) in sum.iter_mut().zip(vector) {
        *s += sign * f64::from(*v);
    }
}

/// The places of the rows that a draw looks at, out of `n`; `part` tells independent choices apart.
fn places(draw: &Draw, n: usize, part: u64) -> Vec<usize> {
    match (draw.batch, draw.batch.rows()) {
        (Batch::Row(place), _) => vec![place],
        (_, None) => (0..n).collect(),
        (_, Some(b)) => {
            let mut stream = Stream::new(draw.seed, Use::Inclusion, draw.client, draw.step).part(part);
            (0..b.max(1)).map(|_| stream.below(n.max(1) as u64) as usize).collect()
        }
    }
}

/// What svrg remembers.
struct Snapshot {
    /// Seed, client and first step of the epoch.
    key: [u64; 3],
    /// x̃.
    point: Vec<f32>,
    /// G.
    full: Vec<f32>,
}

/// A workload whose mini-batches are corrected by a snapshot.
pub struct Svrg {
    rows: Single,
    every: u64,
    memory: Option<Snapshot>,
}

impl Svrg {
    /// On the rows of `inner`, with a snapshot every so many steps.
    pub fn new(inner: Box<dyn Workload>, every: u64) -> Self {
        Self { rows: Single::new(inner), every: every.max(1), memory: None }
    }
}

impl Workload for Svrg {
    fn layout(&self) -> &Layout {
        self.rows.inner.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.rows.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let (n, rows) = (self.rows(draw.client), &mut self.rows);
        let epoch = draw.step - draw.step % self.every;
        let key = [draw.seed, draw.client, epoch];
        let snapshot = match self.memory.take() {
            Some(snapshot) if snapshot.key == key => snapshot,
            _ => {
                rows.clear(x.len());
                for place in 0..n {
                    rows.look(x, buffers, draw, place, epoch)?;
                    rows.add(1.0);
                }
                let full = rows.sum.iter().map(|s| (s / n.max(1) as f64) as f32).collect();
                Snapshot { key, point: x.to_vec(), full }
            }
        };
        let (places, mut loss) = (places(draw, n, 0), 0.0);
        rows.clear(x.len());
        for place in &places {
            loss += rows.look(x, buffers, draw, *place, epoch)?;
            rows.add(1.0);
            rows.look(&snapshot.point, buffers, draw, *place, epoch)?;
            rows.add(-1.0);
        }
        let b = places.len().max(1) as f64;
        for ((g, s), full) in gradient.iter_mut().zip(&rows.sum).zip(&snapshot.full) {
            *g = (s / b + f64::from(*full)) as f32;
        }
        self.memory = Some(snapshot);
        Ok(loss / b)
    }

    fn loss(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        self.rows.inner.loss(x, buffers, draw)
    }

    fn save(&self, state: &mut State) {
        if let Some(snapshot) = &self.memory {
            state.put_numbers("snapshot", &snapshot.key);
            state.put("point", &snapshot.point);
            state.put("full", &snapshot.full);
        }
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.memory = None;
        if state.numbers.contains_key("snapshot") {
            let zeros = vec![0.0; self.layout().len()];
            let mut snapshot = Snapshot { key: state.take_numbers("snapshot")?, point: zeros.clone(), full: zeros };
            state.take("point", &mut snapshot.point)?;
            state.take("full", &mut snapshot.full)?;
            self.memory = Some(snapshot);
        }
        Ok(())
    }

    fn deal(&self, former: &Former) -> Result<State> {
        undealt(former, "`local.estimate=svrg` remembers a snapshot of every worker's rows")
    }

    fn evaluate_client(&mut self, x: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.rows.inner.evaluate_client(x, buffers, client)
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.rows.inner.evaluate(x, buffers, split)
    }
}

/// What saga remembers.
struct Table {
    /// Seed and client.
    key: [u64; 2],
    /// Row after row, d numbers each.
    said: Vec<f32>,
    /// The step that keys what is random about each row.
    steps: Vec<u64>,
    /// The sum of all rows.
    sum: Vec<f64>,
}

/// A workload whose mini-batches are corrected by what each row said last.
pub struct Saga {
    rows: Single,
    memory: Option<Table>,
}

impl Saga {
    /// On the rows of `inner`.
    pub fn new(inner: Box<dyn Workload>) -> Self {
        Self { rows: Single::new(inner), memory: None }
    }

    /// The table as every row says it at `x`.
    fn first(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<Table> {
        let (n, rows) = (self.rows(draw.client), &mut self.rows);
        if n.saturating_mul(4 * x.len()) > TABLE {
            return Err(Error::request(format!(
                "saga remembers a gradient for each of a client's rows, {n} times {} numbers, which is more than {} MiB; \
                 use local.estimate=svrg, fewer rows or more workers",
                x.len(),
                TABLE >> 20
            )));
        }
        let key = [draw.seed, draw.client];
        let mut table = Table { key, said: vec![0.0; n * x.len()], steps: vec![draw.step; n], sum: vec![0.0; x.len()] };
        for (place, said) in table.said.chunks_mut(x.len().max(1)).enumerate() {
            rows.look(x, buffers, draw, place, draw.step)?;
            said.copy_from_slice(&rows.row);
            add(&mut table.sum, 1.0, said);
        }
        Ok(table)
    }
}

impl Workload for Saga {
    fn layout(&self) -> &Layout {
        self.rows.inner.layout()
    }

    fn start(&self, seed: u64) -> Start {
        self.rows.inner.start(seed)
    }

    fn rows(&self, client: u64) -> usize {
        self.rows.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let mut table = match self.memory.take() {
            Some(table) => table,
            None => self.first(x, buffers, draw)?,
        };
        if table.key != [draw.seed, draw.client] {
            return Err(Error::request(format!(
                "saga remembers what the rows of client {} said, and now client {} is asked; use \
                 participation=everyone",
                table.key[1], draw.client
            )));
        }
        let (rows, n, d) = (&mut self.rows, table.steps.len(), x.len());
        let (mine, mut loss) = (places(draw, n, 0), 0.0);
        rows.clear(d);
        for place in mine.iter().copied() {
            loss += rows.look(x, buffers, draw, place, table.steps[place])?;
            rows.add(1.0);
            add(&mut rows.sum, -1.0, &table.said[place * d..][..d]);
        }
        let b = mine.len().max(1) as f64;
        for ((g, s), all) in gradient.iter_mut().zip(&rows.sum).zip(&table.sum) {
            *g = (s / b + all / n.max(1) as f64) as f32;
        }
        let refreshed = draw.step + 1;
        for place in places(draw, n, 1) {
            if table.steps[place] == refreshed {
                continue; // drawn twice
            }
            rows.look(x, buffers, draw, place, refreshed)?;
            let said = &mut table.said[place * d..][..d];
            add(&mut table.sum, -1.0, said);
            said.copy_from_slice(&rows.row);
            add(&mut table.sum, 1.0, said);
            table.steps[place] = refreshed;
        }
        self.memory = Some(table);
        Ok(loss / b)
    }

    fn loss(&mut self, x: &[f32], buffers: &[f32], draw: &Draw) -> Result<f64> {
        self.rows.inner.loss(x, buffers, draw)
    }

    fn save(&self, state: &mut State) {
        if let Some(table) = &self.memory {
            state.put_numbers("table", &table.key);
            state.put("said", &table.said);
            state.put_numbers("steps", &table.steps);
            let bits: Vec<u64> = table.sum.iter().map(|s| s.to_bits()).collect();
            state.put_numbers("sum", &bits);
        }
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.memory = None;
        if !state.numbers.contains_key("table") {
            return Ok(());
        }
        let key: [u64; 2] = state.take_numbers("table")?;
        let (n, d) = (self.rows(key[1]), self.layout().len());
        let numbers = |name: &str, len: usize| {
            let found = state.numbers.get(name).filter(|found| found.len() == len);
            found.cloned().ok_or_else(|| Error::mismatch(format!("the checkpoint has no {len} numbers `{name}`")))
        };
        let sum = numbers("sum", d)?.into_iter().map(f64::from_bits).collect();
        let mut table = Table { key, said: vec![0.0; n.saturating_mul(d)], steps: numbers("steps", n)?, sum };
        state.take("said", &mut table.said)?;
        self.memory = Some(table);
        Ok(())
    }

    fn deal(&self, former: &Former) -> Result<State> {
        undealt(former, "`local.estimate=saga` remembers a gradient of every worker's rows")
    }

    fn evaluate_client(&mut self, x: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.rows.inner.evaluate_client(x, buffers, client)
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.rows.inner.evaluate(x, buffers, split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Element;
    use crate::workload::{Deal, Logistic, SparseRows, Task};

    const N: usize = 12;
    const D: usize = 3;

    fn logistic() -> Box<dyn Workload> {
        let mut s = Stream::new(4, Use::Problem, 0, 0);
        let values: Vec<f32> = (0..N * D).map(|_| s.normal()).collect();
        let train = SparseRows {
            offsets: (0..=N).map(|r| r * D).collect(),
            columns: (0..N * D).map(|i| (i % D) as u32).collect(),
            labels: values.chunks(D).map(|a| if a[0] > 0.2 * a[1] { 1.0 } else { -1.0 }).collect(),
            values,
        };
        let (name, train, deal) = ("l".into(), std::sync::Arc::new(train), Deal::Iid);
        let task = Logistic { name, train, test: None, features: D, deal, l2: 0.1, nonconvex: 0.0, data: 0 };
        task.workload(1, 0).unwrap()
    }

    fn wrapped(text: &str) -> Box<dyn Workload> {
        build(&Element::parse(text).unwrap()).unwrap().wrap(logistic())
    }

    fn draw(step: u64, batch: Batch) -> Draw {
        Draw { seed: 2, client: 0, step, batch }
    }

    fn look(of: &mut dyn Workload, x: &[f32], draw: &Draw) -> (f64, Vec<f32>) {
        let mut gradient = vec![f32::NAN; x.len()];
        let loss = of.gradient(x, &mut [], draw, &mut gradient).unwrap();
        (loss, gradient)
    }

    fn row(x: &[f32], place: usize) -> Vec<f64> {
        look(&mut *logistic(), x, &draw(0, Batch::Row(place))).1.iter().map(|v| f64::from(*v)).collect()
    }

    /// (1/b) Σ over `rows` of `of`.
    fn mean(rows: &[usize], of: impl Fn(usize) -> Vec<f64>) -> Vec<f64> {
        let mut sum = vec![0.0; D];
        for place in rows {
            sum.iter_mut().zip(of(*place)).for_each(|(s, v)| *s += v / rows.len() as f64);
        }
        sum
    }

    fn near(found: &[f32], expected: impl IntoIterator<Item = f64>) -> bool {
        found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    }

    /// Where the steps are taken: nowhere near one another.
    fn points() -> Vec<Vec<f32>> {
        (0..9u8).map(|t| (0..D).map(|j| f32::from(t) * 0.3 - j as f32).collect()).collect()
    }

    #[test]
    fn svrg_is_its_formula() {
        let mut of = wrapped("svrg(every=4)");
        let all: Vec<usize> = (0..N).collect();
        for (t, x) in points().iter().enumerate() {
            let draw = draw(t as u64, Batch::Rows(5));
            let found = look(&mut *of, x, &draw).1;
            let old = &points()[t / 4 * 4];
            let (mine, full) = (places(&draw, N, 0), mean(&all, |i| row(old, i)));
            let change = mean(&mine, |i| row(x, i).iter().zip(row(old, i)).map(|(a, b)| a - b).collect());
            let formula: Vec<f64> = change.iter().zip(&full).map(|(a, b)| a + b).collect();
            assert!(near(&found, formula), "step {t}");
            assert_eq!(mine.len(), 5);
            // Control: the plain mean of those rows is another vector.
            assert!(!near(&found, mean(&mine, |i| row(x, i))));
        }
    }

    #[test]
    fn saga_is_its_formula() {
        let mut of = wrapped("saga");
        let points = points();
        let all: Vec<usize> = (0..N).collect();
        let mut at = vec![points[0].clone(); N];
        for (t, x) in points.iter().enumerate() {
            let draw = draw(t as u64, Batch::Rows(4));
            let found = look(&mut *of, x, &draw).1;
            let (mine, others) = (places(&draw, N, 0), places(&draw, N, 1));
            assert_ne!(mine, others, "I and J are independent");
            let change = mean(&mine, |i| row(x, i).iter().zip(row(&at[i], i)).map(|(a, b)| a - b).collect());
            let formula: Vec<f64> = change.iter().zip(mean(&all, |i| row(&at[i], i))).map(|(a, b)| a + b).collect();
            assert!(near(&found, formula), "step {t}");
            for j in others {
                at[j].clone_from(x);
            }
        }
        assert!(at.iter().any(|z| *z != points[0]) && at.contains(&points[0]), "some rows were refreshed, some not");
    }

    #[test]
    fn with_all_rows_both_are_the_gradient() {
        for text in ["svrg(every=3)", "saga"] {
            let (mut of, mut bare) = (wrapped(text), logistic());
            for (t, x) in points().iter().enumerate() {
                let draw = draw(t as u64, Batch::Full);
                let ((loss, found), (bare, plain)) = (look(&mut *of, x, &draw), look(&mut *bare, x, &draw));
                assert!(near(&found, plain.iter().map(|v| f64::from(*v))) && (loss - bare).abs() < 1e-9, "{text}");
            }
        }
    }

    #[test]
    fn at_the_snapshot_a_mini_batch_says_what_all_rows_say() {
        for text in ["svrg(every=1)", "svrg(gausge, every=1)", "saga(gausge)"] {
            let x = &points()[3];
            let few = look(&mut *wrapped(text), x, &draw(0, Batch::Rows(2))).1;
            assert!(near(&few, look(&mut *wrapped(text), x, &draw(0, Batch::Full)).1.iter().map(|v| f64::from(*v))));
        }
    }

    #[test]
    fn directions_are_shared_within_an_epoch_and_drawn_anew_after_it() {
        let x = &points()[3];
        let mut of = wrapped("svrg(gausge, every=3)");
        let v: Vec<_> = (0..6).map(|t| look(&mut *of, x, &draw(t, Batch::Rows(2))).1).collect();
        assert!(v[1] == v[0] && v[2] == v[0] && v[3] != v[0] && v[5] == v[3], "where x stays only an epoch changes v");
        let mut of = wrapped("saga(gausge)");
        let v: Vec<_> = (0..9).map(|t| look(&mut *of, x, &draw(t, Batch::Full)).1).collect();
        assert!(v.windows(2).all(|v| v[0] != v[1]), "where x stays refreshed rows have other directions");
    }

    #[test]
    fn what_was_saved_goes_on_bit_for_bit() {
        for text in ["svrg(gausge, every=4)", "saga(coosge)", "saga(gausge)", "svrg"] {
            let (mut one, mut two) = (wrapped(text), wrapped(text));
            let (mut forgetful, mut state) = (wrapped(text), State::default());
            let (before, after) = (0..6, 6..9);
            let draw = |t: usize| draw(t as u64, Batch::Rows(3));
            before.for_each(|t| drop(look(&mut *one, &points()[t], &draw(t))));
            one.save(&mut state);
            two.load(&state).unwrap();
            for t in after {
                let v = look(&mut *one, &points()[t], &draw(t));
                assert_eq!(look(&mut *two, &points()[t], &draw(t)), v, "{text}");
                if t < 8 {
                    assert_ne!(look(&mut *forgetful, &points()[t], &draw(t)), v, "{text}: nothing need be remembered");
                }
            }
            for vectors in state.vectors.values_mut() {
                vectors.pop();
            }
            assert!(two.load(&state).is_err(), "{text}: a state of another model");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, hint) in [
            ("svrg(per_sample)", "plain, coosge or gausge"),
            ("saga(of=svrg)", "plain, coosge or gausge"),
            ("svrg(gausge(shared=true))", "set shared=false"),
            ("saga(gausge(0.1, 1, true))", "set shared=false"),
            ("svrg(every=0)", "at least 1"),
        ] {
            let error = build(&Element::parse(text).unwrap()).err().unwrap().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
        let mut of = wrapped("saga");
        look(&mut *of, &[0.0; D], &draw(0, Batch::Rows(1)));
        let stranger = Draw { client: 3, ..draw(1, Batch::Rows(1)) };
        let error = of.gradient(&[0.0; D], &mut [], &stranger, &mut [0.0; D]).unwrap_err().to_string();
        assert!(error.contains("participation=everyone"), "{error}");
    }
}
