//! `TernGrad`: every entry is −s, 0 or +s.
//!
//! # What it does
//! Rounds every entry at random to 0 or to the tensor's largest magnitude with its sign.
//!
//! # The step
//! ```text
//! s = max|v|
//! C(v)ᵢ = s·sign(vᵢ)·bᵢ,   P(bᵢ = 1) = |vᵢ|/s
//! with sigmas = c:  entries are first cut to ±c·σ, σ² = Σv²/n − (Σv/n)²
//! ```
//! # Contract
//! Unbiased with ω = (√n − 1)/2: the variance is Σ|vᵢ|(s − |vᵢ|), and of all vectors with one entry s it is largest,
//! relative to ‖v‖², where the others all equal s/(√n + 1). With `sigmas` biased, E‖C(v) − v‖² ≤ (1 + c²/8)·‖v‖² for
//! c ≤ 4 and (c − 1)·‖v‖² above. 1.6 bits an entry (five digits in a byte) and 32 a tensor. Not linear.
//!
//! # When it helps, when it hurts
//! 20 times fewer bytes without feedback, if the batch is large: one outlier sets the scale and so the noise of all
//! others, which is what `sigmas` (the paper's 2.5) tempers at the price of a bias.
//!
//! # Reference
//! Wen, Xu, Yan, Wu, Wang, Chen, Li: `TernGrad` (1705.07878).
//!
//! # Deviations from the paper
//! Scales are not shared between workers (the paper's option for summing on the way). Cutting at 2.5 σ is off by
//! default and named `sigmas`, since `clip` is the axis's norm clip.

use super::digits::{DIGIT_SHEET, Threes};
use super::{Both, Class, Compressor, Piece, Pieces, Scope, Sink, scope};
use crate::base::simd::{self, Bytes as _, Simd, SimdBase as _, SimdCvtFloat as _, f32x16, i32x16, tally, u32x16};
use crate::base::{Reader, Result, Slot, Stream};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "terngrad",
    about: "every entry to -s, 0 or s, random rounding",
    keys: &[
        Key {
            name: "sigmas",
            default: "none",
            about: "cut entries at that many standard deviations; the paper's is 2.5",
        },
        Key { name: "scope", default: "tensor", about: "what has one scale: tensor, model or bucket(n)" },
    ],
    build: |args| Ok(Box::new(Pieces::new(TernGrad::new(args.optional("sigmas")?), Scope::from_args(args)?))),
};

/// Ternary random rounding.
#[derive(Clone, Copy, Debug)]
pub struct TernGrad {
    sigmas: Option<f64>,
}

impl TernGrad {
    /// Cuts entries at `sigmas` > 0 standard deviations first, if given.
    pub fn new(sigmas: Option<f64>) -> Self {
        Self { sigmas }
    }

    #[inline(always)]
    fn scale<S: Simd>(self, simd: S, x: &[f32]) -> f32 {
        let top = simd::max_abs(simd, x);
        let Some(sigmas) = self.sigmas else { return top };
        let (n, mean) = (x.len() as f64, simd::sum(simd, x, |v| v) / x.len() as f64);
        let cut = (sigmas * libm::sqrt((simd::squares(simd, x) / n - mean * mean).max(0.0))) as f32;
        // A constant vector has no deviation to be cut at.
        if cut > 0.0 && cut < top { cut } else { top }
    }
}

/// Where a piece is cut that two threads have a half each of.
fn middle(n: usize) -> usize {
    n / 2 / DIGIT_SHEET * DIGIT_SHEET
}

/// Rounds some entries, those from `first` on.
#[inline(always)]
fn write<S: Simd>(simd: S, scale: f32, (x, first): (&[f32], usize), stream: &Stream, out: &mut Slot) {
    let none = u32x16::splat(simd, 0);
    let draws = stream.rows(simd);
    Threes::write(
        simd,
        out,
        x,
        #[inline(always)]
        |from, v| {
            let threshold = draws.at(first + from) * scale;
            // 0 below −threshold, 1 between, 2 above.
            tally(simd, tally(simd, none, v.simd_gt(threshold)), (-v).simd_le(threshold))
        },
    );
}

/// Reads as many entries as there are.
#[inline(always)]
fn read<S: Simd, K: Sink>(simd: S, scale: f32, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
    Threes::read(
        simd,
        body,
        out.len(),
        #[inline(always)]
        |from, digits| {
            let signs: i32x16<S> = digits.bitcast();
            sink.put(out, from, f32x16::float_from(signs - 1) * scale);
        },
    )
}

impl Piece for TernGrad {
    fn class(&self, n: usize) -> Class {
        match self.sigmas {
            None => Class::Unbiased { omega: (libm::sqrt(n as f64) - 1.0) / 2.0 },
            Some(c) => Class::Bounded { factor: if c <= 4.0 { 1.0 + c * c / 8.0 } else { c - 1.0 } },
        }
    }

    fn bound(&self, n: usize) -> usize {
        4 + Threes::len(n)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        let scale = self.scale(simd, x);
        out.f32(scale);
        write(simd, scale, (x, 0), stream, out);
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        read(simd, body.finite()?, body, out, sink)
    }

    fn encode_by_two(&mut self, both: Both, x: &[f32], stream: &Stream, out: &mut Slot) -> bool {
        let cut = middle(x.len());
        // A deviation is one sum over all of a piece.
        if cut == 0 || self.sigmas.is_some() {
            return false;
        }
        let (near, far) = x.split_at(cut);
        let [mut one, mut two] = [0.0f32; 2];
        let mut near_half = || one = simd::widest!(simd => simd::max_abs(simd, near));
        let mut far_half = || two = simd::widest!(simd => simd::max_abs(simd, far));
        both(&mut near_half, &mut far_half);
        let scale = one.max(two);
        out.f32(scale);
        let [mut low, mut high] = out.slot(Threes::len(x.len())).split(Threes::len(cut));
        let mut near_half = || simd::widest!(simd => write(simd, scale, (near, 0), stream, &mut low));
        let mut far_half = || simd::widest!(simd => write(simd, scale, (far, cut), stream, &mut high));
        both(&mut near_half, &mut far_half);
        true
    }

    fn decode_by_two<K: Sink>(
        &mut self,
        both: Both,
        body: &mut Reader,
        out: &mut [f32],
        sink: K,
    ) -> Option<Result<()>> {
        let cut = middle(out.len());
        let half =
            |scale, body: &mut Reader, out: &mut [f32]| simd::widest!(simd => read(simd, scale, body, out, sink));
        (cut > 0).then(|| scope::halves(both, body, (out, cut), Threes::len, half))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{decoded, encoded};
    use super::*;
    use crate::base::{Use, flat};

    fn said(c: &mut TernGrad, x: &[f32], round: u64) -> Vec<f32> {
        let w = encoded(c, x, &Stream::new(0, Use::Encode, 0, round));
        let mut out = vec![0.0; x.len()];
        decoded(c, w.bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn the_largest_entry_and_zero_are_said_exactly() {
        for round in 0..100 {
            let out = said(&mut TernGrad::new(None), &[-2.0, 0.0, 1.0, 2.0], round);
            assert_eq!((out[0], out[1], out[3]), (-2.0, 0.0, 2.0));
        }
    }

    #[test]
    fn the_declared_variance_is_reached_by_the_worst_vector() {
        let n = 100;
        let mut x = vec![1.0 / (libm::sqrt(n as f64) + 1.0) as f32; n];
        x[0] = 1.0;
        let variance: f64 = x.iter().map(|&v| f64::from(v) * (1.0 - f64::from(v))).sum();
        let Class::Unbiased { omega } = TernGrad::new(None).class(n) else { panic!("terngrad is unbiased") };
        assert!((variance / flat::squared_norm(&x) / omega - 1.0).abs() < 1e-6);
    }

    #[test]
    fn outliers_are_cut_at_the_given_deviations() {
        let mut x = vec![1.0f32; 1000];
        x.iter_mut().skip(1).step_by(2).for_each(|v| *v = -1.0);
        x[0] = 100.0;
        let out = said(&mut TernGrad::new(Some(2.5)), &x, 0);
        assert!(out[0] < 10.0 && out[0] > 7.0, "{}", out[0]);
    }
}
