//! Gaussian: bounds what one row or one client contributes, and hides it under normal noise.
//!
//! # What it does
//! Clips what is given (per client) or relies on rows that were clipped one by one (per sample), then adds noise.
//!
//! # The step
//! ```text
//! per client   v ← v·min(1, C/‖v‖) ;  v ← v + σC·w·N(0, I)
//! per sample   v = (1/b)·Σ clip_C(gᵢ) comes bounded ;  v ← v + (σC/b)·w·N(0, I)
//! w = 1 where nobody is trusted;  w = 1/√(voices of the round) where the server is
//! ```
//! # Contract
//! One event a round: a Gaussian of multiplier σ at the rate with which a row or a client is drawn, whatever came of the
//! draw. Neighbours differ in one row or client that is there or not. `trust=nobody`: every single message is private by
//! itself. `trust=server`: only the *sum* of a round's messages is, so the server that adds them up must forget them;
//! the noise of all voices adds up to σC. σ = 0 is no privacy, and the epsilon is infinite. Noise comes from ChaCha20,
//! keyed by `seed` or by entropy that the face hands in, and is drawn once per client and round.
//! Who is drawn follows from the run's seed: that sampling helps at all presumes that whoever looks at models does not
//! know it. Losses and accuracies in the record are taken from the data without noise: they are for the experimenter.
//! `remember` says what feedback takes for said: the noisy message as it was understood, or the clipped vector before
//! noise. Under EF21 the first lets later differences mend the noise; with the second it adds up like a random walk.
//!
//! # When it helps, when it hurts
//! The price is noise of size σC√d whatever the gradients are: small models, many clients, large batches.
//!
//! # Reference
//! Abadi et al.: Deep learning with differential privacy (1607.00133); McMahan et al. (1710.06963) per client;
//! Khirirat et al.: Clip21 (2305.18929) with both placements.
//!
//! # Deviations from the paper
//! None.

use super::{Event, Mechanism, Noise, Voiced};
use crate::base::{Error, Result, flat};
use crate::grammar::{Args, Entry, Key};

/// The registry's entry.
pub const ENTRY: Entry<Option<Box<dyn Mechanism>>> = Entry {
    name: "gaussian",
    about: "bounds one contribution and hides it under normal noise",
    keys: &[
        Key {
            name: "noise",
            default: "auto",
            about: "sigma: deviation over sensitivity; auto: what the budget asks for, else 1",
        },
        Key {
            name: "clip",
            default: "auto",
            about: "C: the most one row or client contributes; auto takes the task's",
        },
        Key { name: "unit", default: "client", about: "what is hidden: one client, or one sample (a training row)" },
        Key {
            name: "trust",
            default: "nobody",
            about: "who may see messages: nobody, or the server that adds them up",
        },
        Key { name: "remember", default: "said", about: "what feedback takes for said: said (with noise), or clean" },
        Key { name: "delta", default: "0.00001", about: "the delta of (epsilon, delta)" },
        Key { name: "epsilon", default: "none", about: "the budget: the run ends when it is spent" },
        Key { name: "seed", default: "none", about: "of the noise, for tests alone; none takes the system's entropy" },
    ],
    build: |args| Ok(Some(Box::new(Gaussian::from(args)?))),
};

/// What is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One federated client, or one worker with all it has.
    Client,
    /// One training row.
    Sample,
}

/// A Gaussian mechanism.
pub struct Gaussian {
    multiplier: f64,
    clip: f64,
    unit: Unit,
    trusted: bool,
    clean: bool,
    delta: f64,
    budget: Option<f64>,
    noise: Option<Noise>,
}

impl Gaussian {
    fn from(args: &Args) -> Result<Self> {
        let multiplier = args.positive_or_zero("noise")?;
        let clip = args.optional("clip")?;
        let Some(clip) = clip.or((multiplier == 0.0).then_some(f64::INFINITY)) else {
            return Err(Error::request("noise hides nothing that is not bounded: set privacy.clip to a number"));
        };
        let delta = args.positive("delta")?;
        if delta >= 1.0 {
            return Err(Error::request(format!("`delta` of `gaussian` is a probability below 1, {delta} came")));
        }
        let seed = args.whole("seed")?;
        Ok(Self {
            multiplier,
            clip,
            unit: [Unit::Client, Unit::Sample][args.choice("unit", &["client", "sample"])?],
            trusted: args.choice("trust", &["nobody", "server"])? == 1,
            clean: args.choice("remember", &["said", "clean"])? == 1,
            delta,
            budget: args.optional("epsilon")?,
            noise: seed.map(Noise::from_seed),
        })
    }
}

impl Mechanism for Gaussian {
    fn bound(&self, given: &mut [f32]) -> bool {
        if self.unit == Unit::Sample {
            return false;
        }
        let norm = flat::norm(given);
        let long = norm > self.clip;
        if long {
            flat::scale(given, (self.clip / norm) as f32);
        }
        long
    }

    fn hide(&self, voiced: &Voiced, given: &mut [f32]) -> Result<()> {
        if self.multiplier == 0.0 {
            return Ok(());
        }
        let Some(noise) = &self.noise else {
            return Err(Error::request(
                "noise needs entropy, and none was handed in: the caller must call Worker::hide_with, or set privacy.seed",
            ));
        };
        let sensitivity = if self.unit == Unit::Sample { self.clip / voiced.lot } else { self.clip };
        let share = if self.trusted { 1.0 / libm::sqrt(voiced.voices as f64) } else { 1.0 };
        noise.fill(voiced.client, voiced.round, self.multiplier * sensitivity * share, given);
        Ok(())
    }

    fn event(&self, rate: f64) -> Event {
        Event { rate, multiplier: self.multiplier, count: 1 }
    }

    fn unit(&self) -> Unit {
        self.unit
    }

    fn remembers_clean(&self) -> bool {
        self.clean
    }

    fn delta(&self) -> f64 {
        self.delta
    }

    fn budget(&self) -> Option<f64> {
        self.budget
    }

    fn trusts_server(&self) -> bool {
        self.trusted
    }

    fn key(&mut self, key: [u8; 32]) {
        if self.noise.is_none() {
            self.noise = Some(Noise::new(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Element;

    fn made(text: &str) -> Box<dyn Mechanism> {
        super::super::build(&Element::parse(text).unwrap()).unwrap().unwrap()
    }

    const AT: Voiced = Voiced { client: 3, round: 2, voices: 4, lot: 8.0 };

    #[test]
    fn what_is_long_is_cut_to_the_bound_and_noise_has_its_size() {
        let mut given = vec![0.3f32; 10_000]; // 30 long
        let mechanism = made("gaussian(noise=2, clip=5, seed=1)");
        assert!(mechanism.bound(&mut given));
        assert!((flat::norm(&given) - 5.0).abs() < 1e-4);
        // 10 000 normals of deviation σC have mean square (σC)² within six deviations of √(2/10 000).
        for (text, deviation) in [
            ("gaussian(noise=2, clip=5, seed=1)", 10.0),
            ("gaussian(noise=2, clip=5, seed=1, trust=server)", 5.0),
            ("gaussian(noise=2, clip=5, seed=1, unit=sample)", 1.25),
        ] {
            let mut noise = vec![0.0f32; 10_000];
            made(text).hide(&AT, &mut noise).unwrap();
            let square = flat::squared_norm(&noise) / 10_000.0 / (deviation * deviation);
            assert!((square - 1.0).abs() < 6.0 * 0.0142, "{text}: {square}");
        }
    }

    #[test]
    fn without_noise_nothing_is_hidden_and_without_entropy_nothing_is_sent() {
        let mut given = [1.0f32, 2.0];
        let mechanism = made("gaussian(noise=0, clip=none)");
        assert!(!mechanism.bound(&mut given));
        mechanism.hide(&AT, &mut given).unwrap();
        assert_eq!(given, [1.0, 2.0]);
        let refused = made("gaussian(noise=1, clip=1)").hide(&AT, &mut given).unwrap_err();
        assert!(refused.to_string().contains("privacy.seed"));
        assert!(super::super::build(&Element::parse("gaussian(noise=1, clip=none)").unwrap()).is_err());
    }
}
