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
        if (round, silence) != (self.round, self.silence) {
            return Err(Error::mismatch(format!(
                "rank {from} is in round {round} after {silence} local steps, this rank in round {} after {}: \
                 all ranks must run the same recipe from the same checkpoint",
                self.round, self.silence
            )));
        }
        if came != len as u64 {
            return Err(Error::mismatch(format!(
                "rank {from} sent a vector of {came} entries, expected {len}: all ranks must hold the same model"
            )));
        }
        Ok((reader, flags))
    }
}
