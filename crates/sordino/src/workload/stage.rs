//! Stages: layers of a network that are run by themselves, what flows between them, and pieces of batches.

use std::ops::Range;

use super::Draw;
use crate::base::{Cursor, Result, Stream};

/// A batch, or one part of a batch that is taken in several: what everybody who holds the data knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which batch.
    pub draw: Draw,
    /// Which part of it, from 0.
    pub part: usize,
    /// Of so many parts.
    pub of: usize,
}

impl Piece {
    /// A whole batch.
    pub fn whole(draw: Draw) -> Self {
        Self { draw, part: 0, of: 1 }
    }

    /// Which of the batch's `rows` rows: parts differ by one row at the most.
    pub fn rows(&self, rows: usize) -> Range<usize> {
        self.part * rows / self.of..(self.part + 1) * rows / self.of
    }

    /// The stream of noise from where earlier layers left it. A batch in one part draws what it draws uncut; the parts
    /// of others draw apart.
    pub fn noise(&self, from: Cursor) -> Stream {
        let noise = self.draw.noise();
        if self.of == 1 { noise.at(from) } else { noise.part(self.part as u64).at(from) }
    }
}

/// What one stage tells the next about a piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Activations, row after row; empty before the first stage, which looks the rows up, and after the last, which has
    /// made a loss of them.
    pub values: Vec<f32>,
    /// How many rows they are of; of no meaning before the first stage.
    pub rows: usize,
    /// How far the piece's noise has been drawn.
    pub noise: Cursor,
}

/// What a stage found on the way back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Back {
    /// The gradient of the loss by what the stage was told; empty on the first stage.
    pub error: Vec<f32>,
    /// The piece's mean loss, on the last stage.
    pub loss: Option<f64>,
}

/// Layers of a network that are run by themselves.
///
/// # Contract
/// A stage is given the parameters of its tensors only, in the order of the whole layout, before the passes that are made
/// with them; one that was given none, or too few, is of no use. Stages run one after another give the bits that the
/// whole gives: rows, labels and noise are functions of the piece, and `noise` in a [`Flow`] says how much of the noise
/// is used up. A forward pass with `keep` leaves behind what a backward pass of that piece
/// needs, and the piece may be passed again with other parameters; without `keep` it leaves nothing. A backward pass
/// overwrites `gradient` with that of the piece's mean loss by the stage's parameters, at the parameters of the kept
/// forward pass, and uses up what that left; without one it is an error. Several pieces may be kept at once. The last
/// stage turns activations into a loss on the way forward and needs no error on the way back. A piece without rows has
/// loss 0 and gradient 0.
pub trait Stage: Send {
    /// Takes the parameters of the passes that follow.
    fn load(&mut self, parameters: &[f32]) -> Result<()>;

    /// Runs the layers on what the stage before told.
    fn forward(&mut self, piece: &Piece, input: &Flow, keep: bool) -> Result<Flow>;

    /// Goes back through the layers of a piece that was kept.
    fn backward(&mut self, piece: &Piece, error: &[f32], gradient: &mut [f32]) -> Result<Back>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Batch;

    #[test]
    fn parts_hold_every_row_once_and_draw_noise_apart() {
        let draw = Draw { seed: 1, client: 0, step: 3, batch: Batch::Full };
        for (rows, of) in [(10, 8), (8, 8), (3, 8), (0, 2), (7, 1)] {
            let parts: Vec<usize> = (0..of).flat_map(|part| Piece { draw, part, of }.rows(rows)).collect();
            assert_eq!(parts, (0..rows).collect::<Vec<_>>());
        }
        let word = |part, of| Piece { draw, part, of }.noise(Cursor::default()).next_u64();
        assert_eq!(word(0, 1), draw.noise().next_u64());
        assert!(word(0, 2) != word(1, 2) && word(0, 2) != word(0, 1));
    }
}
