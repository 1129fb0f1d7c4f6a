//! Noise: Gaussian numbers that nobody without the key can guess.
//!
//! # What it does
//! Adds independent normal numbers from a ChaCha20 stream to a vector, the same ones for the same key, client and
//! round.
//!
//! # The step
//! ```text
//! K₁ = ChaCha20(key; stream client, block purpose)     K₂ = ChaCha20(K₁; stream index, block sample)
//! u, v = two words of ChaCha20(K₂), as numbers in (0, 1]
//! x₂ᵢ   ← x₂ᵢ   + σ √(−2 ln u) cos 2πv
//! x₂ᵢ₊₁ ← x₂ᵢ₊₁ + σ √(−2 ln u) sin 2πv                Box-Muller
//! ```
//! # Contract
//! Deviations are ≥ 0 and finite; 0 leaves every bit as it is. A normal number is at most 9.5 in size, never infinite.
//! A shorter vector gets the beginning of a longer one's noise. The same bits on every machine. Nothing is drawn from
//! a cursor: calls may come in any order, and *the same position twice gives the same noise twice*. A client that
//! releases two vectors under one (key, client, round) reveals their difference.
//!
//! # When it helps, when it hurts
//! [`Noise::fill`] is what (ε, δ) speaks of, after clipping. [`Noise::perturb`] goes to each example's gradient
//! *before* clipping, where it makes clipped gradients point the right way on average; it has numbers of its own and
//! buys no ε. A key from a seed is for experiments: who knows the seed can take the noise away again. For a promise to
//! people, 32 bytes of the operating system's entropy, kept from whoever reads the result.
//!
//! (ε, δ) is computed for real numbers. Floats are a grid, and the low bits of a noisy float can tell which values it
//! cannot have come from (Mironov 2012). Here noise and sum are made in f64 and rounded to f32 once, which hides that
//! grid behind 29 further bits; it does not prove it hidden, and no promise about an adversary who studies low bits is
//! made.
//!
//! # Reference
//! Dwork, Roth: The algorithmic foundations of differential privacy, appendix A. Chen, Wu, Hong: Understanding
//! gradient clipping in private SGD (2006.15429) for the perturbation. Bernstein: ChaCha. Mironov: On significance of
//! the least significant bits for differential privacy (CCS 2012).
//!
//! # Deviations from the paper
//! Noise on a grid where the papers have real numbers, as said above: neither the discrete Gaussian nor snapping.

use std::f64::consts::TAU;
use std::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// What noise is for. The discriminants are part of the frozen key derivation.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    /// Hides a contribution.
    Privacy = 1,
    /// Evens out what clipping bends.
    Perturbation = 2,
}

/// A source of Gaussian noise.
#[derive(Clone, PartialEq, Eq)]
pub struct Noise {
    key: [u8; 32],
}

/// The key stays out of logs.
impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noise { key: hidden }")
    }
}

impl Noise {
    /// Noise of a key: 32 bytes of entropy that the caller has fetched.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Noise that can be made again from a number, and so hides nothing from whoever knows or guesses it.
    pub fn from_seed(seed: u64) -> Self {
        let mut key = *b"........sordino privacy by seed.";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self { key }
    }

    /// Adds the noise that hides what `client` says in `round`, with this standard deviation in every entry.
    pub fn fill(&self, client: u64, round: u64, deviation: f64, out: &mut [f32]) {
        self.add(Purpose::Privacy, [client, round, 0], deviation, out);
    }

    /// Adds the perturbation of the gradient of the `sample`-th example in `client`'s local step `step`.
    pub fn perturb(&self, client: u64, step: u64, sample: u64, deviation: f64, out: &mut [f32]) {
        self.add(Purpose::Perturbation, [client, step, sample], deviation, out);
    }

    fn add(&self, purpose: Purpose, [client, index, sample]: [u64; 3], deviation: f64, out: &mut [f32]) {
        debug_assert!(deviation >= 0.0 && deviation.is_finite(), "a deviation is at least 0 and finite");
        // Adding 0 would turn -0 into 0.
        if deviation == 0.0 {
            return;
        }
        let key = derive(derive(self.key, client, purpose as u64), index, sample);
        let mut words = ChaCha20Rng::from_seed(key);
        for pair in out.chunks_mut(2) {
            let normals = normals(words.next_u64(), words.next_u64());
            for (x, normal) in pair.iter_mut().zip(normals) {
                *x = (f64::from(*x) + deviation * normal) as f32;
            }
        }
    }
}

/// A key that tells nothing of the one it comes from: half a ChaCha20 block, at a place that gives no noise.
fn derive(key: [u8; 32], stream: u64, block: u64) -> [u8; 32] {
    let mut words = ChaCha20Rng::from_seed(key);
    words.set_stream(stream);
    words.set_block_pos(block);
    let mut derived = [0; 32];
    words.fill_bytes(&mut derived);
    derived
}

/// Two independent standard normal numbers of two words.
fn normals(first: u64, second: u64) -> [f64; 2] {
    const UNIT: f64 = 1.0 / (1u128 << 64) as f64;
    // In (0, 1]: the half keeps the logarithm finite, and all 64 bits reach the tail.
    let radius = libm::sqrt(-2.0 * libm::log((first as f64 + 0.5) * UNIT));
    let (sin, cos) = libm::sincos(TAU * (second as f64 * UNIT));
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 1 << 18;

    fn drawn(noise: &Noise, client: u64, round: u64) -> Vec<f32> {
        let mut out = vec![0.0; MANY];
        noise.fill(client, round, 1.0, &mut out);
        out
    }

    /// The mean of f(x), and how many of its own deviations it lies from what theory says, given the variance of f.
    fn far_from(expected: f64, variance: f64, values: impl Iterator<Item = f64>) -> f64 {
        let mean = values.sum::<f64>() / MANY as f64;
        (mean - expected).abs() / (variance / MANY as f64).sqrt()
    }

    #[test]
    fn the_stream_is_chacha20() {
        // Key and nonce 0: the first words of the published key stream 76b8e0ad a0f13d90 405d6ae5 5386bd28.
        let mut words = ChaCha20Rng::from_seed([0; 32]);
        assert_eq!(words.next_u64().to_le_bytes(), [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        assert_eq!(words.next_u64().to_le_bytes(), [0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28]);
    }

    #[test]
    fn moments_are_those_of_a_normal_law() {
        let x = drawn(&Noise::from_seed(1), 0, 0);
        let x = || x.iter().map(|&x| f64::from(x));
        // Var of x, x², x³, x⁴ under N(0, 1): 1, 2, 15, 96. Five deviations are one chance in two million.
        assert!(far_from(0.0, 1.0, x()) < 5.0);
        assert!(far_from(1.0, 2.0, x().map(|x| x * x)) < 5.0);
        assert!(far_from(0.0, 15.0, x().map(|x| x.powi(3))) < 5.0);
        assert!(far_from(3.0, 96.0, x().map(|x| x.powi(4))) < 5.0);
        // P(|x| > 3).
        let tail = 0.002_699_796;
        assert!(far_from(tail, tail * (1.0 - tail), x().map(|x| f64::from(x.abs() > 3.0))) < 5.0);
        // Neighbours: the two of a pair, and pairs.
        for lag in [1, 2, 3] {
            assert!(far_from(0.0, 1.0, x().zip(x().skip(lag)).map(|(a, b)| a * b)) < 5.0);
        }
        // A control: a uniform law of the same mean and variance has fourth moment 1.8.
        assert!(far_from(1.8, 96.0, x().map(|x| x.powi(4))) > 50.0);
    }

    #[test]
    fn keys_clients_rounds_and_purposes_share_nothing() {
        let noise = Noise::from_seed(7);
        let here = drawn(&noise, 3, 5);
        let mut perturbed = vec![0.0; MANY];
        noise.perturb(3, 5, 0, 1.0, &mut perturbed);
        let mut next = vec![0.0; MANY];
        noise.perturb(3, 5, 1, 1.0, &mut next);
        assert!(far_from(0.0, 1.0, perturbed.iter().zip(&next).map(|(a, b)| f64::from(a * b))) < 5.0);
        for there in [
            drawn(&Noise::from_seed(8), 3, 5),
            drawn(&noise, 4, 5),
            drawn(&noise, 3, 6),
            drawn(&noise, 5, 3),
            perturbed,
        ] {
            assert!(far_from(0.0, 1.0, here.iter().zip(&there).map(|(a, b)| f64::from(a * b))) < 5.0);
        }
    }

    #[test]
    fn a_position_has_its_noise_in_any_order_and_length() {
        let noise = Noise::new([9; 32]);
        let (later, earlier) = (drawn(&noise, 1, 2), drawn(&noise, 0, 1));
        assert_eq!((drawn(&noise, 0, 1), drawn(&noise, 1, 2)), (earlier, later.clone()));
        let mut short = [0.0; 7];
        noise.fill(1, 2, 1.0, &mut short);
        assert_eq!(short, later[..7]);
    }

    #[test]
    fn noise_is_added_and_none_changes_no_bit() {
        let noise = Noise::from_seed(0);
        let mut x = [-0.0, 1.0, f32::MIN_POSITIVE];
        noise.fill(0, 0, 0.0, &mut x);
        assert_eq!(x.map(f32::to_bits), [-0.0, 1.0, f32::MIN_POSITIVE].map(f32::to_bits));
        let (mut plain, mut moved) = ([0.0; 4], [1000.0; 4]);
        noise.fill(0, 0, 2.0, &mut plain);
        noise.fill(0, 0, 2.0, &mut moved);
        assert!(plain.iter().zip(moved).all(|(n, x)| (x - 1000.0 - n).abs() < 1e-4));
    }

    #[test]
    fn no_word_gives_an_infinite_number() {
        for first in [0, 1, u64::MAX] {
            for second in [0, 1 << 62, u64::MAX] {
                assert!(normals(first, second).iter().all(|x| x.abs() < 9.5));
            }
        }
        assert!(normals(0, 0)[0] > 9.4);
    }

    #[test]
    fn the_first_numbers_are_frozen() {
        let mut x = [0.0; 4];
        Noise::from_seed(42).fill(1, 2, 1.0, &mut x);
        // Made apart by a ChaCha20 of twenty lines in Python.
        assert_eq!(x.map(f32::to_bits), [1_024_540_790, 1_058_210_984, 1_066_233_569, 1_046_135_291], "{x:?}");
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Noise::new([1; 32])), "Noise { key: hidden }");
    }
}
