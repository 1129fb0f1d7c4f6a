//! Anneal: the learning rate over time.
//!
//! # What it does
//! Gives the rate of every step from the peak rate, a curve and a warm-up.
//!
//! # The step
//! ```text
//! t < W      η = η_min + t(η_max − η_min)/W                       (the first step runs at η_min)
//! cosine     η = η_min + ½(η_max − η_min)(1 + cos(π(t − W)/(S − W)))
//! linear     η = η_min + (S − t)/(S − W)·(η_max − η_min)
//! step       η = η_max·factor^(how many of the marks have passed)
//! ```
//! # Contract
//! t counts from 0, S is the run's number of steps, W the warm-up. `floor` is η_min as an absolute rate. Warm-up and
//! marks below 1 are shares of S, from 1 on numbers of steps. Without a known S, cosine and linear stay at the peak.
//!
//! # When it helps, when it hurts
//! QSR lives off it: without annealing its intervals never grow.
//!
//! # Reference
//! The schedules of the authors' code of QSR (2310.14423).
//!
//! # Deviations from the paper
//! None.

use crate::base::Result;
use crate::grammar::{self, Args, Element, Entry, Key};

/// The shape of the rate after warm-up.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant,
    Cosine,
    Linear,
    Step { factor: f64, marks: Vec<f64> },
}

/// A curve of the rate: a shape, a warm-up and a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    shape: Shape,
    warmup: f64,
    floor: f64,
}

const WARMUP: Key = Key { name: "warmup", default: "0", about: "warm-up: below 1 a share of the steps, else steps" };
const FLOOR: Key =
    Key { name: "floor", default: "1e-6", about: "lowest rate, where warm-up begins and the curve ends" };

fn curve(args: &Args, shape: Shape) -> Result<Curve> {
    Ok(Curve { shape, warmup: args.positive_or_zero("warmup")?, floor: args.positive_or_zero("floor")? })
}

/// Every curve.
pub const CURVES: &[&Entry<Curve>] = &[
    &Entry {
        name: "constant",
        about: "the peak rate throughout",
        keys: &[WARMUP, FLOOR],
        build: |args| curve(args, Shape::Constant),
    },
    &Entry {
        name: "cosine",
        about: "half a cosine from the peak to the floor",
        keys: &[WARMUP, FLOOR],
        build: |args| curve(args, Shape::Cosine),
    },
    &Entry {
        name: "linear",
        about: "a straight line from the peak to the floor",
        keys: &[WARMUP, FLOOR],
        build: |args| curve(args, Shape::Linear),
    },
    &Entry {
        name: "step",
        about: "drops by a factor at up to three marks",
        keys: &[
            Key { name: "factor", default: "0.1", about: "what a drop multiplies the rate by" },
            Key { name: "at", default: "0.5", about: "first mark: below 1 a share of the steps, else a step" },
            Key { name: "then", default: "0.75", about: "second mark; 1 or more steps, or a share; 0 for none" },
            Key { name: "last", default: "0", about: "third mark; 0 for none" },
            WARMUP,
            FLOOR,
        ],
        build: |args| {
            let marks = ["at", "then", "last"].iter().map(|k| args.positive_or_zero(k)).collect::<Result<Vec<_>>>()?;
            let marks = marks.into_iter().filter(|m| *m > 0.0).collect();
            curve(args, Shape::Step { factor: args.share("factor")?, marks })
        },
    },
];

/// Builds the curve that an element names.
pub fn build(element: &Element) -> Result<Curve> {
    grammar::build("optim.schedule", CURVES, element)
}

/// The rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Anneal {
    peak: f64,
    curve: Curve,
    steps: Option<u64>,
}

impl Anneal {
    /// From a peak rate along a curve.
    pub fn new(peak: f64, curve: Curve) -> Self {
        Self { peak, curve, steps: None }
    }

    /// The peak rate.
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// Tells how many steps the run will have.
    pub fn over(&mut self, steps: Option<u64>) {
        self.steps = steps;
    }

    /// Steps of warm-up.
    pub fn warmup(&self) -> u64 {
        self.mark(self.curve.warmup)
    }

    fn mark(&self, at: f64) -> u64 {
        if at >= 1.0 { at as u64 } else { (at * self.steps.unwrap_or(0) as f64) as u64 }
    }

    /// The rate of step `t`.
    pub fn rate(&self, t: u64) -> f64 {
        let (warmup, floor) = (self.warmup(), self.curve.floor.min(self.peak));
        if t < warmup {
            return floor + t as f64 * (self.peak - floor) / warmup as f64;
        }
        let span = self.steps.unwrap_or(0).saturating_sub(warmup) as f64;
        let done = if span > 0.0 { ((t - warmup) as f64 / span).min(1.0) } else { 0.0 };
        match &self.curve.shape {
            Shape::Constant => self.peak,
            Shape::Cosine => floor + 0.5 * (self.peak - floor) * (1.0 + libm::cos(std::f64::consts::PI * done)),
            Shape::Linear => floor + (1.0 - done) * (self.peak - floor),
            Shape::Step { factor, marks } => {
                let passed = marks.iter().filter(|m| t >= self.mark(**m)).count();
                self.peak * libm::pow(*factor, passed as f64)
            }
        }
    }
}
