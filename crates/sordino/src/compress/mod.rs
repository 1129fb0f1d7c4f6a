//! A vector as few bytes: the [`Compressor`] contract, its [`Linear`] face, and the list of elements.

mod dense;
mod scope;
mod topk;

pub use dense::Dense;
pub use scope::{Piece, Pieces, Scope};
pub use topk::TopK;

use crate::base::{Layout, Reader, Result, Stream, Writer};
use crate::grammar::{self, Element, Entry};

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Compressor>>] = &[&dense::ENTRY, &topk::ENTRY];

/// Builds the compressor that an element names.
pub fn build(element: &Element) -> Result<Box<dyn Compressor>> {
    grammar::build("compress", ENTRIES, element)
}

/// What a compressor promises about `C(v)`, for every finite `v` of `d` entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// `C(v) = v`, bit for bit.
    Lossless,
    /// `E C(v) = v` and `E‖C(v) − v‖² ≤ omega·‖v‖²`.
    Unbiased {
        /// The variance factor.
        omega: f64,
    },
    /// `‖C(v) − v‖² ≤ (1 − delta)·‖v‖²`, in expectation where `C` draws, 0 < delta ≤ 1.
    Contractive {
        /// The contraction.
        delta: f64,
    },
    /// `‖C(v) − v‖ ≤ ‖v‖`, and nothing better in general: repeated on what is left it still makes progress by an
    /// absolute amount (norm clipping).
    Clipping,
}

/// Where a vector is coded: its layout, the sender's private stream of this round, and the stream all ranks share.
#[derive(Clone, Copy, Debug)]
pub struct Coding<'a> {
    /// The tensors of the vector.
    pub layout: &'a Layout,
    /// Private randomness of the sender for this round.
    pub stream: &'a Stream,
    /// Randomness that every rank shares in this round.
    pub shared: &'a Stream,
}

/// Turns a vector into few bytes and those bytes into a vector.
///
/// # Contract
/// `encode` appends the body of a message (the caller frames and seals it) of at most `bound` bytes, and is
/// deterministic given its streams. `given` has `layout.len()` entries, all finite (callers check). `decode` reads a
/// body that may come from anywhere: it fills `out` entirely or returns a decode error, never panics, never allocates
/// by a number it read, and is what *said* means: sender and receivers get the same bits. A decoder needs nothing but
/// the bytes, the layout and its own settings: not the sender's stream.
pub trait Compressor: Send {
    /// What is promised on vectors of this layout.
    fn class(&self, layout: &Layout) -> Class;

    /// The most bytes `encode` appends.
    fn bound(&self, layout: &Layout) -> usize;

    /// Appends the body of a message.
    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()>;

    /// Reads the body of a message into `out`.
    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()>;

    /// The linear face, where coding commutes with adding up; what all-reduce needs.
    fn linear(&mut self) -> Option<&mut dyn Linear> {
        None
    }
}

/// The linear face of a compressor: project, add up, lift equals the operation on the sum.
///
/// # Contract
/// `project` is linear for fixed `at.shared` and uses no private randomness; every rank's short vector has
/// `short_len` entries. `lift` is pure and called twice: on a rank's own projection (what it said) and on the mean
/// (what was agreed).
pub trait Linear {
    /// Entries of the short vector.
    fn short_len(&self, layout: &Layout) -> usize;

    /// Overwrites `short` with the projection of `given`.
    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>);

    /// Overwrites `out` with the vector that `short` stands for.
    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]);
}

/// Keys that every element of the axis takes.
pub const COMMON: &[grammar::Key] = &[];
