//! Centered clip: every voice pulls the last aggregate towards itself, by at most tau.
//!
//! # What it does
//! Moves the previous aggregate by the mean of clipped differences to it, a few times.
//!
//! # The step
//! ```text
//! v ← aggregate of the last meeting (0 at first)
//! `iterations` times:   v ← v + 1/n · Σ min(1, τ/‖vₖ − v‖)·(vₖ − v)
//! a = v
//! ```
//! # Contract
//! Goes on from its last aggregate, which every rank that aggregates holds and which is part of the checkpoint. A
//! meeting moves v by at most iterations·τ, f liars of n by at most iterations·τ·f/n. So unanimous in is unanimous out
//! only from within reach: where ‖v − vₖ‖ ≤ iterations·τ, else after as many meetings as the way takes. Told the same
//! vectors again and again it settles; while fewer than half lie, the honest majority's pull wins far from them:
//! withstands ⌊(n − 1)/2⌋, and where the honest are within τ of it, f liars leave it τ·f/(n − f) off. Counts every voice
//! alike, whatever its rows. Norms and sums in f64. Not linear.
//!
//! # When it helps, when it hurts
//! What is remembered is what small lies cannot fake round after round, if workers send momenta: run it with momentum
//! 0.9 in the local optimizer. τ has the unit of the payload and must fit the spread of honest vectors: too small and it
//! creeps, too large and it is the mean. It begins at 0: right for gradients and displacements, wrong for parameters.
//! Where workers differ, put `bucketing` before it.
//!
//! # Reference
//! Karimireddy, He, Jaggi: Learning from history for Byzantine robust optimization (2012.10333).
//!
//! # Deviations from the paper
//! The paper's analysis has one iteration and a τ that falls; here both are fixed.

use super::{Aggregator, Gathering, Heard};
use crate::base::{Layout, Result, State, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "centered_clip",
    about: "the last aggregate, pulled towards every worker by at most tau",
    keys: &[
        Key { name: "tau", default: "1", about: "how far one worker may pull, in the unit of the payload" },
        Key { name: "iterations", default: "3", about: "pulls a meeting; the paper takes 1 to 5" },
    ],
    build: |args| Ok(Box::new(CenteredClip::new(args.positive("tau")?, args.count("iterations", 1)?))),
};

/// Clipping around the previous aggregate.
#[derive(Clone, Debug)]
pub struct CenteredClip {
    tau: f64,
    iterations: u64,
    /// The previous aggregate; empty before there is one.
    center: Vec<f32>,
    heard: Heard,
    shares: Vec<f64>,
}

impl CenteredClip {
    /// Pulls by at most `tau` > 0, `iterations` times a meeting.
    pub fn new(tau: f64, iterations: u64) -> Self {
        Self { tau, iterations, center: Vec::new(), heard: Heard::default(), shares: Vec::new() }
    }
}

impl Aggregator for CenteredClip {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.center.resize(gathering.len, 0.0);
        self.heard.begin(gathering);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        self.heard.add(vector);
    }

    fn finish(&mut self, out: &mut [f32]) {
        let each = 1.0 / self.heard.count().max(1) as f64;
        for _ in 0..self.iterations {
            let (tau, center) = (self.tau, &self.center);
            let pull = |v| each * (tau / flat::distance(v, center)).min(1.0);
            self.shares.clear();
            self.shares.extend(self.heard.vectors().map(pull));
            let moved: f64 = self.shares.iter().sum();
            self.heard.combine((1.0 - moved).max(0.0), &self.shares, &mut self.center);
        }
        out.copy_from_slice(&self.center);
    }

    fn withstands(&self, workers: usize) -> usize {
        workers.saturating_sub(1) / 2
    }

    fn remembers(&self) -> bool {
        true
    }

    fn save(&self, state: &mut State) {
        if !self.center.is_empty() {
            state.put("center", &self.center);
        }
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.center.clear();
        if state.vectors.contains_key("center") {
            self.center.resize(layout.len(), 0.0);
            state.take("center", &mut self.center)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Stream, Use};

    fn meet(aggregator: &mut dyn Aggregator, vectors: &[Vec<f32>]) -> Vec<f32> {
        let mut out = vec![0.0; vectors[0].len()];
        aggregator.begin(&Gathering::of(out.len(), vectors.len())).unwrap();
        for v in vectors {
            aggregator.add(v, 1.0);
        }
        aggregator.finish(&mut out);
        out
    }

    #[test]
    fn four_of_twenty_at_100_move_it_by_less_than_one_and_the_mean_by_45() {
        // Standard normals in five dimensions: 4/20 · 100 · √5 = 44.7 is what the liars do to the mean.
        for seed in 0..8 {
            let mut stream = Stream::new(seed, Use::Problem, 0, 0);
            let mut vectors: Vec<Vec<f32>> = (0..16).map(|_| (0..5).map(|_| stream.normal()).collect()).collect();
            let honest = meet(&mut crate::aggregate::Mean::default(), &vectors);
            vectors.extend(vec![vec![100.0; 5]; 4]);
            let mean = meet(&mut crate::aggregate::Mean::default(), &vectors);
            let off = flat::distance(&mean, &honest);
            assert!((off - 44.7).abs() < 1.5, "the mean is off by {off}");
            let mut clip = CenteredClip::new(2.0, 3);
            let settled = (0..20).map(|_| meet(&mut clip, &vectors)).last().unwrap();
            let off = flat::distance(&settled, &honest);
            assert!(off < 1.0, "seed {seed}: off by {off}");
        }
    }

    #[test]
    fn it_goes_three_tau_a_meeting_and_stays_once_it_is_there() {
        let (mut clip, far) = (CenteredClip::new(1.0, 3), vec![vec![8.0, 0.0]; 4]);
        let way: Vec<f32> = (0..4).map(|_| meet(&mut clip, &far)[0]).collect();
        for (at, expected) in way.iter().zip([3.0, 6.0, 8.0, 8.0]) {
            assert!((at - expected).abs() < 1e-5, "{way:?}");
        }
    }
}
