//! Poisson: every client by itself, with the same probability.
//!
//! # What it does
//! Asks each client with probability expected/clients; how many come differs from round to round.
//!
//! # The step
//! ```text
//! k ∈ S(r) with probability q = expected/K, each by itself
//! ```
//! # Contract
//! Draws depend on seed and round alone. A round may ask nobody, and changes nothing then, unless noise hides who was
//! there. The mean by `aggregate=mean(by=expected)` divides by qK, whoever came.
//!
//! # When it helps, when it hurts
//! It is what the accounting of subsampled mechanisms assumes, exactly. Rounds of unequal size are a little noisier than
//! those of `sampled`.
//!
//! # Reference
//! McMahan, Ramage, Talwar, Zhang: Learning differentially private recurrent language models (1710.06963).
//!
//! # Deviations from the paper
//! None.

use super::Participation;
use crate::base::{Error, Stream, Use};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Participation>> = Entry {
    name: "poisson",
    about: "every client by itself, with the same probability",
    keys: &[
        Key { name: "expected", default: "10", about: "clients of a round, on average" },
        Key { name: "clients", default: "auto", about: "how many there are; auto takes the data's own, else 100" },
    ],
    build: |args| {
        let (expected, clients) = (args.positive("expected")?, args.count("clients", 1)? as usize);
        if expected > clients as f64 {
            return Err(Error::request(format!(
                "`expected` of `poisson` is {expected}, but there are {clients} clients; lower participation.expected or raise participation.clients"
            )));
        }
        Ok(Box::new(Poisson { expected, clients }))
    },
};

/// Independent draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisson {
    /// Clients of a round, on average.
    pub expected: f64,
    /// Clients there are.
    pub clients: usize,
}

impl Participation for Poisson {
    fn asked(&self, seed: u64, round: u64, _: usize, asked: &mut Vec<u64>) {
        let rate = self.expected / self.clients as f64;
        let mut stream = Stream::new(seed, Use::Participation, 0, round);
        asked.clear();
        asked.extend((0..self.clients as u64).filter(|_| stream.uniform64() < rate));
    }

    fn clients(&self, _: usize) -> usize {
        self.clients
    }

    fn expected(&self, _: usize) -> f64 {
        self.expected
    }

    fn federated(&self) -> bool {
        true
    }

    fn poisson(&self, _: usize) -> Option<f64> {
        Some(self.expected / self.clients as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_comes_at_the_rate_and_sizes_vary_as_they_should() {
        let (poisson, rounds) = (Poisson { expected: 4.0, clients: 40 }, 4000);
        let (mut asked, mut counts, mut sizes) = (Vec::new(), vec![0u32; 40], Vec::new());
        for round in 0..rounds {
            poisson.asked(2, round, 3, &mut asked);
            for client in &asked {
                counts[*client as usize] += 1;
            }
            sizes.push(asked.len() as f64);
        }
        // Each comes 400 times, with a deviation of 19; sizes have variance 40·0.1·0.9 = 3.6.
        assert!(counts.iter().all(|c| c.abs_diff(400) < 6 * 19), "{counts:?}");
        let mean = sizes.iter().sum::<f64>() / rounds as f64;
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / rounds as f64;
        assert!((variance - 3.6).abs() < 6.0 * 3.6 * (2.0 / rounds as f64).sqrt(), "{variance}");
        assert!(sizes.contains(&0.0), "some rounds ask nobody");
    }
}
