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
//! recalled (within 2 % of converged levels). Above 256 entries a level may be read off a histogram: the expected error,
//! averaged over buckets of one kind, stays within 1 % of the exact search's (tested on many kinds, most below 0.1 %). In
//! one bucket whose error hangs on few entries the greedy search itself is unsteady, and either may win by more.

mod levels;

use self::levels::Search;
use super::digits::{Digits, Fives, Nines, Threes};
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{Simd, SimdBase as _, Table, f32x16, tally, u32x16};
use crate::base::{Error, Reader, Result, Slot, Stream};
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

/// Greedy optimal levels.
#[derive(Clone, Debug)]
pub struct Orq {
    levels: usize,
    search: Search,
}

impl Orq {
    /// 3, 5 or 9 levels.
    pub fn new(levels: usize) -> Self {
        debug_assert!(matches!(levels, 3 | 5 | 9));
        Self { levels, search: Search::new() }
    }

    #[inline(always)]
    fn write<V: Simd, const S: usize, const SHIFT: u32, const PER: usize, const BYTES: usize>(
        &mut self,
        simd: V,
        x: &[f32],
        stream: &Stream,
        out: &mut Slot,
    ) {
        let levels = self.search.levels::<S>(x);
        out.f32s(&levels);
        // Halves, so that no difference overflows. An entry's level is the number of thresholds below it: from level k
        // up with probability (v − bₖ)/gapₖ. Equal levels have gap 0 and are passed together.
        let half = levels.map(|level| 0.5 * level);
        let mut gaps = [0.0; S];
        for k in 0..S - 1 {
            gaps[k] = half[k + 1] - half[k];
        }
        let (half, gaps) = (half.map(|v| f32x16::splat(simd, v)), gaps.map(|v| f32x16::splat(simd, v)));
        let zero = u32x16::splat(simd, 0);
        let draws = stream.rows(simd);
        Digits::<SHIFT, PER, BYTES>::write(
            simd,
            out,
            x,
            #[inline(always)]
            |from, v| {
                let (v, u) = (v * 0.5, draws.at(from));
                let mut index = zero;
                for k in 0..S - 1 {
                    index = tally(simd, index, (v - half[k]).simd_gt(u * gaps[k]));
                }
                index
            },
        );
    }

    #[inline(always)]
    fn read<V: Simd, K: Sink, const S: usize, const SHIFT: u32, const PER: usize, const BYTES: usize>(
        simd: V,
        body: &mut Reader,
        out: &mut [f32],
        sink: K,
    ) -> Result<()> {
        let mut levels = [0.0; S];
        for level in &mut levels {
            *level = body.finite()?;
        }
        let table = Table::new(simd, levels);
        Digits::<SHIFT, PER, BYTES>::read(
            simd,
            body,
            out.len(),
            #[inline(always)]
            |from, digits| {
                sink.put(out, from, table.at(digits));
            },
        )
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

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        match self.levels {
            3 => self.write::<_, 3, 1, 5, 1>(simd, x, stream, out),
            5 => self.write::<_, 5, 2, 10, 3>(simd, x, stream, out),
            _ => self.write::<_, 9, 3, 5, 2>(simd, x, stream, out),
        }
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        match self.levels {
            3 => Self::read::<_, _, 3, 1, 5, 1>(simd, body, out, sink),
            5 => Self::read::<_, _, 5, 2, 10, 3>(simd, body, out, sink),
            _ => Self::read::<_, _, 9, 3, 5, 2>(simd, body, out, sink),
        }
    }
}

#[cfg(test)]
mod tests;
