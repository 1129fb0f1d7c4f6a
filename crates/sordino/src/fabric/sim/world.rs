//! What a simulated world is like: its settings, and everything that is drawn in it.

use super::{Slow, Trip};
use crate::base::{Error, Result, Stream, Use};
use crate::grammar::{Args, Key};

/// A world of ranks that each have one link to a fast middle. By default a plausible one of workers at several sites.
///
/// # Contract
/// Numbers are finite and at least 0, `rate` is above 0 (infinite: bytes cost nothing), `loss` and `fail` are below 1.
/// Every draw is keyed by the seed and by what it is about, so no draw depends on the order of events, and changing one
/// setting leaves the draws of the others where they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    /// Of everything drawn here. Training never reads it.
    pub seed: u64,
    /// Seconds from one rank to another, one way.
    pub latency: f64,
    /// Seconds by which a message is later than that: the mean of an exponential draw per message.
    pub jitter: f64,
    /// Bits per second of every rank's link, each way.
    pub rate: f64,
    /// Probability that a message must be sent again, and the next time again.
    pub loss: f64,
    /// Seconds that each loss costs.
    pub timeout: f64,
    /// Seconds per local step of a typical client.
    pub step: f64,
    /// How unequal clients are: sigma of a log-normal factor per client, with median 1.
    pub spread: f64,
    /// How unequal the rounds of a client are: sigma of a log-normal factor per client and round, with median 1.
    pub flutter: f64,
    /// How many clients, those with the highest ids, are slow.
    pub slow: u64,
    /// How many times as long as others' a slow client's steps take.
    pub factor: f64,
    /// Probability, per client and round, that the client crashes in its silent steps.
    pub fail: f64,
    /// Seconds that a crashed worker needs beyond its steps until it has redone its work.
    pub restart: f64,
    /// How many clients there are; 0 for one on every rank. No key: the run knows.
    pub clients: u64,
}

/// The keys of the registry's entry, with the defaults.
pub(super) const KEYS: &[Key] = &[
    Key { name: "latency", default: "0.02", about: "seconds from rank to rank, one way" },
    Key { name: "rate", default: "1e8", about: "bits per second of every rank's link, each way" },
    Key { name: "jitter", default: "0.002", about: "mean seconds by which a message is later (exponential)" },
    Key { name: "loss", default: "0.001", about: "probability that a message must be sent again" },
    Key { name: "timeout", default: "0.2", about: "seconds that each loss costs (Linux: at least 0.2)" },
    Key { name: "step", default: "0.05", about: "seconds per local step of a typical client" },
    Key { name: "spread", default: "0.2", about: "how unequal clients are: sigma of a log-normal factor" },
    Key { name: "flutter", default: "0.1", about: "how unequal a client's rounds are: sigma of a log-normal factor" },
    Key { name: "slow", default: "0", about: "how many clients, the last ones, are slow" },
    Key { name: "factor", default: "5", about: "how many times as long a slow client's steps take" },
    Key { name: "fail", default: "0", about: "probability per client and round of a crash in the silent steps" },
    Key { name: "restart", default: "30", about: "seconds until a crashed worker has redone its work" },
    Key { name: "seed", default: "0", about: "of what is drawn in the world; training never reads it" },
];

impl Default for World {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: 0.02,
            jitter: 0.002,
            rate: 1e8,
            loss: 0.001,
            timeout: 0.2,
            step: 0.05,
            spread: 0.2,
            flutter: 0.1,
            slow: 0,
            factor: 5.0,
            fail: 0.0,
            restart: 30.0,
            clients: 0,
        }
    }
}

/// What a draw is about; part of its key.
#[derive(Clone, Copy)]
enum About {
    /// A client, once and for all.
    Speed,
    /// A client's speed in a round.
    Flutter,
    /// Whether a client crashes in a round.
    Crash,
    /// A client's report in a round.
    Trip,
    /// A message of a link.
    Message,
}

/// A message is given up for lost no more often than this, as TCP would give up its peer.
const TRIES: u32 = 15;

impl World {
    /// A world in which nothing takes time and nothing goes wrong, to be changed in what matters.
    pub fn still() -> Self {
        Self {
            latency: 0.0,
            jitter: 0.0,
            rate: f64::INFINITY,
            loss: 0.0,
            step: 0.0,
            spread: 0.0,
            flutter: 0.0,
            ..Self::default()
        }
    }

    pub(super) fn from_args(args: &Args) -> Result<Self> {
        let sigma = |key| match args.positive_or_zero(key)? {
            sigma if sigma <= 10.0 => Ok(sigma),
            came => Err(Error::request(format!(
                "`{key}` of `sim` must be a sigma of at most 10, beyond which a factor means nothing, but {came} came"
            ))),
        };
        let slow = Slow::from_args(args)?;
        Ok(Self {
            seed: args.count("seed", 0)?,
            latency: args.positive_or_zero("latency")?,
            jitter: args.positive_or_zero("jitter")?,
            rate: args.positive("rate")?,
            loss: args.fraction("loss")?,
            timeout: args.positive_or_zero("timeout")?,
            step: args.positive_or_zero("step")?,
            spread: sigma("spread")?,
            flutter: sigma("flutter")?,
            slow: slow.count,
            factor: slow.factor,
            fail: args.fraction("fail")?,
            restart: args.positive_or_zero("restart")?,
            clients: 0,
        })
    }

    fn draws(&self, about: About, client: u64, index: u64) -> Stream {
        Stream::new(self.seed, Use::World, client, index).part(about as u64)
    }

    /// Seconds per local step of a client in a round.
    pub fn pace(&self, client: u64, round: u64) -> f64 {
        let log_normal = |sigma: f64, mut stream: Stream| libm::exp(sigma * f64::from(stream.normal()));
        let slow = Slow { count: self.slow, factor: self.factor };
        self.step
            * log_normal(self.spread, self.draws(About::Speed, client, 0))
            * log_normal(self.flutter, self.draws(About::Flutter, client, round))
            * slow.times(client, self.clients)
    }

    /// Whether a client crashes in the silent steps of a round.
    pub fn crashes(&self, client: u64, round: u64) -> bool {
        self.draws(About::Crash, client, round).uniform64() < self.fail
    }

    /// Seconds for which a message occupies a link.
    pub(super) fn transfer(&self, bytes: u64) -> f64 {
        8.0 * bytes as f64 / self.rate
    }

    /// What is drawn for message `index` from one rank to another.
    pub(super) fn message(&self, from: usize, to: usize, index: u64) -> Stream {
        self.draws(About::Message, from as u64, to as u64).part(index)
    }

    /// Seconds from a message's departure until its first byte is there.
    pub(super) fn delay(&self, stream: &mut Stream) -> f64 {
        let jitter = -self.jitter * libm::log(1.0 - stream.uniform64());
        let losses = (0..TRIES).take_while(|_| stream.uniform64() < self.loss).count();
        self.latency + jitter + losses as f64 * self.timeout
    }

    /// Seconds after a round's start at which a client's report is in. The links are the client's own: the server's is
    /// taken to be wide enough for everybody.
    pub(super) fn report(&self, round: u64, trip: &Trip) -> f64 {
        if self.crashes(trip.client, round) {
            return f64::INFINITY;
        }
        let draws = self.draws(About::Trip, trip.client, round);
        let way = |bytes, which| self.delay(&mut draws.part(which)) + self.transfer(bytes);
        way(trip.down, 0) + trip.steps as f64 * self.pace(trip.client, round) + way(trip.up, 1)
    }
}
