//! What one step does to an update. Optimizers, local or outer, are chains of [`Transform`]s.

mod adam;
mod anneal;
mod decay;
mod fedopt;
mod layerwise;
mod max_norm;
mod mixed_clip;
mod momentum;
mod outer;
mod prox;
mod rate;

pub use adam::Adam;
pub use anneal::{Anneal, CURVES, Curve};
pub use decay::Decay;
pub use fedopt::{FedOpt, SecondMoment};
pub use layerwise::{Layerwise, MICRO_NORMS, Scaling};
pub use max_norm::MaxNorm;
pub use mixed_clip::{Form, MixedClip};
pub use momentum::Momentum;
pub use outer::{OUTER, build_outer};
pub use prox::{PROXES, Prox, Proximal};
pub use rate::{PerRate, Rate};

use std::cell::Cell;

use crate::base::{Aside, Error, Former, Layout, Result, State, flat};
use crate::grammar::{self, Args, Element, Entry, Key};

/// Where an update is being made.
pub struct At<'a> {
    /// The parameters that the gradient was taken at.
    pub parameters: &'a [f32],
    /// The raw gradient (for an outer chain: what was agreed).
    pub gradient: &'a [f32],
    /// The rate of this step, after annealing, before any clipping.
    pub rate: f64,
    /// The step, from 0.
    pub step: u64,
    /// The tensors.
    pub layout: &'a Layout,
    /// What came with the gradient (for an outer chain: what was agreed beside the update).
    pub asides: &'a [Aside],
    norm: Cell<Option<f64>>,
}

impl<'a> At<'a> {
    /// A place: parameters, raw gradient, rate, step and layout.
    pub fn new(parameters: &'a [f32], gradient: &'a [f32], rate: f64, step: u64, layout: &'a Layout) -> Self {
        Self { parameters, gradient, rate, step, layout, asides: &[], norm: Cell::new(None) }
    }

    /// The same place with what came beside the gradient.
    #[must_use]
    pub fn beside(mut self, asides: &'a [Aside]) -> Self {
        self.asides = asides;
        self
    }

    /// The aside of that name, if it came.
    pub fn aside(&self, name: &str) -> Option<&'a [f32]> {
        self.asides.iter().find(|a| a.name == name).map(|a| &a.values[..])
    }

    /// ‖g‖₂ of the raw gradient over all parameters, computed once when somebody asks.
    pub fn gradient_norm(&self) -> f64 {
        self.norm.get().unwrap_or_else(|| {
            let norm = flat::norm(self.gradient);
            self.norm.set(Some(norm));
            norm
        })
    }
}

/// Rewrites an update in place.
///
/// # Contract
/// `update` has one entry per parameter; what it becomes is *subtracted* from the parameters at the end of the chain.
/// Fresh state means no history. Saving and loading state continues bit for bit.
pub trait Transform: Send {
    /// Rewrites `update`.
    fn apply(&mut self, at: &At, update: &mut [f32]);

    /// The aside without which it is not what its name says.
    fn needs(&self) -> Option<&'static str> {
        None
    }

    /// The moment vectors, for a meeting that resets or averages them.
    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        Vec::new()
    }

    /// Forgets all history, as if fresh.
    fn reset(&mut self) {
        for moment in self.moments() {
            moment.fill(0.0);
        }
    }

    /// How many steps were shortened by clipping since the last call.
    fn clipped_steps(&mut self) -> u64 {
        0
    }

    /// Puts what is remembered into `state`.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// What every rank of a run with another number of ranks takes back: the mean of vectors; numbers are the same on all.
    fn deal(&self, former: &Former) -> Result<State> {
        former.means()
    }
}

/// Transforms applied one after another.
#[derive(Default)]
pub struct Chain(Vec<Box<dyn Transform>>);

impl Chain {
    /// A chain of the given links, first applied first.
    pub fn new(links: Vec<Box<dyn Transform>>) -> Self {
        Self(links)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Transform for Chain {
    fn apply(&mut self, at: &At, update: &mut [f32]) {
        for link in &mut self.0 {
            link.apply(at, update);
        }
    }

    fn needs(&self) -> Option<&'static str> {
        self.0.iter().find_map(|link| link.needs())
    }

    fn moments(&mut self) -> Vec<&mut Vec<f32>> {
        self.0.iter_mut().flat_map(|link| link.moments()).collect()
    }

    fn reset(&mut self) {
        for link in &mut self.0 {
            link.reset();
        }
    }

    fn clipped_steps(&mut self) -> u64 {
        self.0.iter_mut().map(|link| link.clipped_steps()).sum()
    }

    fn save(&self, state: &mut State) {
        for (i, link) in self.0.iter().enumerate() {
            let mut inner = State::default();
            link.save(&mut inner);
            state.put_all(&i.to_string(), inner);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        for (i, link) in self.0.iter_mut().enumerate() {
            link.load(&state.part(&i.to_string()), layout)?;
        }
        Ok(())
    }

    fn deal(&self, former: &Former) -> Result<State> {
        let mut state = State::default();
        for (i, link) in self.0.iter().enumerate() {
            state.put_all(&i.to_string(), link.deal(&former.part(&i.to_string()))?);
        }
        Ok(state)
    }
}

/// A base optimizer: its peak rate with annealing, and the chain it makes.
pub struct Optimizer {
    /// The rate over time.
    pub anneal: Anneal,
    /// What a step does to a raw gradient.
    pub chain: Chain,
}

const RATE: Key = Key { name: "rate", default: "auto", about: "peak learning rate; auto takes the task's" };
const CLIP: Key = Key {
    name: "clip",
    default: "none",
    about: "CELGC's gamma: a step is no longer than gamma (times momentum's growth); anneals with the rate",
};
const MAX_NORM: Key =
    Key { name: "max_norm", default: "none", about: "rescales the gradient to at most this norm before anything else" };
const SCHEDULE: Key = Key {
    name: "schedule",
    default: "auto",
    about: "rate over time: constant, step, cosine, linear, each with warmup; auto takes the task's",
};

/// Every element of the axis `optim`.
pub const ENTRIES: &[&Entry<Optimizer>] = &[
    &Entry {
        name: "adam",
        about: "Adam with bias correction; decay is added to the gradient",
        keys: &[RATE, BETA1, BETA2, EPS, DECAY, CLIP, MAX_NORM, SCHEDULE],
        build: |args| {
            let adam = Adam::new(args.fraction("beta1")?, args.fraction("beta2")?, args.positive("eps")?);
            optimizer(args, vec![Decay::link(args)?, Some(Box::new(adam))])
        },
    },
    &Entry {
        name: "adamw",
        about: "Adam with bias correction and decoupled weight decay",
        keys: &[RATE, BETA1, BETA2, EPS, DECAY_W, CLIP, MAX_NORM, SCHEDULE],
        build: |args| {
            let adam = Adam::new(args.fraction("beta1")?, args.fraction("beta2")?, args.positive("eps")?);
            optimizer(args, vec![Some(Box::new(adam)), Decay::link(args)?])
        },
    },
    &Entry {
        name: "clars",
        about: "LARS by the mean of the norms of micro-batch gradients: shorter steps where they disagree",
        keys: &[
            RATE,
            MOMENTUM,
            Key { name: "trust", default: "0.01", about: "step per norm of the tensor; the authors' code" },
            Key { name: "cap", default: "0.1", about: "largest scale of a tensor; the authors' code" },
            DECAY,
            EPS_NORM,
            CLIP,
            MAX_NORM,
            SCHEDULE,
        ],
        build: |args| {
            let cap = args.positive("cap")?;
            layerwise(args, Scaling::Clars { trust: args.positive("trust")?, eps: args.positive("eps")?, cap })
        },
    },
    &Entry {
        name: "lamb",
        about: "Adam whose step on each tensor is as long as the rate times the tensor's norm",
        keys: &[
            RATE,
            BETA1,
            BETA2,
            Key { name: "eps", default: "1e-6", about: "added to the root of the second moment" },
            Key { name: "decay", default: "0.01", about: "weight decay in the direction; weights only" },
            CLIP,
            MAX_NORM,
            SCHEDULE,
        ],
        build: |args| {
            let adam = Adam::new(args.fraction("beta1")?, args.fraction("beta2")?, args.positive("eps")?);
            let direction = [Some(Box::new(adam) as Box<dyn Transform>), Decay::on_weights(args)?];
            let inner = Chain::new(direction.into_iter().flatten().collect());
            optimizer(args, vec![Some(Box::new(Layerwise::new(Scaling::Lamb, inner)))])
        },
    },
    &Entry {
        name: "lars",
        about: "momentum whose step on each tensor is scaled by the tensor's norm over its gradient's",
        keys: &[
            RATE,
            MOMENTUM,
            Key { name: "trust", default: "0.001", about: "step per norm of the tensor; the paper" },
            DECAY,
            EPS_NORM,
            CLIP,
            MAX_NORM,
            SCHEDULE,
        ],
        build: |args| layerwise(args, Scaling::Lars { trust: args.positive("trust")?, eps: args.positive("eps")? }),
    },
    &Entry {
        name: "mixclip",
        about: "mixes clipped momentum and clipped gradient; nu=0 is gradient clipping, nu=1 momentum clipping",
        keys: &[
            RATE,
            Key { name: "nu", default: "0.7", about: "the momentum's share, 0 to 1; the paper" },
            Key { name: "beta", default: "0.999", about: "decay of m = beta m + (1 - beta) g; the paper" },
            Key {
                name: "gamma",
                default: "1",
                about: "a step is no longer; anneals with the rate; auto takes the task's threshold times the rate",
            },
            Key { name: "form", default: "soft", about: "soft: u/(1 + |u|rate/gamma); hard: min(1, gamma/(rate|u|))u" },
            DECAY,
            SCHEDULE,
        ],
        build: |args| {
            let anneal = annealed(args)?;
            let nu = args.positive_or_zero("nu")?;
            if nu > 1.0 {
                return Err(Error::request(format!("`nu` of `mixclip` must be at most 1, but `{nu}` came")));
            }
            let form = [Form::Soft, Form::Hard][args.choice("form", &["soft", "hard"])?];
            // gamma and the rate anneal together, so the threshold on norms never moves.
            let threshold = args.positive("gamma")? / anneal.peak();
            let clip = MixedClip::new(nu, args.fraction("beta")?, threshold, form);
            let links = Decay::link(args)?.into_iter().chain([Box::new(clip) as _, Box::new(Rate::new(None)) as _]);
            Ok(Optimizer { anneal, chain: Chain::new(links.collect()) })
        },
    },
    &Entry {
        name: "sgd",
        about: "stochastic gradient descent, with momentum in PyTorch's form",
        keys: &[
            RATE,
            Key { name: "momentum", default: "auto", about: "mu of m = mu m + g; auto takes the task's" },
            Key { name: "nesterov", default: "false", about: "step along g + mu m" },
            DECAY,
            CLIP,
            MAX_NORM,
            SCHEDULE,
            Key {
                name: "prox",
                default: "none",
                about: "a penalty with a closed form that ends a step: none, l1, group, box",
            },
        ],
        build: |args| {
            let momentum = Momentum::link(args.fraction("momentum")?, args.flag("nesterov")?);
            let mut optimizer = optimizer(args, vec![Decay::link(args)?, momentum])?;
            if let Some(prox) = prox::build(args.element("prox")?)? {
                optimizer.chain.0.push(Box::new(Proximal::new(prox)));
            }
            Ok(optimizer)
        },
    },
];

const BETA1: Key = Key { name: "beta1", default: "0.9", about: "decay of the first moment" };
const BETA2: Key = Key { name: "beta2", default: "0.999", about: "decay of the second moment" };
const EPS: Key = Key { name: "eps", default: "1e-8", about: "added to the root of the second moment" };
const EPS_NORM: Key = Key { name: "eps", default: "1e-6", about: "added to gradients' norms; the authors' code" };
const MOMENTUM: Key = Key { name: "momentum", default: "0.9", about: "mu of m = mu m + g" };
const DECAY: Key = Key { name: "decay", default: "0", about: "weight decay, added to the gradient as decay times x" };
const DECAY_W: Key = Key { name: "decay", default: "0.01", about: "decoupled weight decay" };

/// The rate over time that an optimizer asks for.
fn annealed(args: &Args) -> Result<Anneal> {
    Ok(Anneal::new(args.positive_or_zero("rate")?, anneal::build(args.element("schedule")?)?))
}

/// Decay, and momentum scaled per tensor.
fn layerwise(args: &Args, scaling: Scaling) -> Result<Optimizer> {
    let momentum = Momentum::link(args.fraction("momentum")?, false);
    let scaled = Layerwise::new(scaling, Chain::new(momentum.into_iter().collect()));
    optimizer(args, vec![Decay::link(args)?, Some(Box::new(scaled))])
}

/// Puts the parts every optimizer has around its own.
fn optimizer(args: &Args, own: Vec<Option<Box<dyn Transform>>>) -> Result<Optimizer> {
    let anneal = annealed(args)?;
    let mut links: Vec<Box<dyn Transform>> = Vec::new();
    if let Some(norm) = args.optional("max_norm")? {
        links.push(Box::new(MaxNorm::new(norm)));
    }
    links.extend(own.into_iter().flatten());
    // gamma and the rate anneal together, so the threshold on the gradient's norm never moves.
    let threshold = args.optional("clip")?.map(|gamma| gamma / anneal.peak());
    links.push(Box::new(Rate::new(threshold)));
    Ok(Optimizer { anneal, chain: Chain::new(links) })
}

/// Builds the base optimizer that an element names.
pub fn build(element: &Element) -> Result<Optimizer> {
    grammar::build("optim", ENTRIES, element)
}

#[cfg(test)]
mod tests;
