//! How old a word may be: what a server that serves whoever comes does with words about models that have moved on.
//!
//! # What it does
//! Where a server serves whoever comes, gives every word a weight by its delay: the server's updates since the worker was
//! given the model it worked from. In rounds of everybody, says how many local steps a round's words may travel for.
//!
//! # The step
//! ```text
//! fresh            1 where τ = 0, else 0: late words are dropped
//! any              1
//! bounded(T)       1, and the server waits for everybody in every T-th update, so that τ < T
//! delay_adaptive   1 where τ ≤ N, else 1/τ                  N: workers at work at the same time
//! distance(D)      1 where ‖x_t − x_{t−τ}‖ ≤ D, else 0
//! discount(p)      (1 + τ)^(−p)
//!
//! delayed(τ), rounds of everybody, H_r steps each:
//!   D_r ← the steps of round r, the first min(τ, H_r) of them made from where round r − 1 had led its worker
//!   then  x ← x − outer(agree(D_{r−1}))  and the rest of the steps from  x − (those made already)
//! ```
//! # Contract
//! A word's weight multiplies what it says before words are aggregated; a word of weight 0 is left out, an update in
//! which all words are left out changes nothing and counts. In rounds of everybody no word is late but under `delayed`:
//! `fresh` is the neutral element there, and `delayed(0)` is `fresh` bit for bit. `delayed` keeps every local step: a round
//! says what its own steps add up to, whichever point they were made from. Agreement is taken in after exactly so many
//! steps, or at the end of a shorter round, whatever came first, so that no number depends on arrivals. There the round
//! ends: a run is looked at, stopped and saved with no word on its way and some steps of the next round made. The last
//! round of a run waits. Of raw gradients, one a round, each is of the model one update ago. Norms are taken in f64 over
//! all parameters; where workers are told in a code, `x_{t−τ}` is the model that the worker had, with what the code left
//! untold.
//!
//! # When it helps, when it hurts
//! `delay_adaptive` keeps the rate that is safe for prompt words however slow the slowest worker is. `distance` keeps a
//! slow worker's word where the model has not moved, at the price of one copy of the model a worker on the server. To drop
//! words biases the model towards the data of the fast. `delayed` hides an exchange that takes no longer than τ steps, at
//! the price of gradients at points that lack what the others found in one round more; a rate that is near the limit of
//! stability must be lowered. What is said at the end of a meeting, buffers and moments, is waited for all the same.
//!
//! # Reference
//! `delay_adaptive`: Koloskova, Stich, Jaggi (2206.08307), with η/τ beyond the threshold. `distance`: Cohen et al.: Picky
//! SGD (2106.11879), whose D is ε/(2β). `discount`: Nguyen et al.: `FedBuff` (2106.06639), p = 1/2. `bounded`: Huo, Huang:
//! ACPD (1910.04235). `fresh`: backup workers, Chen et al. (1604.00981). `delayed`: Zhou et al.: DaSGD (2006.00441); Zhu et
//! al.: delayed gradient averaging (NeurIPS 2021); for gradients Li et al.: Pipe-SGD (1811.03619).
//!
//! # Deviations from the paper
//! Koloskova et al. ask for a rate below 1/(4Lτ) beyond the threshold, which η/τ is only where η ≤ 1/(4L). What
//! was agreed on late is never mixed with a worker's own model: it takes the place of its words, the steps since on top.

use crate::base::{Error, Result};
use crate::grammar::{self, Element, Entry, Key};

/// How old a word may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Staleness {
    /// Only words about the model as it is. The neutral element.
    Fresh,
    /// However old.
    Any,
    /// However old, with everybody waited for in every so many updates.
    Bounded(u64),
    /// At a lower rate, if more updates late than workers are at work.
    DelayAdaptive,
    /// If the model has not moved further than that.
    Distance(f64),
    /// At a weight that falls with this power of the delay.
    Discount(f64),
    /// In rounds of everybody: this many local steps late.
    Delayed(u64),
}

impl Staleness {
    /// The weight of a word that is `delay` updates late, where `workers` are at work and the model has moved by what
    /// `moved` says.
    pub fn weight(self, delay: u64, workers: usize, moved: impl FnOnce() -> f64) -> f64 {
        let kept = |keep: bool| if keep { 1.0 } else { 0.0 };
        match self {
            Self::Fresh | Self::Delayed(_) => kept(delay == 0),
            Self::Any | Self::Bounded(_) => 1.0,
            Self::DelayAdaptive if delay <= workers as u64 => 1.0,
            Self::DelayAdaptive => 1.0 / delay as f64,
            Self::Distance(most) => kept(delay == 0 || moved() <= most),
            Self::Discount(power) => libm::pow(1.0 + delay as f64, -power),
        }
    }

    /// Whether everybody is waited for in an update, counted from 0.
    pub fn gathers(self, update: u64) -> bool {
        matches!(self, Self::Bounded(every) if (update + 1).is_multiple_of(every))
    }

    /// How many local steps the words of a round of everybody may travel for.
    pub fn delay(self) -> u64 {
        if let Self::Delayed(steps) = self { steps } else { 0 }
    }

    /// Whether the server must remember what model each worker was given.
    pub fn looks_back(self) -> bool {
        matches!(self, Self::Distance(_))
    }
}

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Staleness>] = &[
    &Entry { name: "any", about: "words of any age count alike", keys: &[], build: |_| Ok(Staleness::Any) },
    &Entry {
        name: "bounded",
        about: "nothing is dropped; in every T-th update everybody is waited for",
        keys: &[Key { name: "every", default: "20", about: "T, in updates of the server" }],
        build: |args| Ok(Staleness::Bounded(args.count("every", 1)?)),
    },
    &Entry {
        name: "delay_adaptive",
        about: "words later than there are workers count one over their delay",
        keys: &[],
        build: |_| Ok(Staleness::DelayAdaptive),
    },
    &Entry {
        name: "delayed",
        about: "in rounds of everybody: so many local steps late, which are made while words travel",
        keys: &[Key { name: "steps", default: "1", about: "tau, local steps; 0 waits" }],
        build: |args| Ok(Staleness::Delayed(args.count("steps", 0)?)),
    },
    &Entry {
        name: "discount",
        about: "words count (1 + delay)^(-power)",
        keys: &[Key { name: "power", default: "0.5", about: "of one plus the delay" }],
        build: |args| Ok(Staleness::Discount(args.positive_or_zero("power")?)),
    },
    &Entry {
        name: "distance",
        about: "words count where the model has moved no further than a threshold since",
        keys: &[Key { name: "threshold", default: "auto", about: "distance; auto: what eight steps of the task go" }],
        build: |args| match args.positive_or_zero("threshold") {
            Ok(threshold) => Ok(Staleness::Distance(threshold)),
            Err(e) => Err(Error::request(format!("{e}; `auto` is resolved before a recipe is built"))),
        },
    },
    &Entry { name: "fresh", about: "only words of this round", keys: &[], build: |_| Ok(Staleness::Fresh) },
];

/// Builds the staleness that an element names.
pub fn build(element: &Element) -> Result<Staleness> {
    grammar::build("staleness", ENTRIES, element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_papers() {
        let weight = |rule: Staleness, delay| rule.weight(delay, 4, || delay as f64 * 0.5);
        assert_eq!([0, 1].map(|d| weight(Staleness::Fresh, d)), [1.0, 0.0]);
        assert_eq!([0, 4, 5, 8].map(|d| weight(Staleness::DelayAdaptive, d)), [1.0, 1.0, 0.2, 0.125]);
        assert_eq!([0, 3, 4, 90].map(|d| weight(Staleness::Distance(1.5), d)), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!([0, 3, 99].map(|d| weight(Staleness::Discount(0.5), d)), [1.0, 0.5, 0.1]);
        assert_eq!(weight(Staleness::Any, 1000), 1.0);
        assert_eq!(
            (0..6).map(|u| Staleness::Bounded(3).gathers(u)).collect::<Vec<_>>(),
            [false, false, true, false, false, true]
        );
        assert!(!Staleness::Any.gathers(0) && Staleness::Bounded(1).gathers(0));
    }
}
