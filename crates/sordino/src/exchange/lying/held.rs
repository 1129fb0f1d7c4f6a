//! A port that holds back what is sent through it, and the messages it holds.

use crate::base::Result;
use crate::fabric::{Meter, Port, Tag};

/// Messages that wait, in the order in which they were sent; spent ones keep their memory.
#[derive(Default)]
pub struct Held {
    waiting: Vec<(usize, Tag, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Held {
    /// Sends what waits.
    pub fn release(&mut self, port: &mut dyn Port) -> Result<()> {
        for (to, tag, bytes) in self.waiting.drain(..) {
            port.send(to, &tag, &bytes)?;
            self.spare.push(bytes);
        }
        Ok(())
    }
}

/// A port that sends nothing yet.
pub struct Holding<'a> {
    /// Where everything else goes.
    pub port: &'a mut dyn Port,
    /// Where messages wait.
    pub held: &'a mut Held,
}

impl Port for Holding<'_> {
    fn rank(&self) -> usize {
        self.port.rank()
    }

    fn size(&self) -> usize {
        self.port.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        let mut word = self.held.spare.pop().unwrap_or_default();
        word.clear();
        word.extend_from_slice(bytes);
        self.held.waiting.push((to, tag.clone(), word));
        Ok(())
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.port.receive(from, tag, into)
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        self.port.count(tag, bytes);
    }

    fn meter(&mut self) -> Option<&mut Meter> {
        self.port.meter()
    }
}
