//! Sampled: some clients, drawn anew each round without replacement.
//!
//! # What it does
//! Asks `count` of the clients; may ask more and take the first that report, within a deadline.
//!
//! # The step
//! ```text
//! asked    A(r) ~ uniform over subsets of {0, …, K − 1} of size min(K, ⌈over·count⌉)
//! taken    the first `count` of A(r) to report, none later than `deadline`;  nobody where fewer than `least` report
//! ```
//! # Contract
//! Without replacement: nobody is asked twice a round. Draws depend on seed and round alone. Reports that are in at the
//! same time are taken in the order of clients. Whoever is late is told to stop: its work is lost, its word is not sent,
//! what it remembers is as if it had not been asked. `over` and `deadline` (in seconds) need a virtual clock. A round
//! without reports changes nothing.
//!
//! # When it helps, when it hurts
//! Many clients that are rarely there. Fast clients are taken more often when more are asked than are needed: where
//! speed and data go together the model leans towards the fast. A draw of fixed size is not what the accountant of
//! privacy assumes: use `poisson` there.
//!
//! # Reference
//! McMahan et al.: Communication-efficient learning of deep networks (1602.05629); Kairouz et al. (1912.04977) for
//! over-selection, deadline and abandoned rounds.
//!
//! # Deviations from the paper
//! None.

use super::Participation;
use crate::base::{Error, Result, Stream, Use};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Participation>> = Entry {
    name: "sampled",
    about: "some clients, drawn anew each round without replacement",
    keys: &[
        Key { name: "count", default: "10", about: "clients whose reports a round takes" },
        Key { name: "clients", default: "auto", about: "how many there are; auto takes the data's own, else 100" },
        Key { name: "over", default: "1", about: "asks that many times more than it takes, 1.3 for example" },
        Key { name: "deadline", default: "none", about: "virtual seconds after which nobody is waited for" },
        Key { name: "least", default: "1", about: "with fewer reports a round is abandoned" },
    ],
    build: |args| {
        let (count, clients) = (args.count("count", 1)? as usize, args.count("clients", 1)? as usize);
        let over = args.number("over")?;
        if !(1.0..=100.0).contains(&over) {
            return Err(Error::request(format!("`over` of `sampled` is a factor from 1 to 100, {over} came")));
        }
        let least = args.count("least", 1)? as usize;
        let sampled = Sampled { count, clients, over, deadline: args.optional("deadline")?, least };
        sampled.fits()?;
        Ok(Box::new(sampled))
    },
};

/// A draw of fixed size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Clients whose reports a round takes.
    pub count: usize,
    /// Clients there are.
    pub clients: usize,
    /// How many times more are asked.
    pub over: f64,
    /// Virtual seconds after which nobody is waited for.
    pub deadline: Option<f64>,
    /// With fewer reports a round is abandoned.
    pub least: usize,
}

impl Sampled {
    /// `count` of `clients`, all of them waited for.
    pub fn new(count: usize, clients: usize) -> Self {
        Self { count, clients, over: 1.0, deadline: None, least: 1 }
    }

    fn fits(&self) -> Result<()> {
        if self.count > self.clients {
            return Err(Error::request(format!(
                "`count` of `sampled` is {}, but there are {} clients; lower participation.count or raise participation.clients",
                self.count, self.clients
            )));
        }
        if self.least > self.count {
            return Err(Error::request(format!(
                "`least` of `sampled` is {}, but a round takes only {} reports; lower participation.least",
                self.least, self.count
            )));
        }
        Ok(())
    }
}

impl Participation for Sampled {
    fn asked(&self, seed: u64, round: u64, _: usize, asked: &mut Vec<u64>) {
        let most = (libm::ceil(self.over * self.count as f64) as usize).min(self.clients);
        let mut stream = Stream::new(seed, Use::Participation, 0, round);
        asked.clear();
        // Floyd's draw of a subset: as many numbers as there are to be drawn, however many clients there are.
        let mut drawn = std::collections::BTreeSet::new();
        for last in self.clients - most..self.clients {
            let one = stream.below(last as u64 + 1);
            if !drawn.insert(one) {
                drawn.insert(last as u64);
            }
        }
        asked.extend(drawn);
    }

    fn clients(&self, _: usize) -> usize {
        self.clients
    }

    fn expected(&self, _: usize) -> f64 {
        self.count as f64
    }

    fn federated(&self) -> bool {
        true
    }

    fn hurries(&self) -> bool {
        self.over > 1.0 || self.deadline.is_some()
    }

    fn taken(&self, reports: &[(u64, f64)]) -> (Vec<u64>, f64) {
        let end = self.deadline.unwrap_or(f64::INFINITY);
        let mut come: Vec<(u64, f64)> =
            reports.iter().copied().filter(|(_, at)| at.is_finite() && *at <= end).collect();
        come.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let enough = come.len() >= self.count;
        come.truncate(self.count);
        // With too few the server waits until the deadline, or until the last one that will ever report.
        let last = come.last().map_or(0.0, |(_, at)| *at);
        let seconds = if enough || !end.is_finite() { last } else { end };
        if come.len() < self.least {
            come.clear();
        }
        let mut taken: Vec<u64> = come.into_iter().map(|(client, _)| client).collect();
        taken.sort_unstable();
        (taken, seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_without_replacement_alike_and_even() {
        let sampled = Sampled { over: 1.3, ..Sampled::new(10, 40) };
        let (mut asked, mut again, mut counts) = (Vec::new(), Vec::new(), vec![0u32; 40]);
        for round in 0..4000 {
            sampled.asked(5, round, 2, &mut asked);
            sampled.asked(5, round, 7, &mut again);
            assert_eq!(asked, again, "the number of ranks does not matter");
            assert!(asked.len() == 13 && asked.is_sorted() && asked.windows(2).all(|w| w[0] < w[1]));
            for client in &asked {
                counts[*client as usize] += 1;
            }
        }
        // Each comes 1300 times, with a deviation of 30.
        assert!(counts.iter().all(|c| c.abs_diff(1300) < 6 * 30), "{counts:?}");
        Sampled::new(40, 40).asked(5, 0, 1, &mut asked);
        assert_eq!(asked, (0..40).collect::<Vec<u64>>());
    }

    #[test]
    fn the_first_to_report_are_taken_and_nobody_after_the_deadline() {
        let reports = [(1, 5.0), (4, 2.0), (6, f64::INFINITY), (7, 2.0), (9, 30.0)];
        let taken = |count, deadline, least| Sampled { deadline, least, ..Sampled::new(count, 10) }.taken(&reports);
        assert_eq!(taken(2, None, 1), (vec![4, 7], 2.0));
        assert_eq!(taken(3, Some(10.0), 1), (vec![1, 4, 7], 5.0));
        assert_eq!(taken(4, Some(10.0), 1), (vec![1, 4, 7], 10.0));
        assert_eq!(taken(5, None, 1), (vec![1, 4, 7, 9], 30.0));
        assert_eq!(taken(4, Some(10.0), 4), (vec![], 10.0));
        assert_eq!(taken(4, Some(1.0), 1), (vec![], 1.0));
    }
}
