//! Trimmed: entry by entry the mean of what is left without the largest and the smallest.
//!
//! # What it does
//! Drops a fixed share of the voices on each side of each entry and averages the others.
//!
//! # The step
//! ```text
//! b = ⌊share·n⌋
//! aⱼ = mean of v₁ⱼ … vₙⱼ without the b smallest and the b largest
//! ```
//! # Contract
//! Withstands b liars. A share below 1/n drops nobody and is the mean. Counts every voice alike, whatever its rows.
//! Not linear. O(nd) work and memory, in blocks of columns; sums in f64.
//!
//! # When it helps, when it hurts
//! Keeps 1 − 2·share of the averaging where the median keeps next to none. The share must be at least that of the liars,
//! and it is paid for also where there are none. Selections (top-k) break it as they break the median.
//!
//! # Reference
//! Yin, Chen, Ramchandran, Bartlett: Byzantine-robust distributed learning (1803.01498).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Heard};
use crate::base::{Error, Result};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "trimmed",
    about: "entry by entry the mean without the largest and the smallest",
    keys: &[Key {
        name: "share",
        default: "0.2",
        about: "how many of the workers to drop on each side, as a fraction below 0.5; at least the share of liars",
    }],
    build: |args| {
        let share = args.fraction("share")?;
        if share >= 0.5 {
            return Err(Error::request(format!(
                "dropping {share} of the workers on each side leaves nobody; set share below 0.5, or use aggregate=median"
            )));
        }
        Ok(Box::new(Trimmed::new(share)))
    },
};

/// The coordinate-wise trimmed mean.
#[derive(Clone, Debug, Default)]
pub struct Trimmed {
    share: f64,
    heard: Heard,
}

impl Trimmed {
    /// Drops `share` < 0.5 of the voices on each side.
    pub fn new(share: f64) -> Self {
        Self { share, heard: Heard::default() }
    }

    /// ⌊share·n⌋, where a product that is whole but for rounding counts as whole.
    fn dropped(&self, workers: usize) -> usize {
        (self.share * workers as f64 + 1e-9) as usize
    }
}

impl Aggregator for Trimmed {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        self.heard.begin(gathering);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], _: f32) {
        self.heard.add(vector);
    }

    fn finish(&mut self, out: &mut [f32]) {
        let dropped = self.dropped(self.heard.count());
        self.heard.by_column(out, |column| {
            let mut kept = column;
            if dropped > 0 {
                // Everything behind the b-th smallest, and of that everything before the b-th largest.
                kept = kept.select_nth_unstable_by(dropped - 1, f32::total_cmp).2;
                let left = kept.len() - dropped;
                kept = kept.select_nth_unstable_by(left, f32::total_cmp).0;
            }
            (kept.iter().map(|v| f64::from(*v)).sum::<f64>() / kept.len() as f64) as f32
        });
    }

    fn by_entry(&self) -> bool {
        true
    }

    fn withstands(&self, workers: usize) -> usize {
        self.dropped(workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Stream, Use};

    fn of(share: f64, voices: &[f32]) -> f32 {
        let mut trimmed = Trimmed::new(share);
        trimmed.begin(&Gathering::of(1, voices.len())).unwrap();
        for v in voices {
            trimmed.add(&[*v], 1.0);
        }
        let mut out = [0.0];
        trimmed.finish(&mut out);
        out[0]
    }

    #[test]
    fn what_is_left_is_what_sorting_leaves() {
        let mut stream = Stream::new(5, Use::Problem, 0, 0);
        for count in 1..40 {
            let voices: Vec<f32> = (0..count).map(|_| stream.normal()).collect();
            let mut sorted = voices.clone();
            sorted.sort_by(f32::total_cmp);
            for share in [0.0, 0.1, 0.2, 0.3, 0.49] {
                let b = Trimmed::new(share).withstands(count);
                let kept = &sorted[b..count - b];
                let mean = kept.iter().sum::<f32>() / kept.len() as f32;
                assert!((of(share, &voices) - mean).abs() < 1e-5, "{share} of {count}");
            }
        }
    }

    #[test]
    fn shares_that_are_whole_but_for_rounding_are_whole() {
        assert_eq!(Trimmed::new(0.29).withstands(100), 29);
        assert_eq!(Trimmed::new(0.2).withstands(4), 0);
        assert_eq!(of(0.25, &[-1e30, 1.0, 3.0, 1e30]), 2.0);
    }
}
