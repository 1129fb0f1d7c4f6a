//! Who is to blame when a rank waits in vain: questions to all, their answers, and the chain of who waits for whom.

use std::time::{Duration, Instant};

/// What a waiting rank does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Goes on waiting.
    Wait,
    /// Asks these ranks the question of this number.
    Ask(u64, Vec<usize>),
    /// Gives up: these are at the end of the chain and have not answered for so long.
    Silent(Vec<usize>, Duration),
    /// Gives up: everybody answers, and nobody has moved for so long.
    Stuck(Duration),
}

#[derive(Clone, Debug, Default)]
struct Peer {
    /// The oldest question that it has not answered.
    open: Option<(u64, Instant)>,
    /// For whom it said that it waits.
    awaits: Vec<usize>,
}

/// One wait of one rank.
///
/// Questions go out from half the patience on, and again an eighth later once they are answered. A rank is given up that
/// leaves one open for a third of the patience: five sixths after the wait began, and always within the patience of the
/// moment from which it was silent.
#[derive(Clone, Debug)]
pub struct Watch {
    began: Instant,
    patience: Duration,
    asked: Option<Instant>,
    peers: Vec<Peer>,
}

impl Watch {
    /// A wait that begins now, among so many ranks.
    pub fn new(began: Instant, patience: Duration, size: usize) -> Self {
        Self { began, patience, asked: None, peers: vec![Peer::default(); size] }
    }

    /// A rank has answered a question, and said for whom it waits itself.
    pub fn answered(&mut self, rank: usize, question: u64, awaits: Vec<usize>) {
        let peer = &mut self.peers[rank];
        if peer.open.is_some_and(|(open, _)| question >= open) {
            peer.open = None;
            peer.awaits = awaits;
        }
    }

    /// What rank `own`, which waits for `awaited`, does now; those that have `left` are not asked. `question` is the
    /// number of the next one.
    pub fn turn(
        &mut self,
        now: Instant,
        own: usize,
        awaited: &[usize],
        left: &dyn Fn(usize) -> bool,
        question: u64,
    ) -> Turn {
        let waited = now.duration_since(self.began);
        if waited < self.patience / 2 {
            return Turn::Wait;
        }
        let open = |rank: usize| self.peers[rank].open.map_or(Duration::ZERO, |(_, since)| now.duration_since(since));
        let silent: Vec<usize> =
            self.chain(own, awaited).into_iter().filter(|rank| open(*rank) >= self.patience / 3).collect();
        if let Some(long) = silent.iter().map(|rank| open(*rank)).min() {
            return Turn::Silent(silent, long);
        }
        if waited >= self.patience * 4 {
            return Turn::Stuck(waited);
        }
        if self.asked.is_some_and(|asked| now.duration_since(asked) < self.patience / 8) {
            return Turn::Wait;
        }
        self.asked = Some(now);
        let free = |rank: &usize| *rank != own && !left(*rank) && self.peers[*rank].open.is_none();
        let ask: Vec<usize> = (0..self.peers.len()).filter(free).collect();
        for rank in &ask {
            self.peers[*rank].open = Some((question, now));
        }
        Turn::Ask(question, ask)
    }

    /// Everybody that is waited for, by this rank or by one that is waited for itself, in order.
    fn chain(&self, own: usize, awaited: &[usize]) -> Vec<usize> {
        let mut reached = vec![false; self.peers.len()];
        let mut next: Vec<usize> = awaited.to_vec();
        while let Some(rank) = next.pop() {
            if rank != own && rank < reached.len() && !reached[rank] {
                reached[rank] = true;
                next.extend(&self.peers[rank].awaits);
            }
        }
        (0..reached.len()).filter(|rank| reached[*rank]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(48);

    struct Wait {
        began: Instant,
        watch: Watch,
        awaited: Vec<usize>,
        question: u64,
    }

    fn wait(awaited: &[usize]) -> Wait {
        let began = Instant::now();
        Wait { began, watch: Watch::new(began, PATIENCE, 4), awaited: awaited.to_vec(), question: 7 }
    }

    impl Wait {
        /// Rank 0's turn after so many seconds; rank 3 has left.
        fn at(&mut self, seconds: u64) -> Turn {
            let now = self.began + Duration::from_secs(seconds);
            let turn = self.watch.turn(now, 0, &self.awaited, &|rank| rank == 3, self.question);
            self.question += u64::from(matches!(turn, Turn::Ask(..)));
            turn
        }
    }

    #[test]
    fn the_end_of_the_chain_is_blamed_and_not_its_links() {
        let mut w = wait(&[1]);
        assert_eq!((w.at(23), w.at(24)), (Turn::Wait, Turn::Ask(7, vec![1, 2])));
        w.watch.answered(1, 7, vec![2]);
        assert_eq!((w.at(29), w.at(30)), (Turn::Wait, Turn::Ask(8, vec![1])));
        w.watch.answered(1, 8, vec![0, 2]);
        assert_eq!(w.at(39), Turn::Ask(9, vec![1]));
        assert_eq!(w.at(40), Turn::Silent(vec![2], Duration::from_secs(16)));
    }

    #[test]
    fn a_silent_rank_for_which_nobody_waits_is_not_blamed() {
        let mut w = wait(&[1]);
        assert_eq!(w.at(24), Turn::Ask(7, vec![1, 2]));
        w.watch.answered(1, 7, vec![]);
        for seconds in (30..192).step_by(6) {
            assert_eq!(w.at(seconds), Turn::Ask(w.question - 1, vec![1]), "{seconds}");
            w.watch.answered(1, w.question - 1, vec![]);
        }
        assert_eq!(w.at(192), Turn::Stuck(Duration::from_secs(192)));
    }

    #[test]
    fn whoever_stops_after_an_answer_is_found_within_the_patience_from_then_on() {
        let mut w = wait(&[1, 2]);
        assert_eq!(w.at(24), Turn::Ask(7, vec![1, 2]));
        w.watch.answered(1, 7, vec![]);
        w.watch.answered(2, 7, vec![]);
        assert_eq!(w.at(31), Turn::Ask(8, vec![1, 2]));
        w.watch.answered(2, 8, vec![]);
        // An answer to an older question is none to this one.
        w.watch.answered(1, 7, vec![]);
        assert_eq!((w.at(46), w.at(47)), (Turn::Ask(9, vec![2]), Turn::Silent(vec![1], Duration::from_secs(16))));
    }
}
