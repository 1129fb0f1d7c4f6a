//! Who owns which entries of a vector, and in which pieces they travel.

use std::ops::Range;

use crate::base::{Error, Layout, Reader, Result, Writer};
use crate::compress::{Compressor, cut, nearest};
use crate::exchange::Frame;

/// A part of an owner's chunk, which travels in one message.
#[derive(Debug)]
pub(super) struct Piece {
    pub owner: usize,
    pub range: Range<usize>,
    pub layout: Layout,
    /// What its message up and its message down are numbered, of all of a meeting.
    pub up: u64,
    pub down: u64,
    /// Where its parts of the streams begin, on the way up and down.
    pub first_up: u64,
    pub first_down: u64,
}

impl Piece {
    /// Starts a message about this piece.
    pub fn start(&self, frame: Frame, number: u64, out: &mut Writer) {
        frame.start(self.range.len(), out);
        out.varint(number);
    }

    /// Verifies a message of rank `from`: its body, and the sender's flags. Every message of a meeting between two ranks has
    /// another number, so one that was repeated or lost on the way is not taken for the next.
    pub fn open<'a>(&self, frame: Frame, from: usize, number: u64, bytes: &'a [u8]) -> Result<(Reader<'a>, u8)> {
        let (mut body, flags) = frame.open(from, self.range.len(), bytes)?;
        let came = body.varint()?;
        if came != number {
            return Err(Error::mismatch(format!(
                "rank {from} sent message {came} of this meeting, expected message {number}: a message was repeated or lost on \
                 the way"
            )));
        }
        Ok((body, flags))
    }
}

/// All chunks of a vector.
#[derive(Debug)]
pub(super) struct Chunks {
    layout: Layout,
    /// In the order of the vector.
    pieces: Vec<Piece>,
    /// Which of the pieces a rank owns: at least one, which may be empty.
    owned: Vec<Range<usize>>,
}

impl Chunks {
    /// Of a vector of this layout, for `size` ranks and two compressors.
    pub fn new(layout: &Layout, size: usize, up: &dyn Compressor, down: &dyn Compressor, piece: usize) -> Result<Self> {
        let grain = both(up.grain(layout), down.grain(layout)).ok_or_else(|| {
            Error::request(
                "exchange=two_phase codes a vector chunk by chunk, and one of the compressors looks at the whole at once; use \
                 exchange=gather, or exchange=reduce where it is linear",
            )
        })?;
        let seam = both(up.seam(layout), down.seam(layout));
        let len = layout.len();
        let end = |rank: usize| nearest(layout, grain, (len as u128 * rank as u128 / size as u128) as usize);
        let (mut pieces, mut owned) = (Vec::new(), Vec::with_capacity(size));
        let (mut first_up, mut first_down) = (0, 0);
        for owner in 0..size {
            let (chunk, first) = (end(owner)..end(owner + 1), pieces.len());
            for range in parted(layout, &chunk, seam, piece) {
                let part = cut(layout, &range);
                let number = pieces.len() as u64;
                let (parts_up, parts_down) = (up.parts(&part), down.parts(&part));
                pieces.push(Piece { owner, range, layout: part, up: number, down: 0, first_up, first_down });
                (first_up, first_down) = (first_up + parts_up, first_down + parts_down);
            }
            owned.push(first..pieces.len());
        }
        let all = pieces.len() as u64;
        pieces.iter_mut().for_each(|piece| piece.down = all + piece.up);
        Ok(Self { layout: layout.clone(), pieces, owned })
    }

    /// Whether these are the chunks of such a vector for so many ranks.
    pub fn are_of(&self, layout: &Layout, size: usize) -> bool {
        self.owned.len() == size && self.layout == *layout
    }

    /// The entries that a rank owns.
    pub fn chunk(&self, owner: usize) -> Range<usize> {
        let pieces = self.of(owner);
        let ends = |piece: Option<&Piece>| piece.map_or(0..0, |piece| piece.range.clone());
        ends(pieces.first()).start..ends(pieces.last()).end
    }

    /// The pieces that a rank owns, in the order of the vector.
    pub fn of(&self, owner: usize) -> &[Piece] {
        &self.pieces[self.owned[owner].clone()]
    }

    /// All pieces in the order in which a rank sends them up, and hears of them: one of every owner after another, from the
    /// next rank on, itself last, so that nobody is sent everything at once.
    pub fn turns(&self, rank: usize) -> impl Iterator<Item = &Piece> {
        let size = self.owned.len();
        let most = self.owned.iter().map(Range::len).max().unwrap_or(0);
        (0..most)
            .flat_map(move |turn| (1..=size).map(move |step| (turn, (rank + step) % size)))
            .filter_map(|(turn, owner)| self.of(owner).get(turn))
    }
}

/// A chunk in pieces of about so many entries, cut at seams: at least one, which may be empty.
fn parted(layout: &Layout, chunk: &Range<usize>, seam: Option<usize>, piece: usize) -> Vec<Range<usize>> {
    let Some(seam) = seam else { return vec![chunk.clone()] };
    let (count, mut from, mut pieces) = (chunk.len().div_ceil(piece).max(1), chunk.start, Vec::new());
    for i in 1..=count {
        let target = chunk.start + (chunk.len() as u128 * i as u128 / count as u128) as usize;
        let to = if i == count { chunk.end } else { nearest(layout, seam, target).clamp(from, chunk.end) };
        if to > from || (i == count && pieces.is_empty()) {
            pieces.push(from..to);
        }
        from = to;
    }
    pieces
}

/// A step that is a multiple of both; where one cuts at the ends of tensors alone, both do.
fn both(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    let (a, b) = (a?, b?);
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    Some((a / x).saturating_mul(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, Tensor};
    use crate::compress::{Dense, Pieces, PowerSgd, Scope, Sign, TopK};

    fn layout() -> Layout {
        Layout::new([1000, 7, 300, 5000].map(|n| Tensor::new("t", &[n], Role::Weight)))
    }

    fn spread(up: &dyn Compressor, down: &dyn Compressor, size: usize, piece: usize) -> (Vec<usize>, Vec<usize>) {
        let (layout, chunks) = (layout(), Chunks::new(&layout(), size, up, down, piece).unwrap());
        let mut at = 0;
        for (number, piece) in chunks.pieces.iter().enumerate() {
            assert_eq!((piece.range.start, piece.layout.len()), (at, piece.range.len()));
            assert_eq!((piece.up, piece.down), (number as u64, (chunks.pieces.len() + number) as u64));
            at = piece.range.end;
        }
        assert_eq!(at, layout.len());
        let owned = (0..size).map(|rank| chunks.chunk(rank).len()).collect();
        for rank in 0..size {
            let mut order: Vec<u64> = chunks.turns(rank).map(|piece| piece.up).collect();
            assert_eq!(chunks.turns(rank).next().unwrap().owner, (rank + 1) % size);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..chunks.pieces.len() as u64));
        }
        (owned, chunks.pieces.iter().map(|piece| piece.range.len()).collect())
    }

    #[test]
    fn chunks_are_even_but_for_buckets_and_pieces_end_at_seams() {
        let bucketed = Pieces::new(Sign, Scope::Bucket(500));
        assert_eq!(spread(&Dense, &Dense, 3, 9000), (vec![2102, 2102, 2103], vec![2102, 2102, 2103]));
        assert_eq!(spread(&Dense, &Dense, 2, 1600).1, [1576, 1577, 1577, 1577]);
        let (owned, pieces) = spread(&bucketed, &Dense, 3, 600);
        assert_eq!(owned, [2307, 2000, 2000]);
        assert_eq!(pieces, [&[500, 507, 800][..], &[500; 9]].concat());
        // A scale of the whole chunk: it travels in one.
        let whole = Pieces::new(Sign, Scope::Model);
        assert_eq!(spread(&whole, &Dense, 2, 100).1.len(), 2);
        // Scales of tensors: it is cut where they end.
        assert_eq!(spread(&Pieces::new(TopK::new(0.1), Scope::Tensor), &Dense, 1, 100).1, [1000, 7, 300, 5000]);
        // More ranks than buckets: some own nothing, and say so.
        let coarse = Pieces::new(Sign, Scope::Bucket(4000));
        let (owned, pieces) = spread(&coarse, &Dense, 9, 1 << 20);
        assert_eq!((owned.len(), pieces.len(), owned.contains(&0)), (9, 9, true));
    }

    #[test]
    fn who_looks_at_the_whole_is_refused() {
        let of = |up: &dyn Compressor| Chunks::new(&layout(), 2, up, &Dense, 100).unwrap_err().to_string();
        assert!(of(&PowerSgd::new(2)).contains("use exchange=gather"));
        assert!(of(&Pieces::new(TopK::new(0.1), Scope::Model)).contains("use exchange=gather"));
    }

    #[test]
    fn both_keep_their_buckets() {
        assert_eq!((both(Some(4), Some(6)), both(Some(1), Some(7)), both(None, Some(1))), (Some(12), Some(7), None));
        assert_eq!(both(Some(usize::MAX), Some(64)), Some(usize::MAX));
    }
}
