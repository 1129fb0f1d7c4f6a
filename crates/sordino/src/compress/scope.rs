//! Over what a compressor takes its scales, selections and levels: a tensor, the model, or buckets.
//!
//! Most codecs look at one piece of the vector at a time. A leaf writes that as a [`Piece`]; [`Pieces`] cuts the
//! vector, keeps small tensors dense and strings the bodies together. Where a second thread is lent, it takes the later
//! half of the pieces of a long vector; of a vector that is one piece, as all of it is under `scope=model`, the later half
//! of its entries, where the piece can be coded so.

use std::ops::Range;

use super::sink::{Add, Overwrite, Sink, has_negative_zero};
use super::{Both, Class, Coding, Compressor, Hands};
use crate::base::simd::{self, Simd};
use crate::base::{Error, Layout, Reader, Result, Slot, Stream, Writer};
use crate::grammar::Args;

/// Tensors of fewer entries travel dense beside larger ones: a scale or an index would cost more than it saves.
pub const SMALL: usize = 64;

/// Whether small tensors travel dense: not where every tensor is small (a toy, a short linear model) and there is nothing
/// larger to travel beside. A chunk is judged by the tensors that it was cut from.
pub fn kept_small(layout: &Layout) -> bool {
    layout.tensors().any(|(tensor, _)| tensor.of >= SMALL)
}

/// After how many entries of a tensor scales and selections may be taken anew: not of next to nothing, but in a toy.
pub fn grain(layout: &Layout) -> usize {
    if kept_small(layout) { SMALL } else { 1 }
}

/// How a vector is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One piece a tensor.
    Tensor,
    /// One piece in all.
    Model,
    /// Pieces of at most that many entries, which do not cross tensors.
    Bucket(usize),
}

impl Scope {
    /// Reads `tensor`, `model` or `bucket(n)` from the key `scope`.
    pub fn from_args(args: &Args) -> Result<Self> {
        let element = args.element("scope")?;
        match (element.name.as_str(), element.positional.as_slice()) {
            ("tensor", []) => Ok(Self::Tensor),
            ("model", []) => Ok(Self::Model),
            ("bucket", [crate::grammar::Value::Number(n)]) if *n >= 1.0 && n.fract() == 0.0 => {
                Ok(Self::Bucket(*n as usize))
            }
            _ => Err(Error::request(format!("`scope` must be tensor, model or bucket(n), but `{element}` came"))),
        }
    }
}

/// A codec of one piece.
///
/// # Contract
/// As for [`Compressor`], on `x.len()` entries of one piece: `bound(n)` bytes, no more and no less, so that what follows is
/// found without reading it; deterministic given the stream,
/// decoding gives every entry of `out` to the sink once, in any order, or returns an error; entries that a selection
/// leaves out may be left alone where the sink keeps them. Both are kernels: `#[inline(always)]`, the same bits on every
/// path.
pub trait Piece: Send + Clone {
    /// What is promised on a piece of `n` entries.
    fn class(&self, n: usize) -> Class;

    /// The bytes of `n` entries.
    fn bound(&self, n: usize) -> usize;

    /// Fills the body of one piece, all of it.
    fn encode<S: Simd>(&mut self, simd: S, x: &[f32], stream: &Stream, out: &mut Slot);

    /// Reads one piece.
    fn decode<S: Simd, K: Sink>(&mut self, simd: S, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()>;

    /// As `encode`, with some of the entries on a thread that is lent: the same bytes. False, with nothing done, for a piece
    /// that one thread codes.
    fn encode_by_two(&mut self, _both: Both, _x: &[f32], _stream: &Stream, _out: &mut Slot) -> bool {
        false
    }

    /// As `decode`, in the same way; nothing for a piece that one thread reads.
    fn decode_by_two<K: Sink>(&mut self, _: Both, _: &mut Reader, _: &mut [f32], _: K) -> Option<Result<()>> {
        None
    }

    /// As [`Compressor::saturated`].
    fn saturated(&self) -> u64 {
        0
    }

    /// Whether every entry is said by itself, by the same bits wherever a piece begins and ends.
    fn by_entry(&self) -> bool {
        false
    }

    /// Whether some entries are said and the others are not, so that where a piece ends decides which.
    fn selects(&self) -> bool {
        false
    }
}

/// A piece codec over a whole vector.
pub struct Pieces<P> {
    piece: P,
    scope: Scope,
    plan: Option<(Layout, Plan)>,
    together: Vec<f32>,
    other: Option<Other<P>>,
}

/// What codes the later half of a long vector, on a thread that is lent.
struct Other<P> {
    hands: Hands,
    piece: P,
}

impl<P> Other<P> {
    /// Two shares of ranges with about as many entries each, if that is enough for two.
    fn shares<'r>(&self, ranges: &'r [Range<usize>]) -> Option<[&'r [Range<usize>]; 2]> {
        let (all, mut near) = (ranges.iter().map(Range::len).sum::<usize>(), 0);
        let taken = ranges.iter().take_while(|range| {
            let takes = 2 * near + range.len() <= all;
            near += if takes { range.len() } else { 0 };
            takes
        });
        let (first, second) = ranges.split_at(taken.count());
        (2 * near.min(all - near) >= self.hands.least.max(2)).then_some([first, second])
    }

    /// The only range there is, if it is enough for two, and how both are worked on.
    fn only(&self, ranges: &[Range<usize>]) -> Option<(Both, Range<usize>)> {
        let [range] = ranges else { return None };
        (range.len() >= self.hands.least).then(|| (self.hands.both, range.clone()))
    }
}

/// Which ranges travel dense and which are coded, in the order of the vector.
#[derive(Clone, Debug, Default)]
struct Plan {
    dense: Vec<Range<usize>>,
    coded: Vec<Range<usize>>,
}

impl Plan {
    fn new(layout: &Layout, scope: Scope, by_entry: bool) -> Self {
        let keep_small = kept_small(layout);
        let mut plan = Self::default();
        for (tensor, range) in layout.tensors().filter(|(_, r)| !r.is_empty()) {
            if keep_small && tensor.of < SMALL {
                plan.dense.push(range);
                continue;
            }
            match scope {
                Scope::Tensor => plan.coded.push(range),
                Scope::Bucket(n) => {
                    plan.coded.extend(range.clone().step_by(n).map(|from| from..(from + n).min(range.end)));
                }
                Scope::Model => match plan.coded.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => plan.coded.push(range),
                },
            }
        }
        if by_entry {
            plan.halve();
        }
        plan
    }

    /// Cuts in the middle, where cuts are free, so that two threads have a share each.
    fn halve(&mut self) {
        const STEP: usize = 1024;
        let mut before = self.coded_len() / 2;
        let middle = self.coded.iter().position(|range| {
            let inside = before < range.len();
            before -= if inside { 0 } else { range.len() };
            inside
        });
        if let (Some(i), 1..) = (middle, before / STEP) {
            let Range { start, end } = self.coded[i];
            let cut = start + before / STEP * STEP;
            self.coded.splice(i..=i, [start..cut, cut..end]);
        }
    }

    fn dense_len(&self) -> usize {
        self.dense.iter().map(Range::len).sum()
    }

    fn coded_len(&self) -> usize {
        self.coded.iter().map(Range::len).sum()
    }
}

impl<P: Piece> Pieces<P> {
    /// `piece` applied with `scope`.
    pub fn new(piece: P, scope: Scope) -> Self {
        Self { piece, scope, plan: None, together: Vec::new(), other: None }
    }

    fn anew(&self, layout: &Layout) -> Plan {
        Plan::new(layout, self.scope, self.piece.by_entry())
    }

    /// The plan for `layout`, taken out so that the codec can be used beside it.
    fn plan(&mut self, layout: &Layout) -> Plan {
        match self.plan.take() {
            Some((of, plan)) if of == *layout => plan,
            _ => self.anew(layout),
        }
    }
}

impl<P: Piece> Compressor for Pieces<P> {
    fn class(&self, layout: &Layout) -> Class {
        let plan = self.anew(layout);
        let whole = [plan.coded_len()];
        let lengths: Vec<usize> = match self.scope {
            Scope::Model => whole.into(),
            _ => plan.coded.iter().map(Range::len).collect(),
        };
        let classes = lengths.into_iter().filter(|n| *n > 0).map(|n| self.piece.class(n));
        classes.reduce(weaker).unwrap_or(Class::Lossless)
    }

    fn bound(&self, layout: &Layout) -> usize {
        let plan = self.anew(layout);
        let coded = match self.scope {
            Scope::Model if plan.coded.is_empty() => 0,
            Scope::Model => self.piece.bound(plan.coded_len()),
            _ => bytes_of(&self.piece, &plan.coded),
        };
        4 * plan.dense_len() + coded
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        let plan = self.plan(at.layout);
        for range in &plan.dense {
            out.f32s(&given[range.clone()]);
        }
        let Self { piece, together, other, .. } = self;
        let mut from = (given, plan.coded.as_slice());
        let whole = 0..plan.coded_len();
        if self.scope == Scope::Model && plan.coded.len() > 1 {
            together.clear();
            for range in &plan.coded {
                together.extend_from_slice(&given[range.clone()]);
            }
            from = (together, std::slice::from_ref(&whole));
        }
        let (given, ranges) = from;
        match other.as_mut().and_then(|other| Some((other.shares(ranges)?, other))) {
            None => {
                let mut body = out.slot(bytes_of(piece, ranges));
                let coded = other.as_ref().and_then(|other| other.only(ranges)).is_some_and(|(both, range)| {
                    piece.encode_by_two(both, &given[range], &at.stream.part(0), &mut body)
                });
                if !coded {
                    encode(piece, from, at.stream, &mut body);
                }
            }
            Some(([first, second], Other { hands, piece: twin })) => {
                let later = at.stream.from_part(first.len() as u64);
                let bytes = [first, second].map(|ranges| bytes_of(piece, ranges));
                let [mut near, mut far] = out.slot(bytes[0] + bytes[1]).split(bytes[0]);
                let mut early_half = || encode(piece, (given, first), at.stream, &mut near);
                let mut later_half = || encode(twin, (given, second), &later, &mut far);
                (hands.both)(&mut early_half, &mut later_half);
            }
        }
        self.plan = Some((at.layout.clone(), plan));
        Ok(())
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        self.read(body, layout, out, Overwrite)
    }

    fn add(
        &mut self,
        body: &mut Reader,
        layout: &Layout,
        weight: f32,
        onto: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<()> {
        // Entries that are left out say 0, which only turns −0 into 0: a sum without one is left alone there.
        if self.piece.selects() && has_negative_zero(onto) {
            return super::decode_and_add(self, body, layout, weight, onto, spare);
        }
        self.read(body, layout, onto, Add(weight))
    }

    fn lend(&mut self, hands: Hands) {
        self.other = Some(Other { hands, piece: self.piece.clone() });
    }

    fn saturated(&self) -> u64 {
        self.piece.saturated() + self.other.as_ref().map_or(0, |other| other.piece.saturated())
    }

    fn grain(&self, layout: &Layout) -> Option<usize> {
        match self.scope {
            _ if self.piece.by_entry() => Some(1),
            Scope::Bucket(n) => Some(n),
            // The largest of a chunk are not the largest of the model.
            Scope::Model if self.piece.selects() => None,
            Scope::Tensor | Scope::Model => Some(grain(layout)),
        }
    }

    fn seam(&self, _: &Layout) -> Option<usize> {
        match self.scope {
            _ if self.piece.by_entry() => Some(1),
            Scope::Bucket(n) => Some(n),
            Scope::Tensor => Some(usize::MAX),
            Scope::Model => None,
        }
    }

    fn parts(&self, layout: &Layout) -> u64 {
        let ranges = self.anew(layout).coded.len() as u64;
        if self.scope == Scope::Model { ranges.min(1) } else { ranges }
    }
}

impl<P: Piece> Pieces<P> {
    fn read<K: Sink>(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32], sink: K) -> Result<()> {
        let plan = self.plan(layout);
        let read = self.read_by(&plan, body, out, sink);
        self.plan = Some((layout.clone(), plan));
        read
    }

    fn read_by<K: Sink>(&mut self, plan: &Plan, body: &mut Reader, out: &mut [f32], sink: K) -> Result<()> {
        for range in &plan.dense {
            sink.floats(body, &mut out[range.clone()])?;
        }
        let Self { piece, together, other, .. } = self;
        if self.scope != Scope::Model || plan.coded.len() < 2 {
            if let Some((both, range)) = other.as_ref().and_then(|other| other.only(&plan.coded))
                && let Some(read) = piece.decode_by_two(both, body, &mut out[range], sink)
            {
                return read;
            }
            let shares = other.as_mut().and_then(|other| Some((other.shares(&plan.coded)?, other)));
            let Some(([first, second], Other { hands, piece: twin })) = shares else {
                return decode(piece, body, (out, 0), &plan.coded, sink);
            };
            let mut part =
                |ranges: &[Range<usize>]| -> Result<Reader> { Ok(Reader::new(body.raw(bytes_of(piece, ranges))?)) };
            let (mut near, mut far) = (part(first)?, part(second)?);
            let from = second[0].start;
            let (low, high) = out.split_at_mut(from);
            let (mut one, mut two) = (Ok(()), Ok(()));
            let mut early_half = || one = decode(piece, &mut near, (low, 0), first, sink);
            let mut later_half = || two = decode(twin, &mut far, (high, from), second, sink);
            (hands.both)(&mut early_half, &mut later_half);
            return one.and(two).and(near.done()).and(far.done());
        }
        together.resize(plan.coded_len(), 0.0);
        let whole = 0..together.len();
        let whole = std::slice::from_ref(&whole);
        let by_two = other.as_ref().and_then(|other| other.only(whole));
        match by_two.and_then(|(both, _)| piece.decode_by_two(both, body, together, Overwrite)) {
            Some(read) => read?,
            None => decode(piece, body, (together, 0), whole, Overwrite)?,
        }
        let mut from = 0;
        for range in &plan.coded {
            sink.all(&mut out[range.clone()], &together[from..from + range.len()]);
            from += range.len();
        }
        Ok(())
    }
}

/// Reads a piece that is a scale and `len(n)` bytes of `n` entries, those before and behind `cut` at once.
pub fn halves(
    both: Both,
    body: &mut Reader,
    (out, cut): (&mut [f32], usize),
    len: impl Fn(usize) -> usize,
    read: impl Fn(f32, &mut Reader, &mut [f32]) -> Result<()> + Sync,
) -> Result<()> {
    let scale = body.finite()?;
    let (near, far) = body.raw(len(out.len()))?.split_at(len(cut));
    let (low, high) = out.split_at_mut(cut);
    let (mut one, mut two) = (Ok(()), Ok(()));
    let mut near_half = || one = read(scale, &mut Reader::new(near), low);
    let mut far_half = || two = read(scale, &mut Reader::new(far), high);
    both(&mut near_half, &mut far_half);
    one.and(two)
}

/// Bytes of these pieces.
fn bytes_of<P: Piece>(piece: &P, ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(|range| piece.bound(range.len())).sum()
}

/// Every piece of a vector, one after another. A function by itself, so that an encoder is compiled once.
#[inline(never)]
fn encode<P: Piece>(piece: &mut P, from: (&[f32], &[Range<usize>]), stream: &Stream, out: &mut Slot) {
    simd::widest!(simd => encode_on(simd, piece, from, stream, out));
}

#[inline(always)]
fn encode_on<S: Simd, P: Piece>(
    simd: S,
    piece: &mut P,
    (given, ranges): (&[f32], &[Range<usize>]),
    stream: &Stream,
    out: &mut Slot,
) {
    for (i, range) in ranges.iter().enumerate() {
        let mut body = out.slot(piece.bound(range.len()));
        piece.encode(simd, &given[range.clone()], &stream.part(i as u64), &mut body);
        debug_assert!(body.full(), "a body of {} bytes is not what was foretold", body.bytes().len());
    }
}

/// As [`encode`], back, to the entries from a given one on: once a sink.
#[inline(never)]
fn decode<P: Piece, K: Sink>(
    piece: &mut P,
    body: &mut Reader,
    out: (&mut [f32], usize),
    ranges: &[Range<usize>],
    sink: K,
) -> Result<()> {
    simd::widest!(simd => decode_on(simd, piece, body, out, ranges, sink))
}

#[inline(always)]
fn decode_on<S: Simd, P: Piece, K: Sink>(
    simd: S,
    piece: &mut P,
    body: &mut Reader,
    (out, from): (&mut [f32], usize),
    ranges: &[Range<usize>],
    sink: K,
) -> Result<()> {
    for range in ranges {
        piece.decode(simd, body, &mut out[range.start - from..range.end - from], sink)?;
    }
    Ok(())
}

/// The weaker of two promises, which is what both pieces together keep.
fn weaker(a: Class, b: Class) -> Class {
    use Class::{Bounded, Clipping, Contractive, Lossless, Unbiased};
    match (a, b) {
        (Lossless, other) | (other, Lossless) => other,
        (Unbiased { omega: x }, Unbiased { omega: y }) => Unbiased { omega: x.max(y) },
        (Contractive { delta: x }, Contractive { delta: y }) => Contractive { delta: x.min(y) },
        _ if a.factor().max(b.factor()) <= 1.0 => Clipping,
        _ => Bounded { factor: a.factor().max(b.factor()) },
    }
}

/// The message of one piece, and what such a message says: for tests of pieces.
#[cfg(test)]
pub fn encoded<P: Piece>(piece: &mut P, x: &[f32], stream: &Stream) -> Writer {
    let mut out = Writer::new();
    let mut slot = out.slot(piece.bound(x.len()));
    simd::widest!(simd => piece.encode(simd, x, stream, &mut slot));
    assert!(slot.full(), "a body is shorter than foretold");
    out
}

/// See [`encoded`].
#[cfg(test)]
pub fn decoded<P: Piece>(piece: &mut P, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    simd::widest!(simd => piece.decode(simd, &mut Reader::new(bytes), out, Overwrite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, Tensor};

    #[test]
    fn buckets_do_not_cross_tensors_and_small_tensors_are_dense() {
        let layout = Layout::new([
            Tensor::new("a", &[100], Role::Weight),
            Tensor::new("b", &[10], Role::Bias),
            Tensor::new("c", &[64], Role::Weight),
        ]);
        let plan = Plan::new(&layout, Scope::Bucket(64), false);
        assert_eq!(plan.coded, [0..64, 64..100, 110..174]);
        assert_eq!(plan.dense, std::slice::from_ref(&(100..110)));
        assert_eq!(Plan::new(&layout, Scope::Model, false).coded, [0..100, 110..174]);
        assert_eq!(Plan::new(&Layout::vector(4), Scope::Tensor, false).coded, std::slice::from_ref(&(0..4)));
    }
}
