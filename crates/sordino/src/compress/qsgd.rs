//! QSGD: uniform levels between nothing and a norm, randomly rounded.
//!
//! # What it does
//! Rounds every magnitude at random to one of s + 1 equally spaced levels from 0 to the bucket's norm.
//!
//! # The step
//! ```text
//! m = max|v| (norm=max) or ‖v‖₂ (norm=l2),   tᵢ = s·|vᵢ|/m
//! kᵢ = ⌊tᵢ⌋ + 1{uᵢ < tᵢ − ⌊tᵢ⌋},   uᵢ uniform in [0, 1)
//! C(v)ᵢ = sign(vᵢ)·kᵢ·m/s
//! ```
//! # Contract
//! Unbiased; ω = min(n/s², √n/s) for l2, min((n − 1)/(4s²), √(n − 1)/(2s)) for max (an entry's variance is at most
//! (m/s)²/4 and at most |v|·m/s). 1 + ⌈log₂(s + 1)⌉ bits an entry and 32 a bucket. Not linear.
//!
//! # When it helps, when it hurts
//! The default, 7 levels and the maximum, costs 4 bits an entry. The maximum is never above the norm, so its levels are
//! finer wherever the bucket is not one spike; ORQ has less variance at the same bytes, and takes longer to encode.
//!
//! # Reference
//! Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD (1610.02132).
//!
//! # Deviations from the paper
//! Fixed width in place of Elias codes. `norm=max`, which the paper uses in its experiments, is the default; the
//! theorem's norm is `l2`. A norm beyond f32 is replaced by the largest f32, which still covers every entry.

use super::digits::{self, Bits};
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{
    self, Bytes as _, Simd, SimdBase as _, SimdCvtFloat as _, SimdCvtTruncate as _, f32x16, i32x16, tally, u32x16,
};
use crate::base::{Reader, Result, Slot, Stream, wire};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "qsgd",
    about: "uniform levels up to a norm, random rounding",
    keys: &[
        Key { name: "levels", default: "7", about: "levels above 0, s = 1 to 32767; 7 makes 4 bits with the sign" },
        Key { name: "norm", default: "max", about: "the highest level: max|v|, or l2 as in the paper's theorem" },
        Key { name: "scope", default: "bucket(2048)", about: "what has one norm: tensor, model or bucket(n)" },
    ],
    build: |args| {
        let norm = [Norm::Max, Norm::L2][args.choice("norm", &["max", "l2"])?];
        let levels = args.count("levels", 1)?.min(32_767) as u32;
        Ok(Box::new(Pieces::new(Qsgd::new(levels, norm), Scope::from_args(args)?)))
    },
};

/// What the highest level is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// The largest magnitude.
    Max,
    /// The Euclidean norm.
    L2,
}

/// Uniform random rounding.
#[derive(Clone, Copy, Debug)]
pub struct Qsgd {
    levels: u32,
    norm: Norm,
}

impl Qsgd {
    /// `levels` (1 to 32767) above 0, up to `norm`.
    pub fn new(levels: u32, norm: Norm) -> Self {
        Self { levels, norm }
    }

    /// The sign bit above the level's bits.
    fn width(self) -> u32 {
        1 + wire::bits_for(self.levels as usize + 1)
    }
}

/// A power of two that brings `scale` near 1, so that quotients by it neither overflow nor vanish. Multiplying by it is
/// exact.
fn power_towards_one(scale: f32) -> f32 {
    let exponent = (scale.to_bits() >> 23) as i32 - 127;
    f32::from_bits(((127 - exponent.clamp(-126, 126)) as u32) << 23)
}

impl Piece for Qsgd {
    fn class(&self, n: usize) -> Class {
        let (n, s) = (n as f64, f64::from(self.levels));
        let omega = match self.norm {
            Norm::L2 => (n / (s * s)).min(libm::sqrt(n) / s),
            Norm::Max => ((n - 1.0) / (4.0 * s * s)).min(libm::sqrt(n - 1.0) / (2.0 * s)),
        };
        Class::Unbiased { omega }
    }

    fn bound(&self, n: usize) -> usize {
        4 + Bits(self.width()).len(n)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        let norm = match self.norm {
            Norm::Max => simd::max_abs(simd, x),
            Norm::L2 => libm::sqrt(simd::squares(simd, x)).min(f64::from(f32::MAX)) as f32,
        };
        out.f32(norm);
        let power = power_towards_one(norm);
        let per_level = if norm > 0.0 { self.levels as f32 / (norm * power) } else { 0.0 };
        let (most, sign) = (self.levels, self.width() - 1);
        let draws = stream.rows(simd);
        Bits(self.width()).write(
            simd,
            out,
            x,
            #[inline(always)]
            |from, v| {
                let t = v.abs() * power * per_level;
                let floor = i32x16::truncate_from(t);
                let up = draws.at(from).simd_lt(t - f32x16::float_from(floor));
                let k = tally(simd, floor.bitcast(), up).min(most);
                k | v.bitcast::<u32x16<S>>() >> 31 << sign
            },
        );
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let gap = body.finite()? / self.levels as f32;
        let sign = self.width() - 1;
        let mut top = i32x16::splat(simd, 0);
        let n = out.len();
        Bits(self.width()).read(
            simd,
            body,
            n,
            #[inline(always)]
            |from, codes| {
                let k: i32x16<S> = (codes & ((1 << sign) - 1)).bitcast();
                top = top.max(k);
                let magnitudes: u32x16<S> = (f32x16::float_from(k) * gap).bitcast();
                sink.put(out, from, (magnitudes ^ codes >> sign << 31).bitcast());
            },
        )?;
        let top = top.reduce_max() as u32;
        if top > self.levels {
            return Err(digits::unknown_code("level", top, self.levels));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{decoded, encoded};
    use super::*;
    use crate::base::Use;

    #[test]
    fn entries_on_a_level_stay_there() {
        for (norm, top) in [(Norm::Max, 7.0f32), (Norm::L2, 7.0)] {
            let x: Vec<f32> = match norm {
                Norm::Max => (0..=7u8).map(|k| f32::from(k) * if k % 2 == 0 { 1.0 } else { -1.0 }).collect(),
                Norm::L2 => vec![0.0, -top, 0.0],
            };
            for round in 0..50 {
                let mut qsgd = Qsgd::new(7, norm);
                let w = encoded(&mut qsgd, &x, &Stream::new(0, Use::Encode, 0, round));
                let mut out = vec![0.0; x.len()];
                decoded(&mut qsgd, w.bytes(), &mut out).unwrap();
                assert_eq!(out, x);
            }
        }
    }

    #[test]
    fn four_bits_an_entry_by_default_and_unknown_levels_are_refused() {
        assert_eq!(Qsgd::new(7, Norm::Max).bound(2048), 4 + 1024);
        let mut bytes = vec![0, 0, 0x80, 0x3F];
        bytes.extend([0xFF; 12]);
        assert!(decoded(&mut Qsgd::new(5, Norm::Max), &bytes, &mut [0.0; 3]).is_err());
    }
}
