//! How a flat vector falls into the pieces that a compressor treats one by one: tensors, and buckets inside them.

/// A partition of the flat vector.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The tensors' lengths, in order.
    pub tensors: Vec<usize>,
    /// The longest bucket; a bucket never crosses a tensor's end.
    pub bucket: usize,
    /// Tensors shorter than this are not compressed.
    pub dense_below: usize,
}

/// One piece: entries `start..end`.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// First entry.
    pub start: usize,
    /// One past the last entry.
    pub end: usize,
    /// Travels as it is.
    pub dense: bool,
}

impl Cut {
    /// One piece for the whole vector.
    pub fn whole(dim: usize) -> Self {
        Self { tensors: vec![dim], bucket: usize::MAX, dense_below: 0 }
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> Vec<Piece> {
        let (mut pieces, mut first) = (Vec::new(), 0);
        for &length in &self.tensors {
            let dense = length < self.dense_below;
            let mut done = 0;
            while done < length {
                let size = self.bucket.min(length - done);
                pieces.push(Piece { start: first + done, end: first + done + size, dense });
                done += size;
            }
            first += length;
        }
        pieces
    }

    /// Applies `each(piece, first entry)` to every compressed piece and copies the dense ones.
    pub fn apply(&self, v: &[f64], each: &dyn Fn(&[f64], usize) -> Vec<f64>) -> Vec<f64> {
        let mut out = v.to_vec();
        for piece in self.pieces() {
            if !piece.dense {
                out[piece.start..piece.end].copy_from_slice(&each(&v[piece.start..piece.end], piece.start));
            }
        }
        out
    }
}
