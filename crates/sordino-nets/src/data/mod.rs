//! What a network learns from: plain arrays, shared between the workers of a process.

mod images;
mod text;

pub use images::{ImageBatch, ImageData, Images};
pub use text::{Text, TextBatch};

use burn::tensor::Device;
use sordino::workload::Split;

/// Numbered rows that become batches.
///
/// # Contract
/// A row's content depends on its number and split alone. The rows of a batch come in the order asked for.
pub trait Data: Send {
    /// What the loss is given.
    type Batch;

    /// How many rows a split has.
    fn rows(&self, split: Split) -> usize;

    /// How many examples one row holds: 1, or the characters of a window. Evaluations are limited in examples.
    fn examples(&self) -> usize {
        1
    }

    /// The training rows that an evaluation of at most `most` of them looks at: the first ones, unless told otherwise.
    fn looked_at(&self, most: usize) -> Vec<u32> {
        (0..self.rows(Split::Train).min(most) as u32).collect()
    }

    /// The given rows on `device`.
    fn batch(&self, split: Split, rows: &[u32], device: &Device) -> Self::Batch;

    /// A hash of everything in it.
    fn fingerprint(&self) -> u64;
}

/// A running 64-bit hash of data; the same on every machine and compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hash {
    /// Takes in words.
    #[must_use]
    pub fn words(self, words: impl IntoIterator<Item = u64>) -> Self {
        Self(words.into_iter().fold(self.0, |h, w| (h ^ w).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(5)))
    }

    /// Takes in bytes and their number.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.words(bytes.iter().map(|&b| u64::from(b))).words([bytes.len() as u64])
    }

    /// Takes in floats by their bits.
    #[must_use]
    pub fn floats(self, floats: &[f32]) -> Self {
        self.words(floats.iter().map(|f| u64::from(f.to_bits()))).words([floats.len() as u64])
    }

    /// The hash of what was taken in.
    pub fn finish(self) -> u64 {
        self.0
    }
}
