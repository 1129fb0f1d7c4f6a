//! Natural compression: every entry to a power of two.
//!
//! # What it does
//! Rounds every magnitude at random to one of the two nearest powers of two: sign and exponent remain, 9 of 32 bits.
//!
//! # The step
//! ```text
//! 2ᵉ ≤ |v| < 2ᵉ⁺¹:   C(v) = sign(v)·2ᵉ⁺¹ with probability |v|/2ᵉ − 1, else sign(v)·2ᵉ;   C(0) = 0
//! ```
//! # Contract
//! Unbiased with ω = 1/8 (worst at |v| = 4/3·2ᵉ). 9 bits an entry: a byte of exponent and a bit plane of signs. Not
//! linear. An exponent of an infinity is refused.
//!
//! # When it helps, when it hurts
//! Nearly free in variance and in time; 3.6 times fewer bytes is all it will ever save.
//!
//! # Reference
//! Horváth, Ho, Horváth, Sahu, Canini, Richtárik: Natural compression for distributed deep learning (1905.10988).
//!
//! # Deviations from the paper
//! Below 2⁻¹²⁶ the two neighbours are 0 and 2⁻¹²⁶ (still unbiased). From 2¹²⁷ on the upper neighbour is no f32, and the
//! entry goes down to 2¹²⁷ deterministically.

use super::digits::Bits;
use super::{Class, Compressor, Piece, Pieces, Scope, Sink};
use crate::base::simd::{
    Bytes as _, ROW, Select as _, Simd, SimdBase as _, SimdCvtFloat as _, f32x16, i32x16, row, u32x16,
};
use crate::base::{Error, Reader, Result, Slot, Stream};
use crate::grammar::Entry;

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Compressor>> = Entry {
    name: "natural",
    about: "every entry to one of the two nearest powers of two, random rounding",
    keys: &[],
    build: |_| Ok(Box::new(Pieces::new(Natural, Scope::Tensor))),
};

/// Random rounding to powers of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Natural;

impl Piece for Natural {
    fn class(&self, _: usize) -> Class {
        Class::Unbiased { omega: 0.125 }
    }

    fn bound(&self, n: usize) -> usize {
        n + Bits(1).len(n)
    }

    #[inline(always)]
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot) {
        let (zero, one) = (i32x16::splat(simd, 0), i32x16::splat(simd, 1));
        let draws = stream.rows(simd);
        let exponents = out.room(x.len());
        for (i, (exponents, x)) in exponents.chunks_mut(ROW).zip(x.chunks(ROW)).enumerate() {
            let bits = row(simd, x).bitcast::<i32x16<S>>() & 0x7FFF_FFFF;
            let above = f32x16::float_from(bits & 0x7F_FFFF) * (1.0 / 8_388_608.0);
            let up = draws.at(i * ROW).simd_lt(above).select(one, zero);
            for (exponent, e) in exponents.iter_mut().zip(((bits >> 23) + up).min(254).to_array()) {
                *exponent = e as u8;
            }
        }
        Bits::write_marks(
            simd,
            out,
            x,
            #[inline(always)]
            |_, v| v.bitcast::<i32x16<S>>().simd_lt(0),
        );
    }

    #[inline(always)]
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        let exponents = body.raw(out.len())?;
        let mut top = u32x16::splat(simd, 0);
        Bits(1).read(
            simd,
            body,
            out.len(),
            #[inline(always)]
            |from, codes| {
                let mut row = [0; ROW];
                for (e, exponent) in row.iter_mut().zip(&exponents[from..]) {
                    *e = u32::from(*exponent);
                }
                let row = u32x16::load_array(simd, row);
                top = top.max(row);
                sink.put(out, from, (row << 23 | codes << 31).bitcast());
            },
        )?;
        if top.reduce_max() == 255 {
            return Err(Error::decode("an exponent is that of an infinity"));
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
    fn powers_of_two_stay_and_the_largest_entries_stay_finite() {
        let x = [1.0, -0.25, 0.0, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45];
        for round in 0..50 {
            let w = encoded(&mut Natural, &x, &Stream::new(0, Use::Encode, 0, round));
            let mut out = [0.0; 7];
            decoded(&mut Natural, w.bytes(), &mut out).unwrap();
            assert_eq!(out[..4], x[..4]);
            assert_eq!(out[4..6], [2f32.powi(127), -(2f32.powi(127))]);
            assert!(out[6] == 0.0 || out[6] == f32::MIN_POSITIVE);
        }
        assert!(decoded(&mut Natural, &[255, 0, 0, 0, 0], &mut [0.0]).is_err());
    }
}
