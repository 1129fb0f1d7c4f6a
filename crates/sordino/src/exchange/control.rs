//! Words beside training: reports to rank 0 and its decisions, counted as control and shown apart.

use crate::base::{Purpose, Reader, Result, Writer};
use crate::fabric::{Port, Tag, peers};

/// Everybody's words at rank 0, in rank order; nothing at the others.
pub fn report(port: &mut dyn Port, words: &[u8]) -> Result<Vec<Vec<u8>>> {
    let tag = Tag::across(Purpose::Control);
    if port.rank() > 0 {
        let mut out = Writer::new();
        out.raw(words);
        out.seal(0);
        port.send(0, &tag, out.bytes())?;
        return Ok(Vec::new());
    }
    let (mut all, mut heard) = (vec![words.to_vec()], Vec::new());
    for from in peers(port) {
        port.receive(from, &tag, &mut heard)?;
        let mut reader = Reader::open(&heard).map_err(|e| e.within(format!("from rank {from}")))?;
        all.push(reader.raw(reader.left())?.to_vec());
    }
    Ok(all)
}

/// Rank 0's words for everybody; also a barrier behind which all ranks stand together.
pub fn decree(port: &mut dyn Port, words: &[u8]) -> Result<Vec<u8>> {
    let tag = Tag::across(Purpose::Control);
    if port.rank() == 0 {
        let mut out = Writer::new();
        out.raw(words);
        out.seal(0);
        for to in peers(port) {
            port.send(to, &tag, out.bytes())?;
        }
        return Ok(words.to_vec());
    }
    let mut heard = Vec::new();
    port.receive(0, &tag, &mut heard)?;
    let mut reader = Reader::open(&heard)?;
    Ok(reader.raw(reader.left())?.to_vec())
}
