//! Where a rank stands in a pipelined run: which blocks of which copy of the network it holds.

use std::ops::Range;

use crate::base::{Error, Layout, Purpose, Reader, Result, Writer};
use crate::fabric::{Port, Tag};
use crate::placement::{Cost, Cut, Pipeline};
use crate::workload::{Draw, Metrics, Split, Start, Workload};

/// The seat of a rank: copies of the network stand one after another, and in a copy its workers in the order of their
/// blocks.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The pipeline's settings.
    pub(super) pipeline: Pipeline,
    /// How the network was cut.
    pub(super) cut: Cut,
    /// The tensors of each layer.
    layers: Vec<Vec<usize>>,
    /// Which copy of the network.
    pub(super) copy: usize,
    /// Which worker of it.
    worker: usize,
    /// The tensors of the whole network.
    whole: Layout,
    /// Positions of this worker's tensors, ascending.
    tensors: Vec<usize>,
    /// This worker's tensors.
    pub(super) layout: Layout,
}

/// What layers cost where nobody measured: as many multiplications as they have parameters, and twice that back.
pub fn weigh(workload: &dyn Workload) -> Vec<Cost> {
    let lens: Vec<usize> = workload.layout().ranges().iter().map(ExactSizeIterator::len).collect();
    let cost = |layer: &Vec<usize>| {
        let forward = 1.0 + layer.iter().map(|t| lens[*t] as f64).sum::<f64>();
        Cost { forward, backward: 2.0 * forward }
    };
    workload.layers().iter().map(cost).collect()
}

impl Seat {
    /// The seat of `rank` among `ranks`.
    pub fn new(pipeline: &Pipeline, whole: &dyn Workload, rank: usize, ranks: usize) -> Result<Self> {
        let layers = whole.layers();
        let cut = pipeline.cut(ranks, &weigh(whole))?;
        if whole.layout().buffer_len() > 0 {
            return Err(Error::request(
                "`placement=pipeline`: this network has running statistics, and a block that passes a batch twice would \
                 count it twice; take a network without batch normalisation, or set placement=replicate",
            ));
        }
        let mut seat = Self {
            pipeline: pipeline.clone(),
            copy: rank / cut.workers,
            worker: rank % cut.workers,
            cut,
            layers,
            whole: whole.layout().clone(),
            tensors: Vec::new(),
            layout: Layout::new([]),
        };
        seat.check()?;
        seat.tensors = seat.tensors_of(seat.worker);
        seat.layout = seat.whole.part(&seat.tensors);
        Ok(seat)
    }

    /// Every tensor lives on one worker.
    fn check(&self) -> Result<()> {
        let mut owners = vec![None; self.whole.ranges().len()];
        for worker in 0..self.cut.workers {
            for tensor in self.tensors_of(worker) {
                if let Some(other) = owners[tensor].replace(worker) {
                    let name = self.whole.tensors().nth(tensor).map(|(t, _)| t.name.clone()).unwrap_or_default();
                    return Err(Error::request(format!(
                        "`placement`: the tensor `{name}` is used by layers on workers {other} and {worker} of a pipeline, \
                         and there is one of it; set placement.ring=true, which puts the first and the last block on one \
                         worker, or take a network that shares no tensors"
                    )));
                }
            }
        }
        match owners.iter().position(Option::is_none) {
            None => Ok(()),
            Some(at) => Err(Error::mismatch(format!("tensor {at} of the network belongs to no layer"))),
        }
    }

    fn tensors_of(&self, worker: usize) -> Vec<usize> {
        let blocks = self.blocks_of(worker);
        let mut tensors = blocks.flat_map(|b| self.layers[self.cut.blocks[b].clone()].concat()).collect::<Vec<_>>();
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }

    fn blocks_of(&self, worker: usize) -> impl Iterator<Item = usize> + '_ {
        let blocks = self.cut.blocks.len();
        (0..blocks).filter(move |b| self.pipeline.worker_of(*b, blocks) == worker)
    }

    /// The blocks of this rank, in the order in which they take their turns.
    pub(super) fn hosted(&self) -> impl Iterator<Item = usize> + '_ {
        self.blocks_of(self.worker)
    }

    /// Where a block's tensors lie in the vector of this rank, and whether an earlier block of the rank uses them too.
    pub(super) fn slots(&self, block: usize) -> Vec<(Range<usize>, bool)> {
        let tensors_of = |b: usize| {
            let mut tensors = self.layers[self.cut.blocks[b].clone()].concat();
            tensors.sort_unstable();
            tensors.dedup();
            tensors
        };
        let earlier: Vec<usize> = self.hosted().filter(|b| *b < block).flat_map(tensors_of).collect();
        let slot = |tensor: usize| {
            let at = self.tensors.partition_point(|t| *t < tensor);
            (self.layout.ranges()[at].clone(), earlier.contains(&tensor))
        };
        tensors_of(block).into_iter().map(slot).collect()
    }

    /// The ranks of the blocks of this copy.
    pub(super) fn ranks(&self) -> Vec<usize> {
        let blocks = self.cut.blocks.len();
        (0..blocks).map(|b| self.copy * self.cut.workers + self.pipeline.worker_of(b, blocks)).collect()
    }

    /// The ranks that hold the same blocks, of `ranks` in all.
    pub(in crate::engine) fn group(&self, ranks: usize) -> Vec<usize> {
        (self.worker..ranks).step_by(self.cut.workers).collect()
    }

    /// Which worker of its copy this rank is, and of how many.
    pub(in crate::engine) fn place(&self) -> (usize, usize) {
        (self.worker, self.cut.workers)
    }

    /// Which copy of the network this rank works on.
    pub fn copy(&self) -> usize {
        self.copy
    }

    /// The tensors of the whole network.
    pub fn whole(&self) -> &Layout {
        &self.whole
    }

    /// Where a worker's vector lies in the whole network's, piece by piece.
    fn ranges_of(&self, worker: usize) -> Vec<Range<usize>> {
        self.tensors_of(worker).into_iter().map(|t| self.whole.ranges()[t].clone()).collect()
    }

    /// What belongs to this rank of a vector of the whole network.
    pub fn share(&self, whole: &[f32]) -> Vec<f32> {
        self.ranges_of(self.worker).into_iter().flat_map(|range| &whole[range]).copied().collect()
    }

    /// This rank's part of a whole model to start from.
    pub(in crate::engine) fn begin_from(&self, start: &Start) -> Result<Start> {
        self.whole.expect("the model to start from", &start.parameters)?;
        Ok(Start { parameters: self.share(&start.parameters), buffers: start.buffers.clone() })
    }

    /// Puts the vector of this rank where it belongs in one of the whole network.
    pub fn put(&self, own: &[f32], whole: &mut [f32]) {
        put(&self.ranges_of(self.worker), own, whole);
    }

    /// The whole of what the ranks of the first copy hold, on rank 0; this rank's own elsewhere. Every rank calls it,
    /// and it is counted as `evaluate`.
    pub(in crate::engine) fn collect(&self, port: &mut dyn Port, own: &[f32]) -> Result<Vec<f32>> {
        let tag = Tag::across(Purpose::Evaluate);
        if self.copy > 0 {
            return Ok(own.to_vec());
        }
        if self.worker > 0 {
            let mut out = Writer::new();
            out.f32s(own);
            out.seal(0);
            port.send(0, &tag, out.bytes())?;
            return Ok(own.to_vec());
        }
        let mut whole = vec![0.0; self.whole.len()];
        self.put(own, &mut whole);
        let mut heard = Vec::new();
        for worker in 1..self.cut.workers {
            port.receive(worker, &tag, &mut heard)?;
            let mut reader = Reader::open(&heard).map_err(|e| e.within(format!("from rank {worker}")))?;
            let ranges = self.ranges_of(worker);
            let mut theirs = vec![0.0; ranges.iter().map(ExactSizeIterator::len).sum()];
            reader.f32s(&mut theirs)?;
            reader.done()?;
            put(&ranges, &theirs, &mut whole);
        }
        Ok(whole)
    }
}

fn put(ranges: &[Range<usize>], mut own: &[f32], whole: &mut [f32]) {
    for range in ranges {
        let (here, rest) = own.split_at(range.len());
        whole[range.clone()].copy_from_slice(here);
        own = rest;
    }
}

/// A worker's blocks as the round sees them: their tensors and where they begin. Evaluations are of the whole network.
pub(in crate::engine) struct Share {
    whole: Box<dyn Workload>,
    seat: Seat,
}

impl Share {
    pub fn new(whole: Box<dyn Workload>, seat: Seat) -> Self {
        Self { whole, seat }
    }
}

impl Workload for Share {
    fn layout(&self) -> &Layout {
        &self.seat.layout
    }

    fn start(&self, seed: u64) -> Start {
        Start { parameters: self.seat.share(&self.whole.start(seed).parameters), buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.whole.rows(client)
    }

    fn gradient(&mut self, _: &[f32], _: &mut [f32], _: &Draw, _: &mut [f32]) -> Result<f64> {
        Err(Error::request("a block of a pipeline has no gradient by itself"))
    }

    fn evaluate_client(&mut self, parameters: &[f32], buffers: &[f32], client: u64) -> Result<Option<Metrics>> {
        self.whole.evaluate_client(parameters, buffers, client)
    }

    fn evaluate(&mut self, parameters: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.whole.evaluate(parameters, buffers, split)
    }
}
