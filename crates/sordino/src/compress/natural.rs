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

use super::digits::{Bits, SHEET};
use super::{Class, Compressor, Piece, Pieces, Scope};
use crate::base::{Error, Reader, Result, Stream, Writer};
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

    fn encode(&mut self, x: &[f32], stream: &Stream, out: &mut Writer) {
        let mut u = [0.0; SHEET];
        let exponents = out.room(x.len());
        for (i, (exponents, block)) in exponents.chunks_mut(SHEET).zip(x.chunks(SHEET)).enumerate() {
            let u = &mut u[..block.len()];
            stream.uniforms_at((i * SHEET) as u64, u);
            for ((exponent, &v), &u) in exponents.iter_mut().zip(block).zip(&*u) {
                let bits = (v.to_bits() & 0x7FFF_FFFF) as i32;
                let above = (bits & 0x7F_FFFF) as f32 * (1.0 / 8_388_608.0);
                *exponent = ((bits >> 23) + i32::from(u < above)).min(254) as u8;
            }
        }
        Bits(1).write(out, x.len(), |from, codes| {
            for (code, v) in codes.iter_mut().zip(&x[from..]) {
                *code = v.to_bits() >> 31;
            }
        });
    }

    fn decode(&mut self, body: &mut Reader, out: &mut [f32]) -> Result<()> {
        let exponents = body.raw(out.len())?;
        Bits(1).read(body, out.len(), |from, codes| {
            for ((x, &exponent), code) in out[from..].iter_mut().zip(&exponents[from..]).zip(codes) {
                *x = f32::from_bits(u32::from(exponent) << 23 | code << 31);
            }
        })?;
        if exponents.iter().fold(0, |top, &e| top.max(e)) == 255 {
            return Err(Error::decode("an exponent is that of an infinity"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Use;

    #[test]
    fn powers_of_two_stay_and_the_largest_entries_stay_finite() {
        let x = [1.0, -0.25, 0.0, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45];
        for round in 0..50 {
            let mut w = Writer::new();
            Natural.encode(&x, &Stream::new(0, Use::Encode, 0, round), &mut w);
            let mut out = [0.0; 7];
            Natural.decode(&mut Reader::new(w.bytes()), &mut out).unwrap();
            assert_eq!(out[..4], x[..4]);
            assert_eq!(out[4..6], [2f32.powi(127), -(2f32.powi(127))]);
            assert!(out[6] == 0.0 || out[6] == f32::MIN_POSITIVE);
        }
        assert!(Natural.decode(&mut Reader::new(&[255, 0, 0, 0, 0]), &mut [0.0]).is_err());
    }
}
