//! A vector as few bytes: the [`Compressor`] contract, its [`Linear`] face, and the list of elements.

mod bingrad;
mod block;
mod clipped;
mod cuts;
mod dense;
mod digits;
mod half;
mod natural;
mod orq;
mod powersgd;
mod qsgd;
mod randk;
mod scope;
mod sign;
mod sink;
mod span;
mod terngrad;
mod topk;

pub use bingrad::{BinGrad, Kind};
pub use block::Block;
pub use clipped::Clipped;
pub use cuts::{cut, nearest};
pub use dense::Dense;
pub use half::{Format, Half};
pub use natural::Natural;
pub use orq::Orq;
pub use powersgd::PowerSgd;
pub use qsgd::{Norm, Qsgd};
pub use randk::RandK;
pub use scope::{Piece, Pieces, Scope};
pub use sign::Sign;
pub use sink::{Add, Overwrite, Sink};
pub use span::Span;
pub use terngrad::TernGrad;
pub use topk::TopK;

use crate::base::{Former, Layout, Reader, Result, State, Stream, Writer, flat};
use crate::grammar::{self, Element, Entry, Key, Listing};

/// Every element of the axis, in alphabetical order.
pub const ENTRIES: &[&Entry<Box<dyn Compressor>>] = &[
    &bingrad::ENTRY,
    &block::ENTRY,
    &clipped::ENTRY,
    &dense::ENTRY,
    &half::ENTRY,
    &natural::ENTRY,
    &orq::ENTRY,
    &powersgd::ENTRY,
    &qsgd::ENTRY,
    &randk::ENTRY,
    &sign::ENTRY,
    &span::ENTRY,
    &terngrad::ENTRY,
    &topk::ENTRY,
];

/// Keys that every element of the axis takes besides its own.
pub const COMMON: &[Key] = &[Key {
    name: "clip",
    default: "none",
    about: "tau: the whole vector is scaled to norm at most tau first, as by clipped(tau, ...)",
}];

/// Builds the compressor that an element names, behind the common key `clip` if it is given.
pub fn build(element: &Element) -> Result<Box<dyn Compressor>> {
    let (own, common) = split(element);
    let built = grammar::build("compress", ENTRIES, &own)?;
    Ok(match COMMON_LISTING.resolve(&common)?.optional("clip")? {
        Some(tau) => Box::new(Clipped::new(tau, built)),
        None => built,
    })
}

/// The element with every argument under its key, common ones included, defaults left out.
pub fn normalise(element: &Element) -> Result<Element> {
    let (own, common) = split(element);
    let Some(entry) = ENTRIES.iter().find(|e| e.name == own.name) else {
        return Err(grammar::unknown("element of `compress`", &own.name, ENTRIES.iter().map(|e| e.name)));
    };
    let mut normal = entry.listing().normalise(&own)?;
    normal.named.extend(common.named);
    Ok(normal)
}

const COMMON_LISTING: Listing = Listing { name: "compress", about: "", keys: COMMON };

/// The element without the common keys, and the common keys alone.
fn split(element: &Element) -> (Element, Element) {
    let (mut own, mut common) = (element.clone(), Element::word(&element.name));
    for key in COMMON {
        common.named.extend(own.named.remove_entry(key.name));
    }
    (own, common)
}

/// What a compressor promises about `C(v)`, for every finite `v` of `d` entries: up to a rounding in f32, and up to
/// 2⁻¹²⁶ an entry, below which f32 has no full precision.
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
    /// `E‖C(v) − v‖² ≤ factor·‖v‖²` with a factor above 1, biased: what is left may be longer than what was given.
    Bounded {
        /// The largest share of error.
        factor: f64,
    },
}

impl Class {
    /// The bound on `E‖C(v) − v‖² / ‖v‖²`.
    pub fn factor(self) -> f64 {
        match self {
            Self::Lossless => 0.0,
            Self::Unbiased { omega } => omega,
            Self::Contractive { delta } => 1.0 - delta,
            Self::Clipping => 1.0,
            Self::Bounded { factor } => factor,
        }
    }
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

/// What runs two pieces of work, perhaps at once, and returns when both are done.
pub type Both = fn(&mut (dyn FnMut() + Send), &mut (dyn FnMut() + Send));

/// What a compressor may work with besides the thread that calls it. Bytes and bits do not depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Hands {
    /// How both halves are worked on.
    pub both: Both,
    /// Only vectors of at least so many entries are worth it.
    pub least: usize,
}

/// Turns a vector into few bytes and those bytes into a vector.
///
/// # Contract
/// `encode` appends the body of a message (the caller frames and seals it) of at most `bound` bytes, and is
/// deterministic given its streams. `given` has `layout.len()` entries, all finite (callers check). `decode` reads a
/// body that may come from anywhere: it fills `out` entirely or returns a decode error, never panics, never allocates
/// by a number it read, and is what *said* means: sender and receivers get the same bits. A decoder needs nothing but
/// the bytes, the layout and its own settings: not the sender's stream. `add` gives the bits of decoding and adding, and
/// the same errors; after an error some of a body may have been added, so a sum that met one is of no use.
pub trait Compressor: Send {
    /// What is promised on vectors of this layout.
    fn class(&self, layout: &Layout) -> Class;

    /// The most bytes `encode` appends.
    fn bound(&self, layout: &Layout) -> usize;

    /// Appends the body of a message.
    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()>;

    /// Reads the body of a message into `out`.
    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()>;

    /// onto ← onto + weight · what the body of a message says, for a finite weight of at least 0. `spare` is room for a
    /// vector, which only a code that cannot add while it decodes makes use of.
    fn add(
        &mut self,
        body: &mut Reader,
        layout: &Layout,
        weight: f32,
        onto: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<()> {
        decode_and_add(self, body, layout, weight, onto, spare)
    }

    /// The linear face, where coding commutes with adding up; what all-reduce needs.
    fn linear(&mut self) -> Option<&mut dyn Linear> {
        None
    }

    /// After how many entries of a tensor a vector may be cut into chunks that are coded by themselves, each with scales
    /// and selections of its own; where a tensor ends it may be cut too. None: it looks at the whole vector at once.
    fn grain(&self, _layout: &Layout) -> Option<usize> {
        None
    }

    /// The same for cuts that change nothing of what is said: those between its buckets.
    fn seam(&self, _layout: &Layout) -> Option<usize> {
        None
    }

    /// How many parts of its streams a vector of this layout is coded by, at the most: a chunk's go on where those of the
    /// chunks before it end.
    fn parts(&self, layout: &Layout) -> u64 {
        layout.len() as u64
    }

    /// Lends a second thread, once, before anything is coded. A code that looks at the whole vector at once has no use for it.
    fn lend(&mut self, _hands: Hands) {}

    /// How many entries this compressor has cut down to the largest number of its format so far.
    fn saturated(&self) -> u64 {
        0
    }

    /// How many vectors were shortened by clipping since the last call.
    fn shortened(&mut self) -> u64 {
        0
    }

    /// Puts what is remembered between rounds into `state`: the same on every rank.
    fn save(&self, _state: &mut State) {}

    /// Takes it back.
    fn load(&mut self, _state: &State, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// What every rank of a run with another number of ranks takes back: what is the same on all.
    fn deal(&self, former: &Former) -> Result<State> {
        former.same_but(&[])
    }
}

/// What `add` does where nothing better is known.
fn decode_and_add<C: Compressor + ?Sized>(
    code: &mut C,
    body: &mut Reader,
    layout: &Layout,
    weight: f32,
    onto: &mut [f32],
    spare: &mut Vec<f32>,
) -> Result<()> {
    spare.resize(layout.len(), 0.0);
    code.decode(body, layout, spare)?;
    flat::add_scaled(onto, weight, spare);
    Ok(())
}

/// The linear face of a compressor: project, add up, lift equals the operation on the sum.
///
/// # Contract
/// For fixed `at.shared` `lift` is linear, and so is `project` except for a norm clip before it; neither uses private
/// randomness. Every rank's short vector has `short_len` entries. `lift` is pure and called twice: on a rank's own
/// projection (what it said) and on the mean (what was agreed).
///
/// A code of two phases first agrees on one short vector and then projects a second time with the help of that:
/// `project`, mean, `refine`, mean, `lift`. What a rank said is then what was agreed, for what it gave alone stands for
/// nothing: `lift` is called once, on the second mean.
pub trait Linear {
    /// Entries of the short vector of a phase.
    fn short_len(&mut self, layout: &Layout) -> usize;

    /// Overwrites `short` with the projection of `given`.
    fn project(&mut self, given: &[f32], at: &Coding, short: &mut Vec<f32>);

    /// Overwrites `out` with the vector that `short` stands for.
    fn lift(&mut self, short: &[f32], at: &Coding, out: &mut [f32]);

    /// Whether there is a second phase.
    fn two_phases(&mut self) -> bool {
        false
    }

    /// Between the phases: `short` comes as the mean of the first projections and leaves as the second projection of
    /// `given`, of any length that is the same on every rank.
    fn refine(&mut self, _given: &[f32], _at: &Coding, _short: &mut Vec<f32>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_key_wraps_any_element() {
        let parse = |text| Element::parse(text).unwrap();
        let layout = Layout::vector(100);
        assert_eq!(build(&parse("dense(clip=2)")).unwrap().class(&layout), Class::Clipping);
        assert_eq!(build(&parse("dense(clip=none)")).unwrap().class(&layout), Class::Lossless);
        assert!(build(&parse("dense(clip=0)")).is_err());
        assert!(build(&parse("dense(clap=1)")).is_err());
        assert_eq!(normalise(&parse("topk(0.5, clip=2)")).unwrap().to_string(), "topk(clip=2, ratio=0.5)");
        assert!(normalise(&parse("topp")).unwrap_err().to_string().contains("did you mean `topk`"));
    }

    #[test]
    fn entries_are_sorted_and_every_default_builds() {
        assert!(ENTRIES.is_sorted_by_key(|e| e.name));
        for entry in ENTRIES {
            build(&Element::word(entry.name)).unwrap();
        }
    }
}
