//! Numbers of few values packed into words, in a form that vector units pack and unpack.
//!
//! A vector is cut into *sheets*. In a sheet of `m` entries with words of `p` digits there are `w = ⌈m/p⌉` words, and
//! word `j` holds entries `j, j + w, j + 2w, …`: neighbours lie in neighbouring words, so one instruction serves many.
//! [`Bits`] packs bit planes, [`Digits`] packs digits of base 3, 5 and 9 into bytes without loss: a word with value
//! `a < bᵖ` is stored as the fraction `⌈a·2ᴮ/bᵖ⌉`, from which multiplying by `b` shifts out one digit after another.
//! Every pattern of bytes is a valid sheet.

use crate::base::{Error, Reader, Result, Writer};

/// Entries in a sheet of [`Bits`]; also the most that a `fill` or a `take` is given at once.
pub const SHEET: usize = 512;

const WORDS: usize = SHEET / 32;

/// Numbers of `width` bits, 1 to 16, in bit planes, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub u32);

impl Bits {
    /// Bytes of `n` numbers.
    pub const fn len(self, n: usize) -> usize {
        4 * self.0 as usize * (n / SHEET * WORDS + (n % SHEET).div_ceil(32))
    }

    /// Bits that a code is given beside others in one word: 8 or 16, whichever holds it.
    const fn field(self) -> u32 {
        if self.0 <= 8 { 8 } else { 16 }
    }

    /// The lowest bit of every field.
    const fn ones(self) -> u32 {
        if self.0 <= 8 { 0x0101_0101 } else { 0x0001_0001 }
    }

    /// Row r: the codes that lie `field` rows apart, beside one another, so that a plane is gathered from few rows.
    #[inline]
    fn merge(self, codes: &[u32; SHEET], words: usize) -> [[u32; WORDS]; 16] {
        let mut merged = [[0u32; WORDS]; 16];
        let field = self.field();
        for (i, row) in codes[..32 * words].chunks_exact(words).enumerate() {
            let (at, shift) = (i as u32 % field, i as u32 / field * field);
            for (both, code) in merged[at as usize].iter_mut().zip(row) {
                *both |= code << shift;
            }
        }
        merged
    }

    /// Appends `n` numbers; `fill(from, codes)` writes those of entries `from..from + codes.len()`.
    #[inline]
    pub fn write(self, out: &mut Writer, n: usize, mut fill: impl FnMut(usize, &mut [u32])) {
        let mut codes = [0u32; SHEET];
        let (mut quads, _) = out.room(self.len(n)).as_chunks_mut::<4>();
        for from in (0..n).step_by(SHEET) {
            let m = SHEET.min(n - from);
            fill(from, &mut codes[..m]);
            codes[m..].fill(0);
            let words = m.div_ceil(32);
            let merged = self.merge(&codes, words);
            for plane in (0..self.0).rev() {
                let mut packed = [0u32; WORDS];
                for (r, row) in merged[..self.field() as usize].iter().enumerate() {
                    for (word, code) in packed.iter_mut().zip(row) {
                        *word |= (code >> plane & self.ones()) << r;
                    }
                }
                let (head, tail) = quads.split_at_mut(words);
                for (quad, word) in head.iter_mut().zip(packed) {
                    *quad = word.to_le_bytes();
                }
                quads = tail;
            }
        }
    }

    /// Reads `n` numbers; `take(from, codes)` is given those of entries `from..from + codes.len()`.
    #[inline]
    pub fn read(self, body: &mut Reader, n: usize, mut take: impl FnMut(usize, &[u32])) -> Result<()> {
        let mut codes = [0u32; SHEET];
        let (mut quads, _) = body.raw(self.len(n))?.as_chunks::<4>();
        for from in (0..n).step_by(SHEET) {
            let m = SHEET.min(n - from);
            let words = m.div_ceil(32);
            codes.fill(0);
            for _ in 0..self.0 {
                let mut packed = [0u32; WORDS];
                let (head, tail) = quads.split_at(words);
                for (word, quad) in packed.iter_mut().zip(head) {
                    *word = u32::from_le_bytes(*quad);
                }
                quads = tail;
                if words == WORDS {
                    codes.as_chunks_mut::<WORDS>().0.iter_mut().for_each(|row| shift_out(&mut packed, row));
                } else {
                    codes[..32 * words].chunks_exact_mut(words).for_each(|row| shift_out(&mut packed, row));
                }
            }
            take(from, &codes[..m]);
        }
        Ok(())
    }
}

/// Moves the lowest bit of every word into its code.
#[inline]
fn shift_out(packed: &mut [u32; WORDS], row: &mut [u32]) {
    for (word, code) in packed.iter_mut().zip(row) {
        *code = *code << 1 | *word & 1;
        *word >>= 1;
    }
}

/// Digits of base `2^SHIFT + 1`, `PER` of them in `BYTES` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits<const SHIFT: u32, const PER: usize, const BYTES: usize>;

/// Base 3, five in a byte: 1.6 bits each.
pub type Threes = Digits<1, 5, 1>;
/// Base 5, ten in three bytes: 2.4 bits each.
pub type Fives = Digits<2, 10, 3>;
/// Base 9, five in two bytes: 3.2 bits each.
pub type Nines = Digits<3, 5, 2>;

/// Entries in a sheet of [`Digits`]: whole words of five and of ten digits.
const DIGIT_SHEET: usize = 320;
const DIGIT_WORDS: usize = 64;
/// Added to an f64, it leaves the nearest whole number (an even one of two) in the low bits.
const TO_WHOLE: f64 = 4_503_599_627_370_496.0;

impl<const SHIFT: u32, const PER: usize, const BYTES: usize> Digits<SHIFT, PER, BYTES> {
    const PER_VALUE: f64 = (1u64 << (8 * BYTES)) as f64 / ((1u64 << SHIFT) + 1).pow(PER as u32) as f64;

    /// ⌈a·2ᴮ/bᵖ⌉, in a form that vector units have: a fraction that is not whole is farther from a whole number than f64
    /// rounds, so that it and a half, to the nearest, is the ceiling.
    #[inline]
    fn fraction(value: u32) -> u32 {
        (f64::from(value as i32) * Self::PER_VALUE + 0.5 + TO_WHOLE).to_bits() as u32
    }

    /// Bytes of `n` digits.
    pub const fn len(n: usize) -> usize {
        BYTES * n.div_ceil(PER)
    }

    /// Appends `n` digits; `fill(from, digits)` writes those of entries `from..from + digits.len()`.
    #[inline]
    pub fn write(out: &mut Writer, n: usize, mut fill: impl FnMut(usize, &mut [u32])) {
        let mut digits = [0u32; DIGIT_SHEET];
        let (mut places, _) = out.room(Self::len(n)).as_chunks_mut::<BYTES>();
        for from in (0..n).step_by(DIGIT_SHEET) {
            let m = DIGIT_SHEET.min(n - from);
            fill(from, &mut digits[..m]);
            digits[m..].fill(0);
            let words = m.div_ceil(PER);
            let mut values = [0u32; DIGIT_WORDS];
            for row in digits[..PER * words].chunks_exact(words) {
                for (value, digit) in values[..words].iter_mut().zip(row) {
                    *value += (*value << SHIFT) + digit;
                }
            }
            let mut fractions = [0u32; DIGIT_WORDS];
            for (fraction, value) in fractions.iter_mut().zip(values) {
                *fraction = Self::fraction(value);
            }
            let (head, tail) = places.split_at_mut(words);
            for (place, fraction) in head.iter_mut().zip(fractions) {
                place.copy_from_slice(&fraction.to_le_bytes()[..BYTES]);
            }
            places = tail;
        }
    }

    /// Reads `n` digits; `take(from, digits)` is given those of entries `from..from + digits.len()`.
    #[inline]
    pub fn read(body: &mut Reader, n: usize, mut take: impl FnMut(usize, &[u32])) -> Result<()> {
        let mut digits = [0u32; DIGIT_SHEET];
        let (mut places, _) = body.raw(Self::len(n))?.as_chunks::<BYTES>();
        for from in (0..n).step_by(DIGIT_SHEET) {
            let m = DIGIT_SHEET.min(n - from);
            let words = m.div_ceil(PER);
            let (head, tail) = places.split_at(words);
            let mut fractions = [0u32; DIGIT_WORDS];
            for (fraction, place) in fractions.iter_mut().zip(head) {
                *fraction = place.iter().rev().fold(0, |f, &b| f << 8 | u32::from(b));
            }
            places = tail;
            for row in digits[..PER * words].chunks_exact_mut(words) {
                for (fraction, digit) in fractions[..words].iter_mut().zip(row) {
                    let shifted = *fraction + (*fraction << SHIFT);
                    *digit = shifted >> (8 * BYTES);
                    *fraction = shifted & ((1 << (8 * BYTES)) - 1);
                }
            }
            take(from, &digits[..m]);
        }
        Ok(())
    }
}

/// The refusal of a code that no encoder writes.
pub fn unknown_code(what: &str, came: u32, most: u32) -> Error {
    Error::decode(format!("{what} {came} is above {most}, the most that there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(
        n: usize,
        base: u32,
        write: impl Fn(&mut Writer, &[u32]),
        read: impl Fn(&mut Reader, &mut [u32]),
    ) -> usize {
        let codes: Vec<u32> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % base).collect();
        let mut w = Writer::new();
        write(&mut w, &codes);
        let mut back = vec![99; n];
        let mut r = Reader::new(w.bytes());
        read(&mut r, &mut back);
        r.done().unwrap();
        assert_eq!(back, codes, "{n} digits of base {base}");
        w.bytes().len()
    }

    fn digits<const S: u32, const P: usize, const B: usize>(n: usize) -> usize {
        there_and_back(
            n,
            (1 << S) + 1,
            |w, c| Digits::<S, P, B>::write(w, c.len(), |from, d| d.copy_from_slice(&c[from..from + d.len()])),
            |r, c| Digits::<S, P, B>::read(r, c.len(), |from, d| c[from..from + d.len()].copy_from_slice(d)).unwrap(),
        )
    }

    #[test]
    fn what_is_packed_comes_back_in_the_promised_bytes() {
        for n in [0, 1, 4, 5, 9, 10, 31, 33, 319, 320, 321, 512, 513, 2048, 5000] {
            for width in 1..=9 {
                let bits = Bits(width);
                let bytes = there_and_back(
                    n,
                    1 << width,
                    |w, c| bits.write(w, c.len(), |from, d| d.copy_from_slice(&c[from..from + d.len()])),
                    |r, c| bits.read(r, c.len(), |from, d| c[from..from + d.len()].copy_from_slice(d)).unwrap(),
                );
                assert_eq!(bytes, bits.len(n));
                assert!(8 * bytes <= width as usize * n.next_multiple_of(32));
            }
            assert_eq!(digits::<1, 5, 1>(n), n.div_ceil(5));
            assert_eq!(digits::<2, 10, 3>(n), 3 * n.div_ceil(10));
            assert_eq!(digits::<3, 5, 2>(n), 2 * n.div_ceil(5));
        }
    }

    #[test]
    fn every_word_of_digits_is_told_apart() {
        // Every word of five base-3 and of five base-9 digits, a sheet of 64 or fewer words at a time.
        fn all<const S: u32, const B: usize>(base: u32) {
            for first in (0..base.pow(5)).step_by(64) {
                let words = 64.min(base.pow(5) - first) as usize;
                let digit = |i: usize| (first + (i % words) as u32) / base.pow(4 - (i / words) as u32) % base;
                let mut w = Writer::new();
                Digits::<S, 5, B>::write(&mut w, 5 * words, |_, d| (0..5 * words).for_each(|i| d[i] = digit(i)));
                let same = |d: &[u32]| d.iter().enumerate().all(|(i, x)| *x == digit(i));
                Digits::<S, 5, B>::read(&mut Reader::new(w.bytes()), 5 * words, |_, d| assert!(same(d))).unwrap();
            }
        }
        all::<1, 1>(3);
        all::<3, 2>(9);
        for digit in 0..5 {
            let mut w = Writer::new();
            Fives::write(&mut w, 20, |_, d| d.fill(digit));
            Fives::read(&mut Reader::new(w.bytes()), 20, |_, d| assert!(d.iter().all(|&x| x == digit))).unwrap();
        }
    }

    #[test]
    fn every_fraction_is_the_ceiling() {
        assert!((0..5u32.pow(10)).all(|v| u64::from(Fives::fraction(v)) == (u64::from(v) << 24).div_ceil(9_765_625)));
        assert!((0..9u32.pow(5)).all(|v| Nines::fraction(v) == (v << 16).div_ceil(59_049)));
        assert!((0..3u32.pow(5)).all(|v| Threes::fraction(v) == (v << 8).div_ceil(243)));
    }

    #[test]
    fn every_pattern_of_bytes_gives_digits_below_the_base() {
        let bytes: Vec<u8> = (0..=255).collect();
        Threes::read(&mut Reader::new(&bytes), 1280, |_, d| assert!(d.iter().all(|&x| x < 3))).unwrap();
        Fives::read(&mut Reader::new(&[0xFF; 96]), 320, |_, d| assert!(d.iter().all(|&x| x < 5))).unwrap();
        Nines::read(&mut Reader::new(&[0xFF; 128]), 320, |_, d| assert!(d.iter().all(|&x| x < 9))).unwrap();
        assert!(Nines::read(&mut Reader::new(&[0xFF; 127]), 320, |_, _| ()).is_err());
    }
}
