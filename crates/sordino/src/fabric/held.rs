//! Words that have arrived and were not asked for yet: what a fabric of whichever crate keeps them in.

use std::collections::VecDeque;

use crate::base::{Error, Result, State};

/// One word: who said it, when it is there (by whatever clock the port goes), and its bytes.
#[derive(Clone, Debug)]
pub struct Word {
    /// Who said it.
    pub from: usize,
    /// When it is there; 0 where the port goes by no clock.
    pub at: f64,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Words in the order in which they came. What a checkpoint keeps of a fabric.
#[derive(Clone, Debug, Default)]
pub struct Held(VecDeque<Word>);

impl Held {
    /// Keeps a word that has come.
    pub fn push(&mut self, word: Word) {
        self.0.push_back(word);
    }

    /// How many words of a rank are held.
    pub fn of(&self, from: usize) -> usize {
        self.0.iter().filter(|word| word.from == from).count()
    }

    /// The next word of a rank.
    pub fn take(&mut self, from: usize) -> Option<Word> {
        let at = self.0.iter().position(|word| word.from == from)?;
        self.0.remove(at)
    }

    /// The next word of a rank, which stays.
    pub fn next(&self, from: usize) -> Option<&Word> {
        self.0.iter().find(|word| word.from == from)
    }

    /// Who of `from` is heard first: the earliest by the clock, and of those that are there at the same time the lowest
    /// rank; without a clock, the one whose word came first.
    pub fn first(&self, from: &[usize], timed: bool) -> Option<usize> {
        let mut next = from.iter().filter_map(|rank| {
            let at = self.0.iter().position(|word| word.from == *rank)?;
            Some((if timed { self.0[at].at } else { at as f64 }, *rank))
        });
        let first = next.next()?;
        Some(next.fold(first, |a, b| if b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).is_lt() { b } else { a }).1)
    }

    /// Puts the words into `state`.
    pub fn save(&self, state: &mut State) {
        for (i, word) in self.0.iter().enumerate() {
            let mut numbers = vec![word.from as u64, word.at.to_bits(), word.bytes.len() as u64];
            numbers.extend(word.bytes.chunks(8).map(|chunk| {
                let mut eight = [0; 8];
                eight[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(eight)
            }));
            state.put_numbers(&format!("word-{i:06}"), &numbers);
        }
    }

    /// Takes them back.
    pub fn load(&mut self, state: &State) -> Result<()> {
        self.0.clear();
        for (name, numbers) in state.numbers.iter().filter(|(name, _)| name.starts_with("word-")) {
            let broken = || Error::mismatch(format!("the checkpoint's `{name}` is no word of a rank"));
            let [from, at, len, packed @ ..] = &numbers[..] else { return Err(broken()) };
            let mut bytes: Vec<u8> = packed.iter().flat_map(|eight| eight.to_le_bytes()).collect();
            let len = *len as usize;
            if len > bytes.len() || bytes.len() - len >= 8 {
                return Err(broken());
            }
            bytes.truncate(len);
            self.0.push_back(Word { from: *from as usize, at: f64::from_bits(*at), bytes });
        }
        Ok(())
    }
}

/// Says of saved words who said them by other numbers.
pub(super) fn renumber(state: &mut State, number: impl Fn(usize) -> Option<usize>) {
    for (name, word) in &mut state.numbers {
        if let (true, Some(from)) = (name.starts_with("word-"), word.first_mut()) {
            // Whoever has no number here is nobody, and nobody asks for its words.
            *from = number(*from as usize).map_or(u64::MAX, |rank| rank as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_from_a_checkpoint_and_the_earliest_is_first() {
        let mut held = Held::default();
        for (from, at, len) in [(2, 5.0, 3), (0, 7.0, 8), (1, 5.0, 0), (2, 1.0, 17)] {
            held.push(Word { from, at, bytes: vec![from as u8 + 1; len] });
        }
        let mut state = State::default();
        held.save(&mut state);
        let mut back = Held::default();
        back.load(&state).unwrap();
        assert_eq!((back.first(&[0, 1, 2], true), back.first(&[0, 1, 2], false)), (Some(1), Some(2)));
        assert_eq!((back.first(&[0], true), back.first(&[3], true), back.of(2)), (Some(0), None, 2));
        // Words of one rank stay in their order, whatever their times.
        assert_eq!([back.take(2).unwrap().bytes.len(), back.take(2).unwrap().bytes.len()], [3, 17]);
        assert_eq!(back.take(0).unwrap().bytes, vec![1; 8]);
        assert!(back.take(2).is_none());
        state.put_numbers("word-000000", &[1, 2, 900]);
        assert!(back.load(&state).unwrap_err().to_string().contains("word-000000"));
    }
}
