//! Where the layers live: on every worker, or cut into blocks on a pipeline of workers.
//!
//! A pipeline of K blocks has a link forward and a link back between neighbours. `capacity` tokens wait on a link, so
//! that nobody waits for anybody, and what a block hears of a batch is that many iterations old:
//!
//! ```text
//! stale=recompute   p waits both ways; a block passes an old batch again with the weights it has now       (DSP)
//! stale=stash       p waits on the way back; a block goes back through the pass that it made then     (Ouroboros)
//! staleness of block k:  Σ over the links from k on of what waits on them, in iterations
//! ```
//! With capacity 0 a batch goes forward and back before the next one comes, whatever `stale` says: exact
//! back-propagation, in `micro` parts that follow one another through the pipeline.
//!
//! What a compressor, an aggregator or a layer-wise optimizer does to "the model" it does to a worker's blocks.

use std::ops::Range;

use crate::base::{Error, Result};
use crate::grammar::{self, Args, Element, Entry, Key, Value};

/// Where the layers live.
#[derive(Clone, Debug, PartialEq)]
pub enum Placement {
    /// Every worker holds the whole network. The neutral element.
    Replicate,
    /// Blocks of layers on the workers of a pipeline; all ranks are so many pipelines.
    Pipeline(Pipeline),
}

/// What a block does about a batch that it has passed on and whose error it has not heard yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It keeps the inputs, and passes them again at the weights of the day when the error comes.
    Recompute,
    /// It keeps the pass.
    Stash,
}

/// A pipeline, as settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// How many blocks; `None` for as many as the workers can hold.
    pub blocks: Option<usize>,
    /// How many tokens wait on a link.
    pub capacity: usize,
    /// What is kept of a batch that waits.
    pub stale: Stale,
    /// Whether the first and the last block live on one worker.
    pub ring: bool,
    /// In how many parts a batch is taken.
    pub micro: usize,
    /// The first layers of the second block and of those that follow; `None` balances what they cost.
    pub cuts: Option<Vec<usize>>,
}

/// What a layer costs, in any unit: forward, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// A forward pass.
    pub forward: f64,
    /// The way back.
    pub backward: f64,
}

impl Cost {
    /// What layers cost together.
    pub fn sum(costs: &[Self]) -> Self {
        let add = |of: fn(&Self) -> f64| costs.iter().map(of).sum();
        Self { forward: add(|c| c.forward), backward: add(|c| c.backward) }
    }
}

/// A network that was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The layers of every block.
    pub blocks: Vec<Range<usize>>,
    /// The workers of one pipeline.
    pub workers: usize,
    /// What every block costs, as a fraction of what the whole does without passing anything twice.
    pub shares: Vec<Cost>,
}

impl Pipeline {
    /// How many tokens wait on a link forward, and on one back.
    pub fn waiting(&self) -> (usize, usize) {
        match self.stale {
            Stale::Recompute => (self.capacity, self.capacity),
            Stale::Stash => (0, self.capacity),
        }
    }

    /// How many iterations lie between a batch's way forward through a block and its way back.
    pub fn staleness(&self, block: usize, blocks: usize) -> usize {
        let (forward, back) = self.waiting();
        (forward + back) * blocks.saturating_sub(block + 1)
    }

    /// Whether a block passes its batches twice.
    pub fn recomputes(&self, block: usize, blocks: usize) -> bool {
        self.stale == Stale::Recompute && self.staleness(block, blocks) > 0
    }

    /// How many workers hold so many blocks.
    pub fn workers_of(&self, blocks: usize) -> usize {
        if self.ring && blocks > 1 { blocks - 1 } else { blocks }
    }

    /// Which worker of a pipeline holds a block.
    pub fn worker_of(&self, block: usize, blocks: usize) -> usize {
        if self.ring && block > 0 && block + 1 == blocks { 0 } else { block }
    }

    /// How many blocks `workers` workers hold of a network of `layers` layers: those that were asked for, or the most
    /// that leave no worker over.
    pub fn blocks_on(&self, workers: usize, layers: usize) -> Result<usize> {
        if layers == 0 {
            return Err(Error::request(
                "`placement=pipeline`: this task's network cannot be cut into layers; set placement=replicate, or take a \
                 task whose network can (an mlp, a cnn, a transformer)",
            ));
        }
        if let Some(blocks) = self.blocks {
            let each = self.workers_of(blocks);
            if blocks > layers {
                return Err(Error::request(format!(
                    "`placement.blocks` is {blocks}, but the network has {layers} layers; ask for fewer blocks"
                )));
            }
            if !workers.is_multiple_of(each) {
                return Err(Error::request(format!(
                    "{blocks} blocks live on {each} workers, and {workers} are no multiple of that; use --workers {each}, \
                     or placement.blocks=auto"
                )));
            }
            return Ok(blocks);
        }
        let most = layers.min(workers + usize::from(self.ring));
        let fits = |blocks: &usize| workers.is_multiple_of(self.workers_of(*blocks));
        Ok((1..=most).rev().find(fits).unwrap_or(1))
    }

    /// The cut of a network whose layers cost so much, for `workers` workers in all.
    pub fn cut(&self, workers: usize, costs: &[Cost]) -> Result<Cut> {
        let blocks = self.blocks_on(workers, costs.len())?;
        let firsts = match &self.cuts {
            Some(cuts) => cuts.clone(),
            None => self.balance(blocks, costs),
        };
        let bounds: Vec<usize> = [&[0][..], &firsts, &[costs.len()]].concat();
        if firsts.len() + 1 != blocks || bounds.windows(2).any(|w| w[0] >= w[1]) {
            return Err(Error::request(format!(
                "`placement.cuts` names the first layers {firsts:?} of blocks after the first; {blocks} blocks of {} layers \
                 need {} ascending numbers from 1 to {}",
                costs.len(),
                blocks - 1,
                costs.len() - 1
            )));
        }
        let ranges: Vec<Range<usize>> = bounds.windows(2).map(|w| w[0]..w[1]).collect();
        let whole = Cost::sum(costs);
        let whole = (whole.forward + whole.backward).max(f64::MIN_POSITIVE);
        let share = |range: &Range<usize>| {
            let Cost { forward, backward } = Cost::sum(&costs[range.clone()]);
            Cost { forward: forward / whole, backward: backward / whole }
        };
        let shares = ranges.iter().map(share).collect();
        Ok(Cut { blocks: ranges, workers: self.workers_of(blocks), shares })
    }

    /// The first layers of all blocks but the first, so that the busiest worker has least to do; of two such cuts the
    /// one whose earlier blocks are longer.
    pub fn balance(&self, blocks: usize, costs: &[Cost]) -> Vec<usize> {
        let layers = costs.len();
        let block = |k: usize, range: Range<usize>| {
            let cost = Cost::sum(&costs[range]);
            cost.forward * if self.recomputes(k, blocks) { 2.0 } else { 1.0 } + cost.backward
        };
        if !(self.ring && blocks > 2) {
            return split(blocks, layers, &|k, range| block(k, range)).1;
        }
        let (mut best, mut least) = (Vec::new(), f64::INFINITY);
        for first in (1..=layers + 1 - blocks).rev() {
            for last in (first + blocks - 2..layers).rev() {
                let (middle, inner) =
                    split(blocks - 2, last - first, &|k, range| block(k + 1, first + range.start..first + range.end));
                // Where nothing waits on the way forward, the worker of both ends waits until a batch has come round.
                let (own, forward) = (Cost::sum(&costs[..first]), Cost::sum(&costs[first..last]).forward);
                let stall = if self.waiting().0 == 0 { (forward - own.backward).max(0.0) } else { 0.0 };
                let ends = block(0, 0..first) + block(blocks - 1, last..layers) + stall;
                if ends.max(middle) < least {
                    least = ends.max(middle);
                    best = std::iter::once(first).chain(inner.iter().map(|c| c + first)).chain([last]).collect();
                }
            }
        }
        best
    }
}

/// Cuts `layers` layers into `blocks` blocks so that the dearest costs least: its cost, and the first layers of all
/// blocks but the first.
fn split(blocks: usize, layers: usize, cost: &dyn Fn(usize, Range<usize>) -> f64) -> (f64, Vec<usize>) {
    // dearest[k][n]: what the dearest of blocks 0..=k costs at best when they hold the first n layers.
    let mut dearest: Vec<Vec<(f64, usize)>> = vec![(0..=layers).map(|n| (cost(0, 0..n), 0)).collect()];
    for k in 1..blocks {
        let row = (0..=layers)
            .map(|n| {
                let options = (k..n).rev().map(|from| (dearest[k - 1][from].0.max(cost(k, from..n)), from));
                options.fold((f64::INFINITY, k), |best, option| if option.0 < best.0 { option } else { best })
            })
            .collect();
        dearest.push(row);
    }
    let (mut cuts, mut end) = (Vec::new(), layers);
    for k in (1..blocks).rev() {
        end = dearest[k][end].1;
        cuts.push(end);
    }
    cuts.reverse();
    (dearest[blocks - 1][layers].0, cuts)
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Placement>] = &[
    &Entry {
        name: "pipeline",
        about: "blocks of layers on a pipeline of workers: activations go forward, errors go back",
        keys: &[
            Key { name: "blocks", default: "auto", about: "how many; auto: the most that leave no worker over" },
            Key { name: "capacity", default: "1", about: "tokens that wait on a link; 0 is exact back-propagation" },
            Key {
                name: "stale",
                default: "recompute",
                about: "a batch that waits: recompute (DSP: tokens wait both ways) or stash (Ouroboros: errors wait)",
            },
            Key { name: "ring", default: "false", about: "the first and the last block live on one worker" },
            Key { name: "micro", default: "1", about: "parts of a batch, as GPipe's micro-batches; with capacity=0" },
            Key {
                name: "cuts",
                default: "auto",
                about: "first layers of all blocks but the first, at(2, 4); auto balances what layers cost",
            },
        ],
        build: |args| pipeline(args).map(Placement::Pipeline),
    },
    &Entry {
        name: "replicate",
        about: "every worker holds the whole network",
        keys: &[],
        build: |_| Ok(Placement::Replicate),
    },
];

/// Builds the placement that an element names.
pub fn build(element: &Element) -> Result<Placement> {
    grammar::build("placement", ENTRIES, element)
}

fn pipeline(args: &Args) -> Result<Pipeline> {
    let auto = |key: &str| args.element(key).is_ok_and(|e| *e == Element::word("auto"));
    let stale = [Stale::Recompute, Stale::Stash][args.choice("stale", &["recompute", "stash"])?];
    let pipeline = Pipeline {
        blocks: if auto("blocks") { None } else { Some(args.count("blocks", 1)? as usize) },
        capacity: args.count("capacity", 0)? as usize,
        stale,
        ring: args.flag("ring")?,
        micro: args.count("micro", 1)? as usize,
        cuts: if auto("cuts") { None } else { Some(cuts(args.element("cuts")?)?) },
    };
    if pipeline.micro > 1 && pipeline.capacity > 0 {
        return Err(Error::request(
            "parts of a batch follow one another through a pipeline on whose links nothing waits; set capacity=0 or micro=1",
        ));
    }
    if pipeline.ring && pipeline.capacity == 0 && pipeline.blocks != Some(1) {
        return Err(Error::request(
            "with capacity=0 the first block waits for the error of the last, which waits for its turn on the same worker; \
             set ring=false or capacity=1",
        ));
    }
    if pipeline.capacity > MOST_WAITING {
        return Err(Error::request(format!(
            "at most {MOST_WAITING} tokens wait on a link, {} came",
            pipeline.capacity
        )));
    }
    if pipeline.micro > MOST_PARTS {
        return Err(Error::request(format!(
            "a batch is taken in {MOST_PARTS} parts at most, {} came; lower `micro`",
            pipeline.micro
        )));
    }
    Ok(pipeline)
}

/// Beyond this a pipeline would learn from batches that nobody remembers.
const MOST_WAITING: usize = 1000;

/// Every part is a message on every link, whether it has rows or not.
const MOST_PARTS: usize = 100_000;

fn cuts(element: &Element) -> Result<Vec<usize>> {
    let first = |value: &Value| match value {
        Value::Number(x) if x.fract() == 0.0 && *x >= 1.0 && *x < 1e9 => Some(*x as usize),
        _ => None,
    };
    let cuts: Option<Vec<usize>> = element.positional.iter().map(first).collect();
    cuts.filter(|_| element.name == "at" && element.named.is_empty()).ok_or_else(|| {
        Error::request(format!(
            "`cuts` must be auto, or at(2, 4) with the first layers of blocks, but `{element}` came"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Pipeline {
        match build(&Element::parse(text).unwrap()).unwrap() {
            Placement::Pipeline(pipeline) => pipeline,
            Placement::Replicate => panic!("{text}"),
        }
    }

    fn even(layers: usize) -> Vec<Cost> {
        vec![Cost { forward: 1.0, backward: 2.0 }; layers]
    }

    #[test]
    fn staleness_adds_up_what_waits_on_the_links_above() {
        let law =
            |text: &str, blocks: usize| -> Vec<usize> { (0..blocks).map(|k| of(text).staleness(k, blocks)).collect() };
        assert_eq!(law("pipeline", 3), [4, 2, 0]);
        assert_eq!(law("pipeline(capacity=2)", 3), [8, 4, 0]);
        assert_eq!(law("pipeline", 4), [6, 4, 2, 0]);
        assert_eq!(law("pipeline(stale=stash)", 4), [3, 2, 1, 0]);
        assert_eq!(law("pipeline(capacity=0)", 3), [0, 0, 0]);
        assert!(of("pipeline").recomputes(0, 2) && !of("pipeline").recomputes(1, 2));
        assert!(!of("pipeline(stale=stash)").recomputes(0, 2) && !of("pipeline(capacity=0)").recomputes(0, 2));
    }

    #[test]
    fn auto_takes_the_most_blocks_that_leave_no_worker_over() {
        let on = |text: &str, workers, layers| of(text).blocks_on(workers, layers).unwrap();
        assert_eq!(
            [on("pipeline", 4, 9), on("pipeline", 4, 3), on("pipeline", 3, 2), on("pipeline", 1, 9)],
            [4, 2, 1, 1]
        );
        let ring = "pipeline(stale=stash, ring=true)";
        assert_eq!([on(ring, 2, 9), on(ring, 3, 9), on(ring, 1, 9), on(ring, 4, 3)], [3, 4, 2, 3]);
        assert_eq!(on("pipeline(blocks=2)", 6, 9), 2);
        let refused = |text: &str, workers, layers| of(text).blocks_on(workers, layers).unwrap_err().to_string();
        assert!(refused("pipeline(blocks=2)", 3, 9).contains("--workers 2"));
        assert!(refused("pipeline(blocks=4)", 4, 3).contains("fewer blocks"));
        assert!(refused("pipeline", 4, 0).contains("placement=replicate"));
    }

    #[test]
    fn the_busiest_worker_has_least_to_do() {
        let cut = |text: &str, workers, costs: &[Cost]| of(text).cut(workers, costs).unwrap().blocks;
        assert_eq!(cut("pipeline(capacity=0)", 3, &even(6)), [0..2, 2..4, 4..6]);
        // A block that passes its batches twice costs 4 a layer, the last 3: 3 and 4 layers are 12 and 12.
        assert_eq!(cut("pipeline", 2, &even(7)), [0..3, 3..7]);
        assert_eq!(cut("pipeline(stale=stash)", 2, &even(8)), [0..4, 4..8]);
        let mut skewed = even(4);
        skewed[0].backward = 7.0;
        assert_eq!(cut("pipeline(stale=stash)", 2, &skewed), [0..1, 1..4]);
        assert_eq!(cut("pipeline(cuts=at(1, 2))", 3, &even(9)), [0..1, 1..2, 2..9]);
        // Both ends on one worker: half of the layers, the longer end first, so that nobody waits for the batch.
        let ring = of("pipeline(stale=stash, ring=true)").cut(2, &even(8)).unwrap();
        assert_eq!((ring.blocks, ring.workers), (vec![0..3, 3..7, 7..8], 2));
        let shares: f64 = ring.shares.iter().map(|c| c.forward + c.backward).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }

    #[test]
    fn every_cut_is_no_worse_than_any_other() {
        let mut stream = crate::base::Stream::new(3, crate::base::Use::Problem, 0, 0);
        for text in ["pipeline", "pipeline(capacity=0)"] {
            for _ in 0..20 {
                let costs: Vec<Cost> =
                    (0..7).map(|_| Cost { forward: stream.uniform64(), backward: stream.uniform64() }).collect();
                let pipeline = of(text);
                let dearest = |cuts: &[usize]| {
                    let bounds = [&[0][..], cuts, &[7]].concat();
                    let cost = |k: usize| {
                        let c = Cost::sum(&costs[bounds[k]..bounds[k + 1]]);
                        c.forward * if pipeline.recomputes(k, 3) { 2.0 } else { 1.0 } + c.backward
                    };
                    (0..3).map(cost).fold(0.0, f64::max)
                };
                let found = dearest(&pipeline.balance(3, &costs));
                for a in 1..6 {
                    assert!((a + 1..7).all(|b| found <= dearest(&[a, b]) + 1e-12), "{text}");
                }
            }
        }
    }

    #[test]
    fn nonsense_is_named() {
        let refused = |text: &str| build(&Element::parse(text).unwrap()).unwrap_err().to_string();
        for (text, hint) in [
            ("pipeline(micro=4)", "capacity=0"),
            ("pipeline(capacity=0, ring=true)", "ring=false"),
            ("pipeline(cuts=at(0))", "at(2, 4)"),
            ("pipeline(cuts=here)", "at(2, 4)"),
            ("pipeline(blocks=0)", "at least 1"),
            ("pipeline(capacity=1e6)", "at most 1000"),
            ("pipeline(capacity=0, micro=1e12)", "100000 parts at most"),
            ("pipelin", "did you mean `pipeline`"),
        ] {
            assert!(refused(text).contains(hint), "{text}: {}", refused(text));
        }
        let cuts = of("pipeline(cuts=at(4, 2))").cut(3, &even(6)).unwrap_err().to_string();
        assert!(cuts.contains("ascending"), "{cuts}");
    }
}
