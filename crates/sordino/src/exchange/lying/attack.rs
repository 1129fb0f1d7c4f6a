//! The attacks, and what they have to know of the honest.

use super::hidden::hidden;
use crate::base::{Result, Stream};
use crate::grammar::{self, Element, Entry, Key};

/// Every attack, in alphabetical order.
pub const ENTRIES: &[&Entry<Attack>] = &[
    &Entry {
        name: "alie",
        about: "the honest mean less z standard deviations, entry by entry (a little is enough)",
        keys: &[Key { name: "z", default: "auto", about: "auto: the largest that hides among the honest" }],
        build: |args| {
            let auto = args.word("z").is_ok_and(|word| word == "auto");
            Ok(Attack::Alie { z: if auto { None } else { Some(args.number("z")?) } })
        },
    },
    &Entry {
        name: "inner_product",
        about: "the honest mean times -epsilon (inner product manipulation)",
        keys: &[Key { name: "epsilon", default: "0.5", about: "how much of the honest mean to turn around" }],
        build: |args| Ok(Attack::InnerProduct { epsilon: args.positive_or_zero("epsilon")? }),
    },
    &Entry {
        name: "random",
        about: "normal noise as long as honest vectors are",
        keys: &[Key { name: "deviation", default: "1", about: "its length over that of an honest vector" }],
        build: |args| Ok(Attack::Random { deviation: args.positive_or_zero("deviation")? }),
    },
    &Entry {
        name: "sign_flip",
        about: "the opposite of what the liar found",
        keys: &[Key { name: "scale", default: "1", about: "how many times the opposite" }],
        build: |args| Ok(Attack::SignFlip { scale: args.positive_or_zero("scale")? }),
    },
];

/// The attack that an element names.
pub fn build(element: &Element) -> Result<Attack> {
    grammar::build("attack", ENTRIES, element)
}

/// What liars do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attack {
    /// The honest mean less some standard deviations.
    Alie {
        /// How many; `None` for as many as hide among the honest.
        z: Option<f64>,
    },
    /// The honest mean turned around.
    InnerProduct {
        /// By this factor.
        epsilon: f64,
    },
    /// Normal noise.
    Random {
        /// Its length over that of an honest vector.
        deviation: f64,
    },
    /// The opposite of what was found.
    SignFlip {
        /// This many times.
        scale: f64,
    },
}

impl Attack {
    /// Whether a liar has to know what the honest say.
    pub(super) fn listens(self) -> bool {
        !matches!(self, Self::SignFlip { .. })
    }

    /// What the liars of a round are told: the lie itself, or how long it should be.
    pub(super) fn plan(self, honest: &Honest, voices: usize, out: &mut [f32]) {
        let count = honest.count.max(1) as f64;
        match self {
            Self::Alie { z } => {
                let z = z.unwrap_or_else(|| hidden(voices, voices - honest.count));
                for ((o, mean), gaps) in out.iter_mut().zip(&honest.mean).zip(&honest.gaps) {
                    *o = (mean - z * libm::sqrt(gaps / count)) as f32;
                }
            }
            Self::InnerProduct { epsilon } => {
                out.iter_mut().zip(&honest.mean).for_each(|(o, mean)| *o = (-epsilon * mean) as f32);
            }
            Self::Random { deviation } => {
                let squares = honest.mean.iter().zip(&honest.gaps).map(|(mean, gaps)| mean * mean + gaps / count);
                let each = squares.sum::<f64>() / honest.mean.len().max(1) as f64;
                out.fill((deviation * libm::sqrt(each)) as f32);
            }
            Self::SignFlip { .. } => {}
        }
    }

    /// What a liar gives in place of what it found, once it was told the plan.
    pub(super) fn lie(self, plan: &[f32], mut stream: Stream, given: &mut [f32]) {
        match self {
            Self::Alie { .. } | Self::InnerProduct { .. } => given.copy_from_slice(plan),
            Self::Random { .. } => {
                let deviation = plan.first().copied().unwrap_or_default();
                for v in given {
                    *v = deviation * stream.normal();
                }
            }
            Self::SignFlip { scale } => given.iter_mut().for_each(|v| *v *= -(scale as f32)),
        }
    }

    /// How long the plan is for vectors of `len` entries.
    pub(super) fn plan_len(self, len: usize) -> usize {
        if matches!(self, Self::Random { .. }) { 1 } else { len }
    }
}

/// What the honest said in a round: mean and sum of squared gaps to it, by entries (Welford).
#[derive(Default)]
pub struct Honest {
    count: usize,
    mean: Vec<f64>,
    gaps: Vec<f64>,
}

impl Honest {
    /// Forgets what was said.
    pub fn begin(&mut self, len: usize) {
        self.count = 0;
        for list in [&mut self.mean, &mut self.gaps] {
            list.clear();
            list.resize(len, 0.0);
        }
    }

    /// One more honest vector.
    pub fn add(&mut self, vector: &[f32]) {
        self.count += 1;
        for ((mean, gaps), v) in self.mean.iter_mut().zip(&mut self.gaps).zip(vector) {
            let gap = f64::from(*v) - *mean;
            *mean += gap / self.count as f64;
            *gaps += gap * (f64::from(*v) - *mean);
        }
    }
}
