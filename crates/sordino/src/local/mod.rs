//! How a worker spends its silent steps.

mod descent;
mod dual;
mod scaffold;

pub use descent::Descent;
pub use dual::Dual;
pub use scaffold::Scaffold;

use std::ops::Range;

use crate::base::{Aside, Error, Former, Layout, Result, State};
use crate::grammar::{self, Args, Element, Entry, Key};
use crate::optim::Optimizer;
use crate::workload::{Batch, Draw, Workload};

/// Where a worker works: its problem, its optimizer, and who it is.
pub struct Ground<'a> {
    /// The problem.
    pub workload: &'a mut dyn Workload,
    /// The base optimizer; it steps here unless raw gradients are offered.
    pub optimizer: &'a mut Optimizer,
    /// The run's seed.
    pub seed: u64,
    /// Whose data: a rank or a federated client's id.
    pub client: u64,
    /// The number of this round's first draw, from 0: draws follow one another.
    pub draw: u64,
    /// The run's step at which this round began, from 0: what the rate is annealed by.
    pub step: u64,
    /// Steps of the run that this round counts for.
    pub silence: u64,
    /// Which of the round's steps are to be made now, of those that are asked for: all, or a part of them by local work
    /// that is plain.
    pub part: Range<u64>,
    /// How many speak in this round.
    pub voices: usize,
    /// What the aggregator multiplies by what they all tell alike: 1 but for sums.
    pub gain: f64,
    /// The tensors.
    pub layout: &'a Layout,
}

impl Ground<'_> {
    /// The run's step that local step `i` of `steps` counts as: a client that makes more or fewer steps than the round
    /// counts for passes over the same stretch of the rate.
    pub fn at(&self, i: u64, steps: u64) -> u64 {
        if steps == self.silence { self.step + i } else { self.step + i * self.silence / steps.max(1) }
    }

    /// What local step `i` draws.
    pub fn draws(&self, i: u64, batch: Batch) -> Draw {
        Draw { seed: self.seed, client: self.client, step: self.draw + i, batch }
    }
}

/// What a worker found while it was silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// Mean mini-batch loss over the steps.
    pub loss: f64,
    /// How many steps were shortened by clipping.
    pub clipped: u64,
    /// How many rows were clipped one by one.
    pub clipped_rows: u64,
    /// What travels beside the offer: the lists that [`Local::asides`] announced, in that order.
    pub asides: Vec<Aside>,
}

impl Spent {
    /// Adds what `steps` more steps of the round found to what `made` had.
    pub fn join(&mut self, more: Self, made: u64, steps: u64) {
        if made == 0 {
            *self = more;
            return;
        }
        self.loss = (self.loss * made as f64 + more.loss * steps as f64) / (made + steps) as f64;
        self.clipped += more.clipped;
        self.clipped_rows += more.clipped_rows;
    }
}

/// What is known of how far the optimum is, from the rows of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    /// What these rows add to the duality gap where the model is that of the dual variables.
    pub slack: f64,
    /// Weight of ½‖w‖²: the gap is larger by (l2/2)‖w − w(β)‖² where it is not.
    pub l2: f64,
}

/// Spends silent steps.
///
/// # Contract
/// Spends exactly the steps it was given, from `point`, which it moves; overwrites `offer` with the displacement it
/// *accumulated* (what was subtracted from `point`, summed in the same order; for dual ascent a σ'th of it), or with the
/// raw gradient where that is what is offered. A part of a round that does not begin with it adds to `offer` instead.
/// Never speaks.
pub trait Local: Send {
    /// Spends the steps of a round of `steps`, or the part of them that is to be made now.
    fn spend(
        &mut self,
        ground: &mut Ground,
        point: &mut [f32],
        buffers: &mut [f32],
        offer: &mut [f32],
        steps: u64,
    ) -> Result<Spent>;

    /// Refuses a problem that it cannot work on, before anything is begun.
    fn suits(&self, _workload: &mut dyn Workload) -> Result<()> {
        Ok(())
    }

    /// How many times its own moves it takes for what all together move, where the aggregator has this gain; 0 where it
    /// does not ask. A residual is looked ahead of by as much, if that is left to it.
    fn ahead(&self, _gain: f64) -> f64 {
        0.0
    }

    /// Silent steps begin at this point, for a caller that finds the gradients and asks for [`Local::step`].
    fn begin(&mut self, _point: &[f32]) {}

    /// One step along a gradient that the caller has found: moves `point` and gives what was subtracted from it.
    fn step(&mut self, _: &mut Ground, _step: u64, _point: &mut [f32], _gradient: &mut [f32]) -> Result<&[f32]> {
        Err(Error::request("these local steps find their gradients by themselves; set local=descent"))
    }

    /// Whether its steps are the optimizer's alone, so that a caller may make them instead, or words be said between.
    fn is_plain(&self) -> bool {
        false
    }

    /// Takes in what is on its way to this rank, where it talks while it works, so that other words can be heard.
    fn quiet(&mut self) -> Result<()> {
        Ok(())
    }

    /// Where it talks while it works: seconds spent waiting since the last call; the clock knows of the work already.
    fn talked(&mut self) -> Option<f64> {
        None
    }

    /// The lists that travel beside every offer, as zeros: the same on every rank, in every round.
    fn asides(&self, _workload: &dyn Workload) -> Vec<Aside> {
        Vec::new()
    }

    /// What everybody agreed on for these lists; `share` is the fraction of clients that spoke.
    fn agree(&mut self, _asides: &[Aside], _share: f32) {}

    /// What the client's rows say of how far `model` is from the optimum, where local work can tell. Everybody knows it
    /// of their own rows without a word.
    fn certificate(
        &self,
        _workload: &mut dyn Workload,
        _seed: u64,
        _client: u64,
        _model: &[f32],
    ) -> Result<Option<Certificate>> {
        Ok(None)
    }

    /// What a client must hear beside the model before it begins.
    fn told(&self) -> Vec<(&'static str, &[f32])> {
        Vec::new()
    }

    /// What belongs to a client and not to everybody: checked out before its round and put back after it. Empty
    /// vectors are fresh.
    fn own(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        Vec::new()
    }

    /// Puts what is remembered between rounds into `state`, what belongs to the client included.
    fn save(&mut self, _state: &mut State) -> Result<()> {
        Ok(())
    }

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// What a rank of a run with another number of ranks takes back, which will be `client` to `workload`: here what is
    /// the same on all.
    fn deal(&mut self, former: &Former, _workload: &mut dyn Workload, _seed: u64, _client: u64) -> Result<State> {
        former.same_but(&[])
    }
}

/// What a meeting does to optimizer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Everybody keeps their own. The neutral element.
    Keep,
    /// Moments are forgotten.
    Reset,
    /// Moments are averaged densely, as the aside `moments`.
    Average,
}

/// The axis `local`, as settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Rows per worker and step.
    pub batch: Batch,
    /// What a meeting does to optimizer state.
    pub state: Meeting,
    /// Where gradients come from, as it is written: the recipe wraps the workload in it.
    pub estimate: Element,
    /// What the steps are made of.
    pub kind: Kind,
}

/// What silent steps are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Descent, with a proximal term of this weight.
    Descent(f64),
    /// Descent along gradients that control variates correct.
    Scaffold,
    /// Dual coordinate ascent; true leaves σ' out of the curvature.
    Dual(bool),
}

impl Settings {
    /// The local work that they name; `raw` offers gradients.
    pub fn local(&self, raw: bool) -> Box<dyn Local> {
        match self.kind {
            Kind::Descent(prox) => Box::new(Descent::new(self.batch, raw).prox(prox)),
            Kind::Scaffold => Box::new(Scaffold::new(self.batch)),
            Kind::Dual(code) => Box::new(Dual::new(code)),
        }
    }
}

const BATCH: Key = Key {
    name: "batch",
    default: "auto",
    about: "rows per worker and step, full, or poisson(rows): every row by itself; auto takes the task's",
};
const STATE: Key = Key {
    name: "state",
    default: "keep",
    about: "what a meeting does to optimizer state: keep, reset, average; auto: reset for SGD, keep for Adam",
};
const ESTIMATE: Key = Key {
    name: "estimate",
    default: "plain",
    about: "where gradients come from: plain, micro_norms, per_sample, coosge, gausge, svrg, saga",
};

fn settings(args: &Args, kind: Kind) -> Result<Settings> {
    let state = [Meeting::Keep, Meeting::Reset, Meeting::Average];
    let state = state[args.choice("state", &["keep", "reset", "average"])?];
    Ok(Settings { batch: batch(args)?, state, estimate: args.element("estimate")?.clone(), kind })
}

/// Every element of the axis.
pub const ENTRIES: &[&Entry<Settings>] = &[
    &Entry {
        name: "descent",
        about: "steps of the base optimizer on mini-batches",
        keys: &[
            BATCH,
            STATE,
            Key { name: "prox", default: "0", about: "mu of a pull (mu/2)|y - x|^2 to where the steps began" },
            ESTIMATE,
        ],
        build: |args| settings(args, Kind::Descent(args.positive_or_zero("prox")?)),
    },
    &Entry {
        name: "dual",
        about: "coordinate ascent on the dual variables of own rows, one row a step (linear models with l2)",
        keys: &[Key {
            name: "curvature",
            default: "full",
            about: "full: with sigma', which has a guarantee; code: without, as the authors' code of ACPD",
        }],
        build: |args| {
            let kind = Kind::Dual(args.choice("curvature", &["full", "code"])? == 1);
            Ok(Settings { batch: Batch::Rows(1), state: Meeting::Keep, estimate: Element::word("plain"), kind })
        },
    },
    &Entry {
        name: "scaffold",
        about: "the same along gradients that control variates correct for what clients differ in",
        keys: &[BATCH, STATE, ESTIMATE],
        build: |args| settings(args, Kind::Scaffold),
    },
];

/// The most rows of a mini-batch.
const MOST_ROWS: u64 = 1_000_000;

/// A batch that every row is in by itself.
const POISSON: &[&Entry<u64>] = &[&Entry {
    name: "poisson",
    about: "every row by itself, so many on average",
    keys: &[Key { name: "rows", default: "32", about: "rows on average" }],
    build: |args| args.count("rows", 1),
}];

fn batch(args: &Args) -> Result<Batch> {
    let (rows, poisson) = match args.element("batch") {
        Ok(element) if element.name == "poisson" => (grammar::build("local.batch", POISSON, element)?, true),
        Ok(_) => {
            args.choice("batch", &["full"])?;
            return Ok(Batch::Full);
        }
        Err(_) => (args.count("batch", 1)?, false),
    };
    if rows > MOST_ROWS {
        return Err(Error::request(format!(
            "`batch` of `descent` is at most {MOST_ROWS} rows, {rows} came; `full` takes all rows of a worker"
        )));
    }
    Ok(if poisson { Batch::Poisson(rows as usize) } else { Batch::Rows(rows as usize) })
}

/// Builds the settings that an element names.
pub fn build(element: &crate::grammar::Element) -> Result<Settings> {
    grammar::build("local", ENTRIES, element)
}
