//! Outer: what the mean displacement goes through before it moves the model.
//!
//! # What it does
//! Puts momentum or adaptive moments, and a rate, between what was agreed and the model: optimizers over rounds instead of steps.
//!
//! # The step
//! ```text
//! none        x ← x − D
//! momentum    m ← βm + D;  x ← x − rate·m                (nesterov: rate·(D + βm);  per_rate: D/η in, times η out)
//! adam        x ← x − rate·Adam(D)
//! fedadam     x ← x − rate·m/(√v + τ)            fedyogi: with Yogi's v
//! ```
//! # Contract
//! D is the agreed displacement, in parameter units; η the rate of the round's first step. β = 0 with rate 1 is none.
//!
//! # When it helps, when it hurts
//! Many local steps make small agreed moves in a steady direction, which momentum over rounds speeds up. `per_rate`
//! divides by the rate: a rate that warms up from almost nothing fills its buffer with huge numbers.
//!
//! # Reference
//! FedMom (2002.02090), SlowMo (1910.00643), DiLoCo (2311.08105), adaptive federated optimization (2003.00295).
//!
//! # Deviations from the paper
//! `adam` corrects its bias and starts its second moment at 0; `fedadam` and `fedyogi` are the federated paper's.

use super::{Adam, At, Chain, FedOpt, Momentum, PerRate, SecondMoment, Transform};
use crate::base::{Result, flat};
use crate::grammar::{self, Args, Element, Entry, Key};

/// Multiplies by a constant: an outer learning rate.
struct Scale(f32);

impl Transform for Scale {
    fn apply(&mut self, _: &At, update: &mut [f32]) {
        if self.0 != 1.0 {
            flat::scale(update, self.0);
        }
    }
}

const RATE: Key = Key { name: "rate", default: "1", about: "outer learning rate" };

const ADAPTIVE: &[Key] = &[
    Key { name: "rate", default: "0.01", about: "outer learning rate; the paper tries powers of the root of 10" },
    Key { name: "beta1", default: "0.9", about: "decay of the first moment; the paper" },
    Key { name: "beta2", default: "0.99", about: "decay of the second moment; the paper" },
    Key { name: "tau", default: "1e-3", about: "adaptivity, added to the root; its square is the first second moment" },
];

fn adaptive(args: &Args, kind: SecondMoment) -> Result<Chain> {
    let moments = FedOpt::new(kind, args.fraction("beta1")?, args.fraction("beta2")?, args.positive("tau")?);
    Ok(Chain::new(vec![Box::new(moments), Box::new(Scale(args.positive("rate")? as f32))]))
}

/// Every element of the axis `outer`.
pub const OUTER: &[&Entry<Chain>] = &[
    &Entry {
        name: "adam",
        about: "Adam on the mean displacement",
        keys: &[
            RATE,
            Key { name: "beta1", default: "0.9", about: "decay of the first moment" },
            Key { name: "beta2", default: "0.99", about: "decay of the second moment" },
            Key { name: "eps", default: "1e-3", about: "adaptivity, added to the root" },
        ],
        build: |args| {
            let adam = Adam::new(args.fraction("beta1")?, args.fraction("beta2")?, args.positive("eps")?);
            Ok(Chain::new(vec![Box::new(adam), Box::new(Scale(args.positive("rate")? as f32))]))
        },
    },
    &Entry {
        name: "fedadam",
        about: "FedAdam on the mean displacement: no bias correction, the second moment starts at tau squared",
        keys: ADAPTIVE,
        build: |args| adaptive(args, SecondMoment::Adam),
    },
    &Entry {
        name: "fedyogi",
        about: "FedYogi on the mean displacement: a second moment that moves by bounded steps",
        keys: ADAPTIVE,
        build: |args| adaptive(args, SecondMoment::Yogi),
    },
    &Entry {
        name: "momentum",
        about: "momentum over rounds; nesterov=true is FedMom and DiLoCo, per_rate=true is SlowMo",
        keys: &[
            Key { name: "beta", default: "0.9", about: "momentum factor; 0 is plain averaging" },
            Key { name: "nesterov", default: "false", about: "step along D + beta m" },
            RATE,
            Key {
                name: "per_rate",
                default: "false",
                about: "keep the buffer in gradient units: D is divided by the round's rate",
            },
        ],
        build: |args| {
            let mut links: Vec<Box<dyn Transform>> = Vec::new();
            links.extend(Momentum::link(args.fraction("beta")?, args.flag("nesterov")?));
            let chain = Chain::new(links);
            let inner: Box<dyn Transform> = match (chain.is_empty(), args.flag("per_rate")?) {
                (false, true) => Box::new(PerRate(chain)),
                _ => Box::new(chain),
            };
            Ok(Chain::new(vec![inner, Box::new(Scale(args.positive("rate")? as f32))]))
        },
    },
    &Entry {
        name: "none",
        about: "the mean displacement moves the model as it is",
        keys: &[],
        build: |_| Ok(Chain::default()),
    },
];

/// Builds the outer chain that an element names.
pub fn build_outer(element: &Element) -> Result<Chain> {
    grammar::build("outer", OUTER, element)
}
