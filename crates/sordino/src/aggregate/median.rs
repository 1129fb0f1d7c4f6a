//! Median: every entry by itself, half of the voices above and half below.
//!
//! # What it does
//! Takes the median of what the voices say about each entry.
//!
//! # The step
//! ```text
//! n odd    aⱼ = the middle one of v₁ⱼ … vₙⱼ
//! n even   aⱼ = the mean of the two in the middle
//! ```
//! # Contract
//! Every aⱼ lies between the smallest and the largest honest vₖⱼ while fewer than half lie: withstands ⌊(n − 1)/2⌋.
//! Counts every voice alike, whatever its rows. Not linear. O(nd) work and memory, in blocks of columns.
//!
//! # When it helps, when it hurts
//! The plainest of the robust rules. It throws most of the averaging away: without liars its variance does not fall as
//! the mean's does. Where workers differ it is biased towards the majority, and where messages are selections (top-k)
//! most columns are mostly zeros, so that the median is 0: compare `bucketing`, or send densely.
//!
//! # Reference
//! Yin, Chen, Ramchandran, Bartlett: Byzantine-robust distributed learning (1803.01498).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Heard, middle};
use crate::base::Result;
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "median",
    about: "entry by entry the median of what the workers say",
    keys: &[],
    build: |_| Ok(Box::new(Median::default())),
};

/// The coordinate-wise median.
#[derive(Clone, Debug, Default)]
pub struct Median {
    heard: Heard,
}

impl Aggregator for Median {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.heard.begin(gathering);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        self.heard.add(vector);
    }

    fn finish(&mut self, out: &mut [f32]) {
        self.heard.by_column(out, middle);
    }

    fn by_entry(&self) -> bool {
        true
    }

    fn withstands(&self, workers: usize) -> usize {
        workers.saturating_sub(1) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_five_lie_and_every_entry_stays_among_the_honest() {
        let mut median = Median::default();
        median.begin(&Gathering::of(2, 5)).unwrap();
        for vector in [[1.0, 5.0], [1e30, -1e30], [2.0, 6.0], [3.0, 4.0], [1e30, 5.5]] {
            median.add(&vector, 1.0);
        }
        let mut out = [0.0; 2];
        median.finish(&mut out);
        assert_eq!((out, median.withstands(5), median.withstands(6)), ([3.0, 5.0], 2, 2));
    }
}
