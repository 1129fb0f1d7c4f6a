//! Bucketing: a few voices at random are averaged, and their means go to another aggregator.
//!
//! # What it does
//! Shuffles the voices, averages every `size` of them, and lets `then` aggregate the means.
//!
//! # The step
//! ```text
//! π = a permutation drawn from (seed, round)
//! bᵢ = mean of v_π(si) … v_π(si + s − 1),   i = 0 … ⌈n/s⌉ − 1          s = size; the last bucket may hold fewer
//! a = then(b₀, b₁, …)
//! ```
//! # Contract
//! One liar spoils one bucket: withstands what `then` withstands of ⌈n/s⌉. The order of voices decides who shares a
//! bucket, so it is not blind to order; every rank draws the same buckets, and other ones every round. Where `then`
//! weighs rows, buckets are means by rows and weigh as many as they hold. What `then` remembers is part of the
//! checkpoint. Means in f64. Not linear. O(nd) memory.
//!
//! # When it helps, when it hurts
//! Where workers differ, robust rules take the unusual for liars; means of two differ half as much (in variance), and
//! half of the averaging that `median` or `krum` throw away comes back. It costs half of the liars that are withstood.
//!
//! # Reference
//! Karimireddy, He, Jaggi: Byzantine-robust learning on heterogeneous datasets via bucketing (2006.09365).
//!
//! # Deviations from the paper
//! None.

use super::{Aggregator, Gathering, Heard};
use crate::base::{Former, Layout, Result, State, Stream, Use};
use crate::grammar::{Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Box<dyn Aggregator>> = Entry {
    name: "bucketing",
    about: "means of a few workers at random go to another aggregator",
    keys: &[
        Key { name: "size", default: "2", about: "workers a bucket; the paper's is 2" },
        Key { name: "then", default: "median", about: "what aggregates the buckets" },
    ],
    build: |args| Ok(Box::new(Bucketing::new(args.count("size", 1)? as usize, super::build(args.element("then")?)?))),
};

/// Random buckets before another aggregator.
pub struct Bucketing {
    size: usize,
    then: Box<dyn Aggregator>,
    heard: Heard,
    weights: Vec<f32>,
    order: Vec<usize>,
    stream: Option<Stream>,
    shares: Vec<f64>,
    mean: Vec<f32>,
}

impl Bucketing {
    /// Buckets of `size` ≥ 1 voices, which `then` aggregates.
    pub fn new(size: usize, then: Box<dyn Aggregator>) -> Self {
        Self {
            size,
            then,
            heard: Heard::default(),
            weights: Vec::new(),
            order: Vec::new(),
            stream: None,
            shares: Vec::new(),
            mean: Vec::new(),
        }
    }
}

impl Aggregator for Bucketing {
    fn begin(&mut self, gathering: &Gathering) -> Result<()> {
        let buckets = gathering.voices.div_ceil(self.size);
        let expected = gathering.expected * buckets as f64 / gathering.voices.max(1) as f64;
        self.then.begin(&Gathering { voices: buckets, expected, ..*gathering })?;
        self.stream = Some(Stream::new(gathering.seed, Use::Buckets, 0, gathering.round));
        self.weights.clear();
        self.heard.begin(gathering);
        self.mean.resize(gathering.len, 0.0);
        Ok(())
    }

    fn add(&mut self, vector: &[f32], weight: f32) {
        self.heard.add(vector);
        self.weights.push(weight);
    }

    fn finish(&mut self, out: &mut [f32]) {
        self.order.clear();
        self.order.extend(0..self.heard.count());
        if let Some(mut stream) = self.stream.take() {
            stream.shuffle(&mut self.order);
        }
        for bucket in self.order.chunks(self.size) {
            let weight: f32 = bucket.iter().map(|k| self.weights[*k]).sum();
            let by_rows = self.then.weighs() && weight > 0.0;
            self.shares.clear();
            self.shares.resize(self.heard.count(), 0.0);
            for k in bucket {
                let even = 1.0 / bucket.len() as f64;
                self.shares[*k] = if by_rows { f64::from(self.weights[*k]) / f64::from(weight) } else { even };
            }
            self.heard.combine(0.0, &self.shares, &mut self.mean);
            self.then.add(&self.mean, weight);
        }
        self.then.finish(out);
    }

    fn gain(&self, voices: f64, expected: f64) -> f64 {
        let buckets = libm::ceil(voices / self.size as f64);
        self.then.gain(buckets, expected * buckets / voices.max(1.0))
    }

    fn weighs(&self) -> bool {
        self.then.weighs()
    }

    fn by_entry(&self) -> bool {
        self.then.by_entry()
    }

    fn withstands(&self, workers: usize) -> usize {
        self.then.withstands(workers.div_ceil(self.size))
    }

    fn blind_to_order(&self) -> bool {
        self.size == 1 && self.then.blind_to_order()
    }

    fn remembers(&self) -> bool {
        self.then.remembers()
    }

    fn save(&self, state: &mut State) {
        let mut inner = State::default();
        self.then.save(&mut inner);
        state.put_all("then", inner);
    }

    fn load(&mut self, state: &State, layout: &Layout) -> Result<()> {
        self.then.load(&state.part("then"), layout)
    }

    fn deal(&self, former: &Former) -> Result<State> {
        let mut state = State::default();
        state.put_all("then", self.then.deal(&former.part("then"))?);
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Krum, Mean, Median, Weighted};

    fn of(then: Box<dyn Aggregator>, size: usize, round: u64, voices: &[f32]) -> f32 {
        let mut bucketing = Bucketing::new(size, then);
        bucketing.begin(&Gathering { round, ..Gathering::of(1, voices.len()) }).unwrap();
        for (k, v) in voices.iter().enumerate() {
            bucketing.add(&[*v], 1.0 + k as f32);
        }
        let mut out = [0.0];
        bucketing.finish(&mut out);
        out[0]
    }

    #[test]
    fn buckets_of_one_are_none_and_the_mean_does_not_see_buckets_of_the_same_size() {
        let voices = [1.0, 7.0, 2.0, 9.0, 4.0, 4.0];
        assert_eq!(of(Box::new(Median::default()), 1, 3, &voices), 4.0);
        for round in 0..9 {
            for size in [1, 2, 3, 6] {
                assert!((of(Box::new(Mean::default()), size, round, &voices) - 4.5).abs() < 1e-6);
            }
            let by_rows = of(Box::new(Weighted::default()), 4, round, &voices);
            assert!((by_rows - 101.0 / 21.0).abs() < 1e-5, "{by_rows}");
        }
    }

    #[test]
    fn who_shares_a_bucket_changes_from_round_to_round() {
        let voices = [0.0, 1.0, 3.0, 9.0, 27.0, 81.0];
        let found: Vec<f32> = (0..9).map(|round| of(Box::new(Median::default()), 2, round, &voices)).collect();
        assert!(found.iter().any(|v| *v != found[0]), "{found:?}");
        assert_eq!(found[4], of(Box::new(Median::default()), 2, 4, &voices));
    }

    #[test]
    fn what_the_buckets_need_is_asked_of_their_number() {
        let mut few = Bucketing::new(2, Box::new(Krum::new(1, 1)));
        assert!(few.begin(&Gathering::of(1, 8)).is_err() && few.begin(&Gathering::of(1, 9)).is_ok());
        assert_eq!((few.withstands(8), few.withstands(9)), (0, 1));
    }
}
