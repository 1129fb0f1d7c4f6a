//! ORQ: 3, 5 or 9 levels a bucket, placed where they leave the least variance.
//!
//! # What it does
//! Rounds every entry at random to one of its two neighbouring levels; the outer levels are the bucket's minimum and
//! maximum, the inner ones split the expected error greedily.
//!
//! # The step
//! ```text
//! levels ← [min v, max v];   log₂(s − 1) times: between all neighbours a < b insert mid(a, b)
//! mid(a, b):  T = sorted entries in [a, b],  q = Σ_T (v − a)/(b − a),  T[⌊|T| − q⌋]
//! C(v)ᵢ = bₖ₊₁ with probability (vᵢ − bₖ)/(bₖ₊₁ − bₖ), else bₖ,   bₖ ≤ vᵢ ≤ bₖ₊₁
//! ```
//! # Contract
//! Unbiased; ω = (√n − 1)/2: three levels are the best for their ends, hence no worse than `terngrad`'s on either side of 0,
//! and another level never adds variance. 1.6, 2.4 or 3.2 bits an entry and 32·s a bucket. Not linear.
//!
//! # When it helps, when it hurts
//! The least variance of unbiased schemes at its bytes: half that of equal steps on Gaussian entries at 9 levels. The
//! levels cost 288 bits a bucket at s = 9, so short tensors gain little. Made for runs without feedback.
//!
//! # Reference
//! Dong, Wang, Huang et al.: optimal gradient quantization (2002.11082).
//!
//! # Deviations from the paper
//! Only the abstract and first page could be read: the condition for a level is derived, the greedy construction is as
//! recalled (within 2 % of converged levels). The level search is exact: a histogram only says where to look.

use super::digits::{Digits, Fives, Nines, SHEET, Threes};
use super::{Class, Compressor, Piece, Pieces, Scope};
use crate::base::{Error, Reader, Result, Stream, Writer, flat};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "orq",
    about: "3, 5 or 9 levels of least variance a bucket, random rounding",
    keys: &[
        Key { name: "levels", default: "3", about: "3, 5 or 9: 1.6, 2.4 or 3.2 bits an entry" },
        Key { name: "scope", default: "bucket(2048)", about: "what has its own levels: tensor, model or bucket(n)" },
    ],
    build: |args| {
        let levels = args.count("levels", 3)?;
        if ![3, 5, 9].contains(&levels) {
            return Err(Error::request(format!("`levels` of `orq` must be 3, 5 or 9, but {levels} came")));
        }
        Ok(Box::new(Pieces::new(Orq::new(levels as usize), Scope::from_args(args)?)))
    },
};

const BINS: usize = 512;

/// Greedy optimal levels.
#[derive(Clone, Debug)]
pub struct Orq {
    levels: usize,
    bins: Bins,
}

/// Entries sorted by bin: bin `k` is `entries[starts[k]..starts[k + 1]]`, and every entry of a bin is below every entry
/// of the next.
#[derive(Clone, Debug)]
struct Bins {
    entries: Vec<f32>,
    keys: Vec<u16>,
    starts: [u32; BINS + 1],
    low: f32,
    per_unit: f32,
}

/// The bin of an entry, rising with it: (v − low)·per unit, to the nearest whole number by way of the last place of
/// 2²³. Halves, because their differences cannot overflow.
#[inline]
fn key(v: f32, low: f32, per_unit: f32) -> u16 {
    ((0.5 * v - low) * per_unit + 8_388_608.0).to_bits() as u16 % BINS as u16
}

impl Bins {
    fn new() -> Self {
        Self { entries: Vec::new(), keys: Vec::new(), starts: [0; BINS + 1], low: 0.0, per_unit: 0.0 }
    }

    fn key(&self, v: f32) -> usize {
        usize::from(key(v, self.low, self.per_unit))
    }

    fn fill(&mut self, x: &[f32], low: f32, high: f32) {
        self.low = 0.5 * low;
        self.per_unit = ((BINS - 1) as f32 / (0.5 * high - self.low)).min(f32::MAX);
        let (low, per_unit) = (self.low, self.per_unit);
        self.entries.resize(x.len(), 0.0);
        self.keys.resize(x.len(), 0);
        for (slot, &v) in self.keys.iter_mut().zip(x) {
            *slot = key(v, low, per_unit);
        }
        let mut places = [0u32; BINS];
        for &key in &self.keys {
            places[usize::from(key) % BINS] += 1;
        }
        let mut sum = 0;
        for (place, start) in places.iter_mut().zip(&mut self.starts) {
            *start = sum;
            sum += *place;
            *place = *start;
        }
        self.starts[BINS] = sum;
        let entries = self.entries.as_mut_slice();
        for (&key, &v) in self.keys.iter().zip(x) {
            let place = &mut places[usize::from(key) % BINS];
            entries[*place as usize] = v;
            *place += 1;
        }
    }

    fn start(&self, bin: usize) -> usize {
        self.starts[bin] as usize
    }

    /// mid(a, b) of the step: the entry that leaves q of those in [a, b] above it.
    fn mid(&mut self, a: f32, b: f32) -> f32 {
        if a >= b {
            return a;
        }
        let (first, last) = (self.key(a), self.key(b));
        let (from, to) = (f64::from(a), f64::from(b));
        let excess = |v: &[f32]| flat::reduce(v, |v| if v <= to { (v - from).max(0.0) } else { 0.0 });
        let top = &self.entries[self.start(last)..self.start(last + 1)];
        let end = self.start(last) + top.iter().map(|v| usize::from(*v <= b)).sum::<usize>();
        let excess = if first == last {
            excess(top)
        } else {
            let inner = &self.entries[self.start(first + 1)..self.start(last)];
            excess(&self.entries[self.start(first)..self.start(first + 1)])
                + (flat::sum(inner) - inner.len() as f64 * from)
                + excess(top)
        };
        let rank = ((end as f64 - excess / (to - from)).floor() as usize).min(end - 1);
        let bin = self.starts.partition_point(|s| *s as usize <= rank) - 1;
        let (start, stop) = (self.start(bin), self.start(bin + 1));
        *self.entries[start..stop].select_nth_unstable_by(rank - start, f32::total_cmp).1
    }
}

impl Orq {
    /// 3, 5 or 9 levels.
    pub fn new(levels: usize) -> Self {
        debug_assert!(matches!(levels, 3 | 5 | 9));
        Self { levels, bins: Bins::new() }
    }

    fn levels<const S: usize>(&mut self, x: &[f32]) -> [f32; S] {
        let mut levels = [0.0; S];
        let (low, high) = flat::extremes(x);
        (levels[0], levels[S - 1]) = (low, high);
        if low < high {
            self.bins.fill(x, low, high);
        }
        let mut step = S - 1;
        while step > 1 {
            for at in (0..S - 1).step_by(step) {
                levels[at + step / 2] = self.bins.mid(levels[at], levels[at + step]);
            }
            step /= 2;
        }
        levels
    }

    fn write<const S: usize, const SHIFT: u32, const PER: usize, const BYTES: usize>(
        &mut self,
        x: &[f32],
        stream: &Stream,
        out: &mut Writer,
    ) {
        let levels = self.levels::<S>(x);
        out.f32s(&levels);
        // Halves, so that no difference overflows. An entry's level is the number of thresholds below it: from level k
        // up with probability (v − bₖ)/gapₖ. Equal levels have gap 0 and are passed together.
        let half = levels.map(|level| 0.5 * level);
        let mut gaps = [0.0; S];
        for k in 0..S - 1 {
            gaps[k] = half[k + 1] - half[k];
        }
        let mut u = [0.0; SHEET];
        Digits::<SHIFT, PER, BYTES>::write(out, x.len(), |from, digits| {
            let u = &mut u[..digits.len()];
            stream.uniforms_at(from as u64, u);
            for ((digit, &v), &u) in digits.iter_mut().zip(&x[from..]).zip(&*u) {
                let v = 0.5 * v;
                let mut index = 0;
                for k in 0..S - 1 {
                    index += u32::from(v - half[k] > u * gaps[k]);
                }
                *digit = index;
            }
        });
    }

    fn read<const S: usize, const SHIFT: u32, const PER: usize, const BYTES: usize>(
        body: &mut Reader,
        out: &mut [f32],
    ) -> Result<()> {
        let mut levels = [0.0; 16];
        for level in &mut levels[..S] {
            *level = body.finite()?;
        }
        Digits::<SHIFT, PER, BYTES>::read(body, out.len(), |from, digits| {
            for (x, &digit) in out[from..].iter_mut().zip(digits) {
                *x = levels[digit as usize % 16];
            }
        })
    }
}

impl Piece for Orq {
    fn class(&self, n: usize) -> Class {
        Class::Unbiased { omega: (libm::sqrt(n as f64) - 1.0) / 2.0 }
    }

    fn bound(&self, n: usize) -> usize {
        4 * self.levels
            + match self.levels {
                3 => Threes::len(n),
                5 => Fives::len(n),
                _ => Nines::len(n),
            }
    }

    fn encode(&mut self, x: &[f32], stream: &Stream, out: &mut Writer) {
        match self.levels {
            3 => self.write::<3, 1, 5, 1>(x, stream, out),
            5 => self.write::<5, 2, 10, 3>(x, stream, out),
            _ => self.write::<9, 3, 5, 2>(x, stream, out),
        }
    }

    fn decode(&mut self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        match self.levels {
            3 => Self::read::<3, 1, 5, 1>(body, out),
            5 => Self::read::<5, 2, 10, 3>(body, out),
            _ => Self::read::<9, 3, 5, 2>(body, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Use;

    const TOY: [f32; 12] = [-4.0, -1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0];

    /// The construction as it is written in the step, on a sorted copy.
    fn exact(x: &[f32], s: usize) -> Vec<f32> {
        let mut sorted = x.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        let mid = |a: f32, b: f32| {
            if a >= b {
                return a;
            }
            let t: Vec<f32> = sorted.iter().copied().filter(|v| (a..=b).contains(v)).collect();
            let q: f64 = t.iter().map(|v| (f64::from(*v) - f64::from(a)) / (f64::from(b) - f64::from(a))).sum();
            t[((t.len() as f64 - q).floor() as usize).min(t.len() - 1)]
        };
        let mut levels = vec![sorted[0], sorted[sorted.len() - 1]];
        while levels.len() < s {
            let mut next = vec![levels[0]];
            for pair in levels.windows(2) {
                next.extend([mid(pair[0], pair[1]), pair[1]]);
            }
            levels = next;
        }
        levels
    }

    fn variance(x: &[f32], levels: &[f32]) -> f64 {
        let between = |v: f64| {
            let k = levels.iter().filter(|b| f64::from(**b) <= v).count().clamp(1, levels.len() - 1);
            (f64::from(levels[k]) - v) * (v - f64::from(levels[k - 1]))
        };
        x.iter().map(|v| between(f64::from(*v))).sum()
    }

    fn greedy(x: &[f32], s: usize) -> Vec<f32> {
        let mut orq = Orq::new(s);
        match s {
            3 => orq.levels::<3>(x).to_vec(),
            5 => orq.levels::<5>(x).to_vec(),
            _ => orq.levels::<9>(x).to_vec(),
        }
    }

    fn inputs() -> Vec<Vec<f32>> {
        let mut s = Stream::new(4, Use::Noise, 0, 0);
        let normal: Vec<f32> = (0..2048).map(|_| s.normal()).collect();
        let laplace: Vec<f32> =
            (0..2048).map(|_| (1.0 - s.uniform()).ln() * if s.uniform() < 0.5 { 1.0 } else { -1.0 }).collect();
        let heavy: Vec<f32> = normal.iter().map(|v| v.powi(9)).collect();
        let shifted: Vec<f32> = normal.iter().map(|v| 1000.0 + 1e-3 * v).collect();
        let ties: Vec<f32> = normal.iter().map(|v| v.round()).collect();
        let mut spike = normal.clone();
        spike[7] = 1e9;
        let huge: Vec<f32> = normal.iter().map(|v| v * 8e37).collect();
        let tiny: Vec<f32> = normal.iter().map(|v| v * 1e-40).collect();
        let short = normal[..5].to_vec();
        vec![normal, laplace, heavy, shifted, ties, spike, huge, tiny, short, vec![3.0; 9], vec![0.0; 70], vec![-1.0]]
    }

    #[test]
    fn the_toy_has_the_levels_of_the_derivation() {
        assert_eq!(greedy(&TOY, 3), [-4.0, 1.0, 8.0]);
        assert_eq!(greedy(&TOY, 5), [-4.0, -1.0, 1.0, 3.0, 8.0]);
        assert!((variance(&TOY, &greedy(&TOY, 5)) / 12.0 - 0.375).abs() < 1e-9);
        assert!((variance(&TOY, &[-8.0, -4.0, 0.0, 4.0, 8.0]) / 12.0 - 1.875).abs() < 1e-9);
    }

    #[test]
    fn the_histogram_finds_the_same_levels_as_sorting() {
        for (i, x) in inputs().iter().enumerate() {
            for s in [3, 5, 9] {
                let (found, wanted) = (greedy(x, s), exact(x, s));
                assert_eq!((found[0], found[s - 1]), (wanted[0], wanted[s - 1]));
                // Sums in another order may move a rank by one; the error may not notice.
                let (found, wanted) = (variance(x, &found), variance(x, &wanted));
                assert!(found <= wanted * 1.01 + 1e-70, "input {i}, {s} levels: {found} against {wanted}");
            }
        }
    }

    #[test]
    fn three_levels_are_optimal_and_every_level_is_stationary() {
        for x in &inputs()[..2] {
            let levels = greedy(x, 3);
            let best = variance(x, &levels);
            for v in x.iter().step_by(7) {
                assert!(variance(x, &[levels[0], *v, levels[2]]) >= best * (1.0 - 1e-9));
            }
            let (a, m, b) = (f64::from(levels[0]), levels[1], f64::from(levels[2]));
            let above = x.iter().filter(|v| **v > m).count() as f64;
            let q: f64 = x.iter().map(|v| (f64::from(*v) - a) / (b - a)).sum();
            assert!((above - q).abs() <= 1.0, "{above} entries above the level, {q} wanted");
        }
    }

    #[test]
    fn the_levels_beat_equal_steps_and_equal_shares() {
        for x in &inputs()[..2] {
            let mut sorted = x.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            let top = flat::max_abs(x);
            for s in [5, 9] {
                let steps: Vec<f32> = (0..s).map(|k| top * (2.0 * k as f32 / (s - 1) as f32 - 1.0)).collect();
                let shares: Vec<f32> = (0..s).map(|k| sorted[k * (x.len() - 1) / (s - 1)]).collect();
                let ours = variance(x, &greedy(x, s));
                assert!(ours < variance(x, &steps) && ours < variance(x, &shares));
            }
        }
    }
}
