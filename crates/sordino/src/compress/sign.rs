//! Scaled sign: one bit an entry and one scale.
//!
//! # What it does
//! Sends the sign of every entry and the mean magnitude of all.
//!
//! # The step
//! ```text
//! s = ‖v‖₁ / n
//! C(v)ᵢ = +s  if vᵢ ≥ 0,  else −s
//! ```
//! # Contract
//! Contractive with δ = ‖v‖₁² / (n‖v‖₂²), which depends on the input: 2/π for Gaussian entries, and 1/n, which is what
//! is declared, for a vector with a single entry that is not zero. n + 32 bits a piece (n rounded up to words of 32).
//! Deterministic; not linear.
//!
//! # When it helps, when it hurts
//! 32 times fewer bytes; wants error feedback, and entries of like size. One scale for the whole model is coarse where
//! layers differ much: `scope=tensor` costs one more word a tensor.
//!
//! # Reference
//! Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes `SignSGD` (1901.09847); one scale for the whole model as in
//! the code of SAEF (2008.05823).
//!
//! # Deviations from the paper
//! sign(0) = + (the code of SAEF sends 0 as 0, which is a third value).

use super::digits::{Bits, SHEET};
use super::{Both, Class, Compressor, Piece, Pieces, Scope, Sink, scope};
use crate::base::simd::{self, Bytes as _, Lanes, Simd, SimdBase as _};
use crate::base::{Reader, Result, Slot, Stream};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "sign",
    about: "the sign of every entry and one mean magnitude",
    keys: &[Key {
        name: "scope",
        default: "model",
        about: "what the magnitude is the mean of: tensor, model or bucket(n)",
    }],
    build: |args| Ok(Box::new(Pieces::new(Sign, Scope::from_args(args)?))),
};

/// Signs and their mean magnitude.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sign;

/// Where a piece is cut: from some sheets on magnitudes are added up by halves, which two threads may have one each.
fn middle(n: usize) -> usize {
    if n < 8 * SHEET { n } else { n / 2 / SHEET * SHEET }
}

/// Writes the signs of some entries; the sum of their magnitudes.
#[inline(always)]
fn write<S: Simd>(simd: S, x: &[f32], out: &mut Slot) -> f64 {
    let mut magnitudes = Lanes::new(simd);
    Bits::write_marks(
        simd,
        out,
        x,
        #[inline(always)]
        |_, v| {
            magnitudes.add(v.abs());
            v.simd_lt(0.0)
        },
    );
    magnitudes.total()
}

/// Reads the signs of entries of this magnitude.
#[inline(always)]
fn read<S: Simd, K: Sink>(simd: S, scale: f32, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
    let scale = scale.to_bits();
    Bits(1).read(
        simd,
        body,
        out.len(),
        #[inline(always)]
        |from, codes| sink.put(out, from, (codes << 31 ^ scale).bitcast()),
    )
}

fn mean(sums: [f64; 2], n: usize) -> f32 {
    ((sums[0] + sums[1]) / n as f64) as f32
}

impl Piece for Sign {
    fn class(&self, n: usize) -> Class {
        Class::Contractive { delta: 1.0 / n as f64 }
    }

    fn bound(&self, n: usize) -> usize {
        4 + Bits(1).len(n)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], _: &Stream, out: &mut Slot) {
        out.f32(0.0);
        let (near, far) = x.split_at(middle(x.len()));
        let mut sums = [0.0; 2];
        for (sum, x) in sums.iter_mut().zip([near, far]) {
            *sum = write(simd, x, out);
        }
        out.put_f32(0, mean(sums, x.len()));
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        read(simd, body.finite()?, body, out, sink)
    }

    fn encode_by_two(&mut self, both: Both, x: &[f32], _: &Stream, out: &mut Slot) -> bool {
        let (near, far) = x.split_at(middle(x.len()));
        if far.is_empty() {
            return false;
        }
        out.f32(0.0);
        let [mut low, mut high] = out.slot(Bits(1).len(x.len())).split(Bits(1).len(near.len()));
        let [mut one, mut two] = [0.0; 2];
        let mut near_half = || one = simd::widest!(simd => write(simd, near, &mut low));
        let mut far_half = || two = simd::widest!(simd => write(simd, far, &mut high));
        both(&mut near_half, &mut far_half);
        out.put_f32(0, mean([one, two], x.len()));
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
        (cut < out.len()).then(|| scope::halves(both, body, (out, cut), |n| Bits(1).len(n), half))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{decoded, encoded};
    use super::*;
    use crate::base::Use;

    #[test]
    fn nothing_is_positive_and_the_scale_is_the_mean_magnitude() {
        let w = encoded(&mut Sign, &[-3.0, 0.0, -0.0, 1.0], &Stream::new(0, Use::Encode, 0, 0));
        assert_eq!(w.bytes().len(), Sign.bound(4));
        let mut out = [9.0; 4];
        decoded(&mut Sign, w.bytes(), &mut out).unwrap();
        assert_eq!(out, [-1.0, 1.0, 1.0, 1.0]);
        assert!(decoded(&mut Sign, &[0, 0, 0x80, 0x7F, 0, 0, 0, 0], &mut out).is_err());
    }
}
