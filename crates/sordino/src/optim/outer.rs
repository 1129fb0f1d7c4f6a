//! Outer: what the mean displacement goes through before it moves the model.
//!
//! # What it does
//! Puts momentum or Adam, and a rate, between what was agreed and the model: optimizers over rounds instead of steps.
//!
//! # The step
//! ```text
//! none        x ← x − D
//! momentum    m ← βm + D;  x ← x − rate·m                (nesterov: rate·(D + βm);  per_rate: D/η in, times η out)
//! adam        x ← x − rate·Adam(D)
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
//! Adam corrects its bias, which the federated paper does not.

use super::{Adam, At, Chain, Momentum, PerRate, Transform};
use crate::base::{Result, flat};
use crate::grammar::{self, Element, Entry, Key};

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
