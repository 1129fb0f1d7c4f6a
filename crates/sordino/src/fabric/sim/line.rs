//! One end of a link: carries one message at a time, never idle while there is something to carry.

/// How many idle stretches of the past are remembered.
const KEPT: usize = 64;

/// When a link is busy: disjoint stretches from and to a moment, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub busy: Vec<(f64, f64)>,
}

impl Line {
    /// Carries something that is there at `from` and takes `work` seconds, in the idle time that earlier calls left;
    /// when it is done.
    ///
    /// Whatever the order of calls, the last of a set of messages is done at the same moment: it is that of a link
    /// that is never idle without need. A message that was there early is not held up by one that was asked for first.
    pub(super) fn carry(&mut self, from: f64, work: f64) -> f64 {
        let begin = self.busy.partition_point(|stretch| stretch.1 < from);
        let (mut at, mut left, mut end) = (from, work, begin);
        while let Some(&(start, stop)) = self.busy.get(end).filter(|stretch| at + left >= stretch.0) {
            left = (left - (start - at).max(0.0)).max(0.0);
            at = at.max(stop);
            end += 1;
        }
        let done = at + left;
        // All idle time between `from` and `done` is used now: what was touched is one stretch.
        let start = self.busy[begin..end].first().map_or(from, |stretch| stretch.0.min(from));
        if done > start {
            self.busy.splice(begin..end, [(start, done)]);
        }
        if self.busy.len() > KEPT {
            let (_, stop) = self.busy.remove(1);
            self.busy[0].1 = stop;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Stream, Use};

    #[test]
    fn idle_time_of_the_past_is_used_and_busy_time_is_not() {
        let mut line = Line::default();
        assert_eq!(line.carry(100.0, 2.0), 102.0);
        assert_eq!(line.carry(1.0, 2.0), 3.0, "the link was idle then");
        assert_eq!(line.carry(2.0, 2.0), 5.0, "behind what is being carried");
        assert_eq!(line.carry(99.0, 2.0), 103.0, "one second before the other message and one behind it");
        assert_eq!(line.carry(103.0, 0.0), 103.0);
        assert_eq!(line.busy, [(1.0, 5.0), (99.0, 103.0)]);
    }

    #[test]
    fn the_last_message_is_done_at_the_same_time_in_any_order() {
        let mut stream = Stream::new(1, Use::Problem, 0, 0);
        // Quarters, so that sums are exact.
        let mut messages: Vec<(f64, f64)> =
            (0..40).map(|_| (stream.below(200) as f64 / 4.0, (1 + stream.below(8)) as f64 / 4.0)).collect();
        messages.sort_by(|a, b| a.0.total_cmp(&b.0));
        let queue = messages.iter().fold(0.0f64, |free, (from, work)| free.max(*from) + work);
        for _ in 0..20 {
            stream.shuffle(&mut messages);
            let mut line = Line::default();
            let last = messages.iter().map(|(from, work)| line.carry(*from, *work)).fold(0.0, f64::max);
            assert_eq!(last, queue);
        }
    }

    #[test]
    fn memory_of_the_past_is_bounded() {
        let mut line = Line::default();
        for n in 0..1000 {
            assert_eq!(line.carry(f64::from(2 * n), 1.0), f64::from(2 * n + 1));
        }
        assert_eq!(line.busy.len(), KEPT);
    }
}
