//! Keyed streams: the same (seed, use, client, index) gives the same numbers on any machine, in any interleaving.
//!
//! Word *i* of a stream is a mix of `key + i·φ`, two multiplications and three shifts (Stafford's variant 13 of the
//! `SplitMix64` finaliser). A stream can therefore be read at any position without drawing what lies before it, which
//! is what lets an encoder work in blocks. Key derivation, word order and the conversions to floats are frozen by
//! golden values in the tests below: changing any of them changes every published run.

use super::simd::{Bytes as _, Simd, SimdBase as _, SimdCvtFloat as _, f32x16, i32x16, u32x16, u64x8};

/// What a stream is for. Two uses never share numbers. The discriminants are part of the frozen key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Use {
    /// Initial parameters.
    Init = 1,
    /// Which rows make a mini-batch; indexed by local step or epoch.
    Batch = 2,
    /// Random rounding and selection while encoding; indexed by round.
    Encode = 3,
    /// Numbers every rank must share, such as a random block; indexed by round.
    Shared = 4,
    /// Dealing data to clients.
    Partition = 5,
    /// Noise inside a workload (dropout, synthetic gradient noise); indexed by local step.
    Noise = 6,
    /// Who takes part; indexed by round.
    Participation = 7,
    /// Making a synthetic problem.
    Problem = 8,
    /// Encoding on the way down from a server; indexed by round.
    Down = 9,
    /// Sampling text from a trained model.
    Sample = 10,
    /// Faults injected by a fabric decorator.
    Fault = 11,
    /// A simulated world's links, speeds and crashes.
    World = 12,
    /// Which rows a Poisson batch takes, or variance reduction draws again; indexed by local step.
    Inclusion = 13,
    /// Which voices share a bucket before they are aggregated; indexed by round.
    Buckets = 14,
    /// The lies of a liar that draws them; indexed by round.
    Lie = 15,
    /// Directions along which losses are compared; indexed by local step.
    Direction = 16,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers drawn at once by [`Stream::uniforms_at`], and between two stops of the vectoriser.
const BLOCK: usize = 512;
const GROUP: usize = 16;

/// Stafford's variant 13: a bijection of 64 bits with full avalanche.
#[inline(always)]
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How far the counters of a row's eight words lie from the first.
const STEPS: [u64; 8] = {
    let mut steps = [0u64; 8];
    let mut i = 1;
    while i < 8 {
        steps[i] = steps[i - 1].wrapping_add(GOLDEN);
        i += 1;
    }
    steps
};

/// A stream's uniform numbers, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<S: Simd> {
    simd: S,
    key: u64,
    steps: u64x8<S>,
}

impl<S: Simd> Rows<S> {
    /// Entries `from..from + 16`; `from` is even.
    #[inline(always)]
    pub fn at(&self, from: usize) -> f32x16<S> {
        let counter = self.key.wrapping_add((from as u64 / 2).wrapping_mul(GOLDEN));
        let mut z = u64x8::splat(self.simd, counter) + self.steps;
        z = (z ^ z >> 30) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ z >> 27) * 0x94D0_49BB_1331_11EB;
        // The low half of a word is an even entry, its high half the one behind it.
        let bits: i32x16<S> = ((z ^ z >> 31).bitcast::<u32x16<S>>() >> 8).bitcast();
        f32x16::float_from(bits) * (1.0 / 16_777_216.0)
    }
}

/// A keyed stream of random words with a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
    next: u64,
    spare: Option<u32>,
    /// Which part is called part 0.
    first: u64,
}

impl Stream {
    /// The stream of `seed` for one use, one client (a rank or a federated client's id) and one index (a step, a
    /// round, an epoch).
    pub fn new(seed: u64, purpose: Use, client: u64, index: u64) -> Self {
        let mut key = mix(seed.wrapping_add(GOLDEN));
        for part in [purpose as u64, client, index] {
            key = mix(key ^ part.wrapping_mul(GOLDEN).wrapping_add(part.rotate_left(32)));
        }
        Self::of_key(key)
    }

    /// The key by which anybody draws the same numbers: what a message may carry in place of them.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The stream of a key, from its beginning.
    pub fn of_key(key: u64) -> Self {
        Self { key, next: 0, spare: None, first: 0 }
    }

    /// A stream derived from this one for part `index` (a tensor, a bucket, a chunk), whatever has been drawn.
    #[must_use]
    pub fn part(&self, index: u64) -> Self {
        let index = self.first.wrapping_add(index);
        Self::of_key(mix(self.key ^ index.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// This stream with its parts counted from part `first` on: what a chunk of a vector is coded by, whose first bucket is
    /// not the vector's.
    #[must_use]
    pub fn from_part(&self, first: u64) -> Self {
        Self { first: self.first.wrapping_add(first), ..self.clone() }
    }

    /// Word `i`, without moving the cursor.
    #[inline(always)]
    pub fn word_at(&self, i: u64) -> u64 {
        mix(self.key.wrapping_add(i.wrapping_mul(GOLDEN)))
    }

    /// Two uniform numbers in [0, 1) at pair position `i` (entries `2i` and `2i + 1` of a vector), 24 bits each,
    /// without moving the cursor.
    #[inline(always)]
    pub fn pair_at(&self, i: u64) -> (f32, f32) {
        let word = self.word_at(i);
        (unit(word as u32), unit((word >> 32) as u32))
    }

    /// Fills `out` with uniform numbers in [0, 1): entry `j` of the stream's vector is `from + j`; `from` is even.
    #[inline(always)]
    pub fn uniforms_at(&self, from: u64, out: &mut [f32]) {
        debug_assert_eq!(from % 2, 0, "pairs begin at even positions");
        let mut counter = self.key.wrapping_add((from / 2).wrapping_mul(GOLDEN));
        let mut draws = [0u32; BLOCK];
        for block in out.chunks_mut(BLOCK) {
            for group in draws[..block.len().next_multiple_of(GROUP)].as_chunks_mut::<GROUP>().0 {
                for pair in group.as_chunks_mut::<2>().0 {
                    let word = mix(counter);
                    counter = counter.wrapping_add(GOLDEN);
                    *pair = [word as u32, (word >> 32) as u32];
                }
                // Baseline vector units lack 64-bit products: scalar mixing is twice as fast, and this keeps to it.
                counter = std::hint::black_box(counter);
            }
            for (x, draw) in block.iter_mut().zip(&draws) {
                *x = unit(*draw);
            }
        }
    }

    /// The numbers of [`Stream::uniforms_at`], sixteen at a time.
    #[inline(always)]
    pub fn rows<S: Simd>(&self, simd: S) -> Rows<S> {
        Rows { simd, key: self.key, steps: u64x8::load_array(simd, STEPS) }
    }

    /// The next 64 bits.
    #[inline(always)]
    pub fn next_u64(&mut self) -> u64 {
        let word = self.word_at(self.next);
        self.next += 1;
        word
    }

    /// The next 32 bits: low half of a word first, then its high half.
    #[inline(always)]
    pub fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.spare.take() {
            return high;
        }
        let word = self.next_u64();
        self.spare = Some((word >> 32) as u32);
        word as u32
    }

    /// Uniform in [0, 1) with 24 bits.
    #[inline(always)]
    pub fn uniform(&mut self) -> f32 {
        unit(self.next_u32())
    }

    /// Uniform in [0, 1) with 53 bits.
    #[inline(always)]
    pub fn uniform64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n` (Lemire's multiply-and-reject, exactly uniform); `n` must be positive.
    pub fn below(&mut self, n: u64) -> u64 {
        debug_assert!(n > 0, "an empty range has no member");
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            let low = wide as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Standard normal, by Box and Muller with `libm`'s logarithm and cosine, so that every CPU agrees.
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - self.uniform64();
        let v = self.uniform64();
        (libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }

    /// Gamma(shape, 1) by Marsaglia and Tsang; `shape` must be positive. The building block of a Dirichlet draw.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let u = 1.0 - self.uniform64();
            return self.gamma(shape + 1.0) * libm::pow(u, 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = f64::from(self.normal());
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            let u = 1.0 - self.uniform64();
            if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }
}

impl Stream {
    /// Where the cursor stands.
    pub fn cursor(&self) -> Cursor {
        Cursor { next: self.next, spare: self.spare }
    }

    /// The same stream with its cursor there: what one part of a program has drawn, another goes on from.
    #[must_use]
    pub fn at(self, cursor: Cursor) -> Self {
        Self { next: cursor.next, spare: cursor.spare, ..self }
    }
}

/// How far a stream has been drawn from. The default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    next: u64,
    spare: Option<u32>,
}

impl Cursor {
    /// The cursor as two numbers, for a message or a checkpoint.
    pub fn numbers(self) -> [u64; 2] {
        [self.next, self.spare.map_or(0, |half| u64::from(half) + 1)]
    }

    /// Back from [`Cursor::numbers`].
    pub fn of([next, spare]: [u64; 2]) -> Self {
        Self { next, spare: spare.checked_sub(1).map(|half| half as u32) }
    }
}

#[inline(always)]
fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_numbers_wherever_it_is_read() {
        let mut a = Stream::new(7, Use::Encode, 3, 11);
        let b = Stream::new(7, Use::Encode, 3, 11);
        for i in 0..100 {
            assert_eq!(a.next_u64(), b.word_at(i));
        }
        for n in [0, 1, 7, 16, 53] {
            let mut out = vec![0.0; n];
            b.uniforms_at(4, &mut out);
            for (j, u) in out.iter().enumerate() {
                let (low, high) = b.pair_at(2 + j as u64 / 2);
                assert_eq!(*u, if j % 2 == 0 { low } else { high });
            }
        }
        assert_eq!(Stream::of_key(b.key()), b);
        let mut c = Stream::new(7, Use::Encode, 3, 11);
        let (low, high) = b.pair_at(0);
        assert_eq!((c.uniform(), c.uniform()), (low, high));
    }

    #[test]
    fn a_cursor_goes_on_where_it_was_taken() {
        let mut a = Stream::new(7, Use::Noise, 3, 11);
        for _ in 0..20 {
            let mut b = Stream::new(7, Use::Noise, 3, 11).at(Cursor::of(a.cursor().numbers()));
            let next = |s: &mut Stream| (s.next_u32(), s.next_u64(), s.normal(), s.uniform(), s.uniform());
            assert_eq!(next(&mut b), next(&mut a));
            assert_eq!(a, b);
        }
        assert_ne!(a.cursor(), Cursor::default());
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let word = |s, u, c, i| Stream::new(s, u, c, i).word_at(0);
        let base = word(1, Use::Batch, 2, 3);
        for other in [
            word(2, Use::Batch, 2, 3),
            word(1, Use::Encode, 2, 3),
            word(1, Use::Batch, 3, 3),
            word(1, Use::Batch, 2, 4),
            word(1, Use::Batch, 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_and_bits_look_uniform() {
        let mut s = Stream::new(0, Use::Noise, 0, 0);
        let n = 200_000;
        let mut ones = [0u32; 64];
        let (mut sum, mut squares, mut normal, mut normal2) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            let w = s.next_u64();
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += (w >> bit) as u32 & 1;
            }
            let u = f64::from(s.uniform());
            sum += u;
            squares += u * u;
            let z = f64::from(s.normal());
            normal += z;
            normal2 += z * z;
        }
        let n = f64::from(n);
        // Six standard errors of each statistic.
        for count in ones {
            assert!((f64::from(count) - n / 2.0).abs() < 6.0 * (n / 4.0).sqrt());
        }
        assert!((sum / n - 0.5).abs() < 6.0 * (1.0 / 12.0f64).sqrt() / n.sqrt());
        assert!((squares / n - 1.0 / 3.0).abs() < 6.0 * 0.3 / n.sqrt());
        assert!((normal / n).abs() < 6.0 / n.sqrt());
        assert!((normal2 / n - 1.0).abs() < 6.0 * 2f64.sqrt() / n.sqrt());
    }

    #[test]
    fn below_is_in_range_and_gamma_has_its_mean() {
        let mut s = Stream::new(5, Use::Partition, 0, 0);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[s.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&c| (800..1200).contains(&c)), "{seen:?}");
        for shape in [0.3, 1.0, 4.5] {
            let mean = (0..20_000).map(|_| s.gamma(shape)).sum::<f64>() / 20_000.0;
            assert!((mean - shape).abs() < 6.0 * (shape / 20_000.0).sqrt(), "{shape} {mean}");
        }
    }
}
