//! Problems, ports and recipes that the tests share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sordino::Result;
use sordino::base::{Layout, Party, Role, Stream, Tensor, Use, flat};
use sordino::fabric::{Meter, Port, Tag, ThreadPort};
use sordino::recipe::{Defaults, ROWS, Recipe, Row, check};
use sordino::workload::{
    Chain, Deal, Draw, Logistic, Made, Metrics, Part, Quadratic, Ridge, SparseRows, Split, Start, Task, Workload,
};

use crate::oracle::problem::Problem;

/// A named row with `sets` on top, resolved and checked.
pub fn row(name: &str, sets: &[&str]) -> Recipe {
    finished(Recipe::named(name).unwrap(), sets)
}

/// The rows that everybody runs in rounds, and those that a server serves as they come.
pub fn in_rounds() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| !is_served(row))
}

/// The rows whose workers come to a server at their own pace.
pub fn served() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| is_served(row))
}

fn is_served(row: &Row) -> bool {
    Recipe::named(row.name).unwrap().choice("participation").is_ok_and(|p| ["first_b", "buffered"].contains(&&*p.name))
}

/// The neutral recipe with `sets` on top, resolved and checked.
pub fn neutral(sets: &[&str]) -> Recipe {
    finished(Recipe::default(), sets)
}

fn finished(mut recipe: Recipe, sets: &[&str]) -> Recipe {
    for set in sets {
        recipe.set(set).unwrap_or_else(|e| panic!("{e}"));
    }
    // Noise comes by a seed, so that it can be made again.
    if recipe.choice("privacy").unwrap().name == "gaussian" && !sets.iter().any(|set| set.contains("seed=")) {
        recipe.set("privacy.seed=11").unwrap();
    }
    recipe.resolve(&Defaults::default()).unwrap();
    check(&recipe).unwrap_or_else(|e| panic!("{}: {e}", recipe.method));
    recipe
}

/// The small quadratic of the laws and golden traces: unequal workers, noise, long enough for compressors to act.
pub fn quadratic() -> Quadratic {
    Quadratic { dim: 96, low: 0.1, high: 1.0, spread: 1.0, skew: 0.3, noise: 0.1, start: 0.5 }
}

/// A small ridge regression whose clients hold unequal numbers of rows: for methods that ascend a dual.
pub fn ridge(clients: usize) -> Ridge {
    let made = Made { rows: 120, features: 40, nonzeros: 6, noise: 0.3, signs: true, seed: 8 };
    // Whoever comes first has more: in every turn one client less is dealt a row, until all are again.
    let mut shards: Vec<Vec<u32>> = vec![Vec::new(); clients];
    let turns = (1..=clients).rev().cycle().flat_map(|most| 0..most);
    (0..120).zip(turns).for_each(|(row, client)| shards[client].push(row));
    let train = Arc::new(made.make().unwrap());
    let deal = Deal::Shards(Arc::new(shards));
    Ridge { name: "ridge".into(), train, test: None, features: 40, deal, l2: 1e-2, data: 2 }
}

/// The same for any number of clients.
struct Ridges;

impl Task for Ridges {
    fn name(&self) -> &'static str {
        "ridges"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        ridge(clients).workload(clients, seed)
    }

    fn rows(&self) -> usize {
        120
    }

    fn fingerprint(&self) -> u64 {
        1
    }
}

/// What a recipe is tried on in place of `otherwise`, where that has no dual and the recipe asks for one.
pub fn with_duals(recipe: &Recipe, otherwise: &'static dyn Task) -> &'static dyn Task {
    if recipe.choice("local").unwrap().name == "dual" { &Ridges } else { otherwise }
}

/// A chain that can be cut in seven, one tensor of two blocks if it is a ring.
pub const CHAIN: Chain = Chain {
    layers: 7,
    width: 4,
    bias: true,
    tanh: true,
    dropout: 0.1,
    tied: false,
    start: None,
    rows: 48,
    row: None,
    deal: Deal::Iid,
};

/// What a recipe is tried on: a network that can be cut where it is to be cut, with a dual where it asks for one, with
/// buffers, unless they would tell of clients what noise is to hide.
pub fn tried(recipe: &Recipe) -> &'static dyn Task {
    const PLAIN: Quadratic =
        Quadratic { dim: 160, low: 0.1, high: 1.0, spread: 1.0, skew: 0.3, noise: 0.1, start: 0.5 };
    if recipe.choice("placement").unwrap().name != "replicate" {
        return &CHAIN;
    }
    let hides = recipe.choice("privacy").unwrap().name != "none";
    with_duals(recipe, if hides && recipe.choice("buffers").unwrap().name != "local" { &PLAIN } else { &Buffered })
}

/// Quadratics over three tensors, one of them short, with two buffers that follow the gradients: what a network with
/// normalisation looks like from outside.
#[derive(Clone, Copy, Debug)]
pub struct Buffered;

struct Follower {
    inner: Box<dyn Workload>,
    layout: Layout,
}

impl Task for Buffered {
    fn name(&self) -> &'static str {
        "buffered"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        let layout = Layout::new([
            Tensor::new("a", &[70], Role::Weight),
            Tensor::new("bias", &[10], Role::Bias),
            Tensor::new("mean", &[2], Role::Buffer),
            Tensor::new("b", &[2, 40], Role::Weight),
        ]);
        let inner = Quadratic { dim: layout.len(), ..quadratic() }.workload(clients, seed)?;
        Ok(Box::new(Follower { inner, layout }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

impl Workload for Follower {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        Start { buffers: vec![0.25, -1.0], ..self.inner.start(seed) }
    }

    fn rows(&self, client: u64) -> usize {
        3 + 2 * client as usize
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let loss = self.inner.gradient(x, &mut [], draw, gradient)?;
        // What normalisation does: the loss's slope depends a little on the running statistics.
        gradient[0] += 0.01 * buffers[0];
        buffers[0] = 0.9 * buffers[0] + 0.1 * gradient[1];
        buffers[1] = 0.9 * buffers[1] + 0.1 * gradient[2];
        Ok(loss)
    }

    /// As if every row were a draw of its own.
    fn parts(
        &mut self,
        x: &[f32],
        buffers: &mut [f32],
        draw: &Draw,
        most: usize,
        gradient: &mut [f32],
        each: &mut Part,
    ) -> Result<()> {
        let rows = draw.batch.rows().unwrap_or_else(|| self.rows(draw.client));
        for (part, from) in (0..rows).step_by(most.max(1)).enumerate() {
            let own = Draw { step: draw.step + ((part as u64 + 1) << 40), ..*draw };
            let loss = self.gradient(x, buffers, &own, gradient)?;
            each(gradient, most.max(1).min(rows - from), loss)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, &[], split)
    }
}

/// Sparse rows made from a seed, with labels that a plane mostly explains.
pub fn sparse(rows: usize, features: usize, deal: Deal) -> Logistic {
    let mut s = Stream::new(11, Use::Problem, 0, 0);
    let plane: Vec<f32> = (0..features).map(|_| s.normal()).collect();
    let mut data = SparseRows { offsets: vec![0], ..SparseRows::default() };
    for _ in 0..rows {
        let mut score = 0.5 * s.normal();
        for column in (0..features as u32).filter(|c| c % 3 == 0 || s.uniform() < 0.3).collect::<Vec<_>>() {
            let value = s.normal();
            score += value * plane[column as usize];
            data.columns.push(column);
            data.values.push(value);
        }
        data.offsets.push(data.columns.len());
        data.labels.push(if score > 0.0 { 1.0 } else { -1.0 });
    }
    Logistic {
        name: "sparse".into(),
        train: Arc::new(data),
        test: None,
        features,
        deal,
        l2: 1e-2,
        nonconvex: 0.0,
        data: 1,
    }
}

/// A problem that threads may share.
pub type Shared = Arc<dyn Problem + Send + Sync>;

/// A reference's problem as a task: gradients in f64 at the f32 model, rounded once.
#[derive(Clone)]
pub struct Posed {
    /// The problem.
    pub problem: Shared,
    /// The tensors' lengths.
    pub tensors: Vec<usize>,
    /// Rows a worker.
    pub sizes: Vec<usize>,
}

impl Posed {
    /// As one tensor, every worker as large as the other.
    pub fn whole(problem: Shared) -> Self {
        Self { tensors: vec![problem.dim()], sizes: vec![1; problem.workers()], problem }
    }
}

struct Share {
    of: Posed,
    layout: Layout,
}

impl Task for Posed {
    fn name(&self) -> &'static str {
        "posed"
    }

    fn workload(&self, _: usize, _: u64) -> Result<Box<dyn Workload>> {
        let tensor = |(i, n): (usize, &usize)| Tensor::new(format!("t{i}"), &[*n], Role::Weight);
        let layout = Layout::new(self.tensors.iter().enumerate().map(tensor));
        assert_eq!(layout.len(), self.problem.dim());
        Ok(Box::new(Share { of: self.clone(), layout }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

/// f32 to f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// f64 to f32.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|v| *v as f32).collect()
}

impl Workload for Share {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, _: u64) -> Start {
        Start { parameters: narrow(&self.of.problem.start()), buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.of.sizes[client as usize]
    }

    fn gradient(&mut self, x: &[f32], _: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let x = wide(x);
        gradient.copy_from_slice(&narrow(&self.of.problem.gradient(draw.client as usize, draw.step, &x)));
        Ok(self.of.problem.loss(&x))
    }

    fn evaluate(&mut self, x: &[f32], _: &[f32], split: Split) -> Result<Option<Metrics>> {
        let loss = self.of.problem.loss(&wide(x));
        Ok((split == Split::Train).then_some(Metrics { loss, accuracy: None, examples: 1 }))
    }
}

/// The gradient of `(worker, step, x)`.
pub type Slope = dyn Fn(usize, u64, &[f64]) -> Vec<f64> + Send + Sync;

/// A problem given by a formula for gradients and one for the loss.
pub struct Formula {
    /// How many workers.
    pub workers: usize,
    /// The first model.
    pub start: Vec<f64>,
    /// The gradient of (worker, step) at `x`.
    pub gradient: Box<Slope>,
    /// The loss at `x`.
    pub loss: fn(&[f64]) -> f64,
}

impl Problem for Formula {
    fn workers(&self) -> usize {
        self.workers
    }

    fn dim(&self) -> usize {
        self.start.len()
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn gradient(&self, worker: usize, step: u64, x: &[f64]) -> Vec<f64> {
        (self.gradient)(worker, step, x)
    }

    fn loss(&self, x: &[f64]) -> f64 {
        (self.loss)(x)
    }
}

/// Bytes and messages by sender and receiver, as an onlooker counts them.
pub type Count = Arc<Mutex<BTreeMap<(Party, Party), (u64, u64)>>>;

/// A port that counts what it sends and what it receives, by itself.
pub struct Onlooker<P> {
    /// The port.
    pub inner: P,
    /// What was sent.
    pub sent: Count,
    /// What was received.
    pub received: Count,
    /// What clients and the server told one another without leaving this rank.
    pub told: Count,
}

fn note(count: &Count, parties: (Party, Party), bytes: usize) {
    let mut count = count.lock().unwrap();
    let entry = count.entry(parties).or_default();
    entry.0 += 1;
    entry.1 += bytes as u64;
}

impl<P: Port> Port for Onlooker<P> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        note(&self.sent, tag.parties(self.rank(), to), bytes.len());
        self.inner.send(to, tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, tag, into)?;
        note(&self.received, tag.parties(from, self.rank()), into.len());
        Ok(())
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        note(&self.told, tag.parties(0, 0), bytes.len());
        self.inner.count(tag, bytes);
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.inner.meter()
    }
}

/// A port that lets others go first, and holds words back until it must listen: then they leave in another order of
/// peers, each peer's own in the right one.
pub struct Restless {
    inner: ThreadPort,
    stream: Stream,
    held: Vec<(usize, Tag, Vec<u8>)>,
}

impl Restless {
    /// Over `inner`, with moods drawn from `seed`.
    pub fn new(inner: ThreadPort, seed: u64) -> Self {
        let stream = Stream::new(seed, Use::Fault, inner.rank() as u64, 0);
        Self { inner, stream, held: Vec::new() }
    }

    fn wait(&mut self) {
        for _ in 0..self.stream.below(12) {
            std::thread::yield_now();
        }
    }

    fn release(&mut self) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let turn = self.stream.below(7) as usize;
        held.sort_by_key(|(to, _, _)| (to + turn) % 5);
        for (to, tag, bytes) in held {
            self.wait();
            self.inner.send(to, &tag, &bytes)?;
        }
        Ok(())
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        // A peer that has left hears nothing.
        let _ = self.release();
    }
}

impl Port for Restless {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.held.push((to, tag.clone(), bytes.to_vec()));
        if self.stream.uniform() < 0.3 { self.release() } else { Ok(()) }
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.release()?;
        self.wait();
        self.inner.receive(from, tag, into)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        // At times it must listen soon.
        if self.stream.uniform() < 0.5 {
            self.release()?;
        }
        self.inner.here(from, tag)
    }
}

/// How far apart two vectors are, relative to one more than the larger entry.
pub fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let of = |(a, b): (&f64, &f64)| {
        let gap = (a - b).abs() / (1.0 + a.abs().max(b.abs()));
        if gap.is_nan() { f64::INFINITY } else { gap }
    };
    a.iter().zip(b).map(of).fold(0.0, f64::max)
}

/// As [`gap`], for models.
pub fn apart(a: &[f32], b: &[f32]) -> f64 {
    gap(&wide(a), &wide(b))
}

/// Hashes of models.
pub fn hashes(models: &[&[f32]]) -> Vec<u64> {
    models.iter().map(|m| flat::fingerprint(m)).collect()
}
