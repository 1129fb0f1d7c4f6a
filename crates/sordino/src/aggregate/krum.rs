//! Krum: the voice with the closest company, or the mean of a few such.
//!
//! # What it does
//! Scores every vector by its distances to those nearest to it and keeps the vectors of lowest score.
//!
//! # The step
//! ```text
//! scoreₖ = Σ of the n − f − 2 smallest ‖vₖ − vᵢ‖², i ≠ k            f = liars
//! a = mean of the `best` vectors of lowest score                    1: Krum; more: Multi-Krum
//! ```
//! # Contract
//! Needs n ≥ 2f + 3 voices and best ≤ n − f, and refuses fewer. Withstands f liars then. Ties go to the lower index, so
//! among equals order matters. Distances and means in f64. Counts every voice alike, whatever its rows. Not linear.
//! O(n²d) work, O(nd) memory.
//!
//! # When it helps, when it hurts
//! What it returns is one that somebody sent, or a mean of such, never a mixture of liars and honest by entries. Plain
//! Krum throws all averaging away; `best` near n − f takes most of it back. Where workers differ, it prefers those in
//! the middle and never hears those at the edge. Lies that stay within the spread (`alie`) pass it.
//!
//! # Reference
//! Blanchard, El Mhamdi, Guerraoui, Stainer: Machine learning with adversaries (1703.02757).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Heard};
use crate::base::{Error, Result, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "krum",
    about: "the worker with the closest company (Krum), or the mean of the few best of these (Multi-Krum)",
    keys: &[
        Key { name: "liars", default: "1", about: "how many may lie; needs 2·liars + 3 workers" },
        Key { name: "best", default: "1", about: "how many of lowest score to average, at most all but the liars" },
    ],
    build: |args| Ok(Box::new(Krum::new(args.count("liars", 0)? as usize, args.count("best", 1)? as usize))),
};

/// Krum and Multi-Krum.
#[derive(Clone, Debug)]
pub struct Krum {
    liars: usize,
    best: usize,
    heard: Heard,
    /// ‖vₖ − vᵢ‖², row by row.
    gaps: Vec<f64>,
}

impl Krum {
    /// Against `liars`, averaging the `best` ≥ 1.
    pub fn new(liars: usize, best: usize) -> Self {
        Self { liars, best, heard: Heard::default(), gaps: Vec::new() }
    }

    fn works_with(&self, workers: usize) -> bool {
        workers >= self.liars.saturating_mul(2).saturating_add(3) && self.best <= workers - self.liars
    }

    /// The sum of the smallest distances of every voice to others.
    fn scores(&mut self) -> Vec<f64> {
        let (count, near) = (self.heard.count(), self.heard.count() - self.liars - 2);
        self.gaps.clear();
        self.gaps.resize(count * count, 0.0);
        for k in 0..count {
            for i in 0..k {
                let gap = flat::distance(self.heard.vector(k), self.heard.vector(i));
                self.gaps[k * count + i] = gap * gap;
                self.gaps[i * count + k] = gap * gap;
            }
        }
        let row = |row: &mut [f64]| {
            row.sort_by(f64::total_cmp);
            // The smallest is the distance to oneself.
            row[1..=near].iter().sum()
        };
        self.gaps.chunks_exact_mut(count).map(row).collect()
    }
}

impl Aggregator for Krum {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        if !self.works_with(gathering.voices) {
            return Err(Error::request(format!(
                "krum against {} liars needs at least {} voices, {} of which it averages, but {} speak; lower \
                 aggregate.liars or aggregate.best, let more workers take part, or use aggregate=median",
                self.liars,
                self.liars.saturating_mul(2).saturating_add(3).max(self.liars.saturating_add(self.best)),
                self.best,
                gathering.voices
            )));
        }
        self.heard.begin(gathering);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        self.heard.add(vector);
    }

    fn finish(&mut self, out: &mut [f32]) {
        let scores = self.scores();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
        let mut shares = vec![0.0; scores.len()];
        order.iter().take(self.best).for_each(|k| shares[*k] = 1.0 / self.best as f64);
        self.heard.combine(0.0, &shares, out);
    }

    fn withstands(&self, workers: usize) -> usize {
        if self.works_with(workers) { self.liars } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mut krum: Krum, voices: &[f32]) -> Result<f32> {
        krum.begin(&Gathering::of(1, voices.len()))?;
        for v in voices {
            krum.add(&[*v], 1.0);
        }
        let mut out = [0.0];
        krum.finish(&mut out);
        Ok(out[0])
    }

    #[test]
    fn the_one_in_the_closest_company_wins_and_ties_go_to_the_lower_index() {
        // By hand, with two neighbours each: 1² + 2², 1² + 1², 1² + 2², 7² + 8², far.
        assert_eq!(of(Krum::new(1, 1), &[0.0, 1.0, 2.0, 9.0, 1e6]).unwrap(), 1.0);
        assert_eq!(of(Krum::new(1, 2), &[0.0, 1.0, 2.0, 9.0, 1e6]).unwrap(), 0.5);
        assert_eq!(of(Krum::new(1, 3), &[0.0, 1.0, 2.0, 9.0, 1e6]).unwrap(), 1.0);
        assert_eq!(of(Krum::new(0, 1), &[4.0, 5.0, 6.0]).unwrap(), 4.0);
    }

    #[test]
    fn too_few_voices_are_refused_with_a_cure() {
        let message = of(Krum::new(1, 1), &[0.0; 4]).unwrap_err().to_string();
        assert!(message.contains("at least 5 voices") && message.contains("aggregate.liars"), "{message}");
        assert!(of(Krum::new(1, 5), &[0.0; 5]).is_err() && of(Krum::new(usize::MAX, 1), &[0.0; 5]).is_err());
        assert_eq!(
            (Krum::new(1, 1).withstands(4), Krum::new(1, 4).withstands(5), Krum::new(2, 1).withstands(7)),
            (0, 1, 2)
        );
    }
}
