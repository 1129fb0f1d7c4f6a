//! The frame around a message: which round it belongs to, how long the silence was, flags of the sender, a checksum.

use crate::base::{Error, Reader, Result, Writer};

/// What every frame of a meeting carries.
///
/// Every rank's frame names its round and its silence, so that ranks that disagree about the schedule find out at the
/// first message instead of averaging different things. Flags are rank 0's decisions for everybody (stop, save).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The round, from 0.
    pub round: u64,
    /// Local steps since the last meeting.
    pub silence: u64,
    /// Flags of the sender.
    pub flags: u8,
}

impl Frame {
    /// Starts a framed message about a vector of `len` entries in `out`, which is cleared.
    pub fn start(&self, len: usize, out: &mut Writer) {
        out.clear();
        out.varint(self.round);
        out.varint(self.silence);
        out.u8(self.flags);
        out.varint(len as u64);
    }

    /// Verifies a framed message of rank `from` about a vector of `len` entries: its body, and the sender's flags.
    pub fn open<'a>(&self, from: usize, len: usize, bytes: &'a [u8]) -> Result<(Reader<'a>, u8)> {
        let mut reader = Reader::open(bytes).map_err(|e| e.within(format!("from rank {from}")))?;
        let (round, silence, flags, came) = (reader.varint()?, reader.varint()?, reader.u8()?, reader.varint()?);
        self.same(from, round, silence)?;
        if came != len as u64 {
            return Err(Error::mismatch(format!(
                "rank {from} sent a vector of {came} entries, expected {len}: all ranks must hold the same model"
            )));
        }
        Ok((reader, flags))
    }

    fn same(&self, from: usize, round: u64, silence: u64) -> Result<()> {
        if (round, silence) == (self.round, self.silence) {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "rank {from} is in round {round} after {silence} local steps, this rank in round {} after {}: \
             all ranks must run the same recipe from the same checkpoint",
            self.round, self.silence
        )))
    }

    /// The frame as nine numbers of 16 bits, which f32 holds exactly: for a collective that carries nothing else.
    pub fn limbs(&self) -> [f32; 9] {
        let limb = |word: u64, at: usize| (word >> (16 * at) & 0xffff) as f32;
        std::array::from_fn(|i| match i / 4 {
            0 => limb(self.round, i),
            1 => limb(self.silence, i - 4),
            _ => f32::from(self.flags),
        })
    }

    /// Verifies the numbers of rank `from`'s frame, and returns its flags.
    pub fn compare(&self, from: usize, limbs: &[f32]) -> Result<u8> {
        let word = |limbs: &[f32]| limbs.iter().rev().fold(0, |word, limb| word << 16 | *limb as u64);
        let [limbs @ .., flags] = limbs else { return Err(Error::decode(format!("rank {from} sent no frame"))) };
        let (round, silence) = limbs.split_at(limbs.len() / 2);
        self.same(from, word(round), word(silence))?;
        Ok(*flags as u8)
    }
}
