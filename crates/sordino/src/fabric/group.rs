//! Groups: one port seen several ways by the one thread that owns it, here by some of the ranks among themselves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Meter, Port, Tag, held};
use crate::base::{Error, Result, State};

/// A port that several parts of one rank hold. They belong to one thread, so nobody ever waits for the lock.
#[derive(Clone)]
pub struct Shared {
    port: Arc<Mutex<Box<dyn Port>>>,
    rank: usize,
    size: usize,
}

impl Shared {
    /// Shares a port.
    pub fn new(port: Box<dyn Port>) -> Self {
        Self { rank: port.rank(), size: port.size(), port: Arc::new(Mutex::new(port)) }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Port>> {
        // Nothing that is held here is broken by a panic elsewhere in the thread.
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends what a metering decorator has counted, if there is one.
    pub fn metered<T>(&self, with: impl FnOnce(&mut Meter) -> T) -> Option<T> {
        self.lock().meter().map(with)
    }
}

impl Port for Shared {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.lock().send(to, tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.lock().receive(from, tag, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        self.lock().receive_any(from, tag, into)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.lock().hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.lock().here(from, tag)
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        self.lock().all_reduce(tag, vector)
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        self.lock().count(tag, bytes);
    }

    fn save(&self, state: &mut State) {
        self.lock().save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.lock().load(state)
    }

    fn save_held(&self, state: &mut State) {
        self.lock().save_held(state);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        self.lock().load_held(state)
    }
}

/// Some ranks among themselves: a view of a shared port in which they are numbered from 0.
///
/// # Contract
/// Messages keep the order of the shared port: between two ranks the views of a port must be read in the order in which
/// they were written. Meters see the ranks of the shared port.
pub struct Group {
    shared: Shared,
    members: Vec<usize>,
    own: usize,
}

impl Group {
    /// The group of these ranks, of which the port's is one.
    pub fn new(shared: Shared, members: Vec<usize>) -> Result<Self> {
        let own = place(shared.rank, shared.size, &members)?;
        Ok(Self { shared, members, own })
    }
}

/// Some ranks among themselves on a port that is lent: they are numbered from 0.
pub struct Among<'a> {
    port: &'a mut dyn Port,
    members: &'a [usize],
    own: usize,
}

impl<'a> Among<'a> {
    /// These ranks, of which the port's is one.
    pub fn new(port: &'a mut dyn Port, members: &'a [usize]) -> Result<Self> {
        let own = place(port.rank(), port.size(), members)?;
        Ok(Self { port, members, own })
    }

    /// Their ranks as ranks of the port.
    fn all(&self, ranks: &[usize]) -> Vec<usize> {
        ranks.iter().map(|rank| self.members[*rank]).collect()
    }
}

/// At which place of `members` the rank is.
fn place(rank: usize, size: usize, members: &[usize]) -> Result<usize> {
    let own = members.iter().position(|member| *member == rank);
    own.filter(|_| members.iter().all(|member| *member < size))
        .ok_or_else(|| Error::request(format!("rank {rank} of {size} cannot be in a group of the ranks {members:?}")))
}

impl Port for Among<'_> {
    fn rank(&self) -> usize {
        self.own
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.port.send(self.members[to], tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.port.receive(self.members[from], tag, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        let first = self.port.receive_any(&self.all(from), tag, into)?;
        self.members.iter().position(|member| *member == first).ok_or_else(|| {
            Error::mismatch(format!("rank {first} was heard, which is not of the group {:?}", self.members))
        })
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.port.hold(&self.all(from), tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.port.here(&self.all(from), tag)
    }

    /// The engine's is a collective of all ranks: a group has it only where it is all of them.
    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        if self.members.len() < self.port.size() {
            return Err(Error::request(format!(
                "the engine's own all-reduce is of all {} ranks, and ranks {:?} are some of them; use exchange=reduce",
                self.port.size(),
                self.members
            )));
        }
        self.port.all_reduce(tag, vector)
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        self.port.count(tag, bytes);
    }
}

impl Group {
    fn among(&mut self) -> Among<'_> {
        Among { port: &mut self.shared, members: &self.members, own: self.own }
    }
}

impl Port for Group {
    fn rank(&self) -> usize {
        self.own
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.among().send(to, tag, bytes)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.among().receive(from, tag, into)
    }

    fn receive_any(&mut self, from: &[usize], tag: &Tag, into: &mut Vec<u8>) -> Result<usize> {
        self.among().receive_any(from, tag, into)
    }

    fn hold(&mut self, from: &[usize], tags: &[Tag]) -> Result<()> {
        self.among().hold(from, tags)
    }

    fn here(&mut self, from: &[usize], tag: &Tag) -> Result<bool> {
        self.among().here(from, tag)
    }

    fn all_reduce(&mut self, tag: &Tag, vector: &mut Vec<f32>) -> Result<()> {
        self.among().all_reduce(tag, vector)
    }

    fn count(&mut self, tag: &Tag, bytes: &[u8]) {
        self.among().count(tag, bytes);
    }

    fn save_held(&self, state: &mut State) {
        let mut held = State::default();
        self.shared.save_held(&mut held);
        held::renumber(&mut held, |rank| self.members.iter().position(|member| *member == rank));
        state.vectors.extend(held.vectors);
        state.numbers.extend(held.numbers);
    }

    fn load_held(&mut self, state: &State) -> Result<()> {
        let mut held = state.clone();
        held::renumber(&mut held, |rank| self.members.get(rank).copied());
        self.shared.load_held(&held)
    }

    fn save(&self, state: &mut State) {
        self.shared.save(state);
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.shared.load(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Party, Purpose};
    use crate::fabric::{Metered, Still, connect, on_threads};

    #[test]
    fn a_server_may_be_numbered_last_and_its_words_are_saved_as_it_knows_them() {
        let heard = on_threads(connect(3), |port| {
            let shared = Shared::new(Box::new(port));
            let mut group = Group::new(shared, vec![1, 2, 0])?;
            let (tag, rank, mut into) = (Tag::across(Purpose::Control), group.rank(), Vec::new());
            if rank < 2 {
                group.send(2, &tag, &[rank as u8])?;
                group.send(2, &tag, &[10 + rank as u8])?;
                group.receive(2, &tag, &mut into)?;
                return Ok(into);
            }
            group.hold(&[0, 1], &[tag.clone(), tag.clone()])?;
            let mut state = State::default();
            group.save_held(&mut state);
            let from: Vec<u64> = state.numbers.values().map(|word| word[0]).collect();
            assert_eq!(from.iter().filter(|from| **from == 0).count(), 2);
            assert!(from.iter().all(|from| *from < 2), "{from:?}");
            group.load_held(&state)?;
            let mut all = Vec::new();
            for _ in 0..2 {
                let first = group.receive_any(&[0, 1], &tag, &mut into)?;
                assert_eq!(into, [first as u8]);
                group.receive(first, &tag, &mut into)?;
                assert_eq!(into, [10 + first as u8]);
                all.push(first as u8);
            }
            group.send(0, &tag, &[7])?;
            group.send(1, &tag, &[8])?;
            all.sort_unstable();
            Ok(all)
        });
        assert_eq!(heard.unwrap(), [vec![0, 1], vec![7], vec![8]]);
    }

    #[test]
    fn a_group_counts_its_ranks_from_zero_and_the_meter_counts_those_of_all() {
        let said = on_threads(connect(4), |port| {
            let rank = port.rank();
            let shared = Shared::new(Box::new(Metered::new(port, Arc::new(Still))));
            let mut group = Group::new(shared.clone(), if rank % 2 == 0 { vec![0, 2] } else { vec![1, 3] })?;
            let (tag, other) = (Tag::across(Purpose::Control), 1 - group.rank());
            group.send(other, &tag, &[rank as u8, 7])?;
            let mut heard = Vec::new();
            group.receive(other, &tag, &mut heard)?;
            let ledger = shared.metered(|meter| meter.ledger.clone()).unwrap();
            let to = ledger.flows().map(|(link, flow)| (link.from, link.to, flow.bytes)).collect::<Vec<_>>();
            Ok((group.size(), heard, to))
        });
        for (rank, (size, heard, flows)) in said.unwrap().into_iter().enumerate() {
            let other = (rank + 2) % 4;
            assert_eq!((size, heard), (2, vec![other as u8, 7]));
            assert_eq!(flows, [(Party::Worker(rank), Party::Worker(other), 2)]);
        }
        let alone = Shared::new(Box::new(connect(1).remove(0)));
        assert!(Group::new(alone.clone(), vec![]).is_err() && Group::new(alone, vec![0, 1]).is_err());
    }
}
