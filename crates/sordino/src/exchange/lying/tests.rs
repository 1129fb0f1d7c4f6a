use std::sync::Arc;

use super::*;
use crate::aggregate::{Aggregator, CenteredClip, Krum, Mean, Median};
use crate::base::{Ledger, flat};
use crate::compress::{Compressor, Dense, Pieces, Scope, TopK};
use crate::exchange::{Frame, Gather, Reduce, Star, TwoPhase};
use crate::fabric::{Metered, Port, Still, connect, on_threads};
use crate::grammar::Element;

const LEN: usize = 40;

fn given(client: u64) -> Vec<f32> {
    let mut stream = Stream::new(21, Use::Problem, client, 0);
    (0..LEN).map(|_| 3.0 + stream.normal()).collect()
}

fn dense() -> Box<dyn Compressor> {
    Box::new(Dense)
}

fn mean() -> Box<dyn Aggregator> {
    Box::new(Mean::default())
}

fn gather() -> Box<dyn Exchange> {
    Box::new(Gather::default())
}

fn star() -> Box<dyn Exchange> {
    Box::new(Star::new(Box::new(Dense), Box::new(crate::feedback::None)))
}

fn lying(attack: Attack, clients: usize, liars: usize) -> impl Fn(Box<dyn Exchange>) -> Box<dyn Exchange> + Sync {
    move |inner| Box::new(Lying::new(inner, attack, clients, liars))
}

/// What a rank found: what its voices were understood to have said, what was agreed, and what it sent.
type Found = (Vec<Vec<f32>>, Vec<f32>, Ledger);

struct Case<'a> {
    ranks: usize,
    voices: Vec<Voice>,
    exchange: &'a (dyn Fn() -> Box<dyn Exchange> + Sync),
    compressor: &'a (dyn Fn() -> Box<dyn Compressor> + Sync),
    aggregator: &'a (dyn Fn() -> Box<dyn Aggregator> + Sync),
    clients: bool,
}

impl Case<'_> {
    fn run(&self) -> Vec<Found> {
        let (layout, ports) = (Layout::vector(LEN), connect(self.ranks));
        let ports = ports.into_iter().map(|p| Metered::new(p, Arc::new(Still))).collect();
        on_threads(ports, |mut port| {
            let (rank, mut exchange) = (port.rank(), (self.exchange)());
            let (mut compressor, mut aggregator) = ((self.compressor)(), (self.aggregator)());
            let (mut said, mut agreed, mut all) = (vec![0.0; LEN], vec![0.0; LEN], Vec::new());
            for round in 6..8 {
                let mut talk = Talk {
                    port: &mut port,
                    compressor: &mut *compressor,
                    aggregator: &mut *aggregator,
                    layout: &layout,
                    seed: 1,
                    frame: Frame { round, silence: 1, flags: 0 },
                    purpose: &Purpose::Payload,
                    voices: &self.voices,
                    expected: self.voices.len() as f64,
                    clients: self.clients,
                    weights: &[],
                };
                all.clear();
                for voice in self.voices.iter().filter(|voice| voice.rank == rank) {
                    exchange.begin(&mut talk, *voice, &given(voice.client), &mut said)?;
                    all.push(said.clone());
                }
                exchange.finish(&mut talk, &mut said, &mut agreed)?;
                if !self.clients {
                    all = vec![said.clone()];
                }
            }
            Ok((all, agreed, port.meter().map(|meter| meter.ledger.clone()).unwrap_or_default()))
        })
        .unwrap()
    }
}

/// Five ranks, the last `liars` of which lie, over `inner`.
fn five(attack: Attack, liars: usize, inner: &(dyn Fn() -> Box<dyn Exchange> + Sync)) -> Vec<Found> {
    let lying = lying(attack, 5, liars);
    Case {
        ranks: 5,
        voices: Voice::ranks(5),
        exchange: &|| lying(inner()),
        compressor: &dense,
        aggregator: &mean,
        clients: false,
    }
    .run()
}

/// Mean and standard deviation of the first `count` vectors, and their root mean square norm over √d, in plain loops.
fn honest(count: u64) -> (Vec<f64>, Vec<f64>, f64) {
    let all: Vec<Vec<f32>> = (0..count).map(given).collect();
    let over = |j: usize, f: &dyn Fn(f64) -> f64| all.iter().map(|v| f(f64::from(v[j]))).sum::<f64>() / count as f64;
    let mean: Vec<f64> = (0..LEN).map(|j| over(j, &|v| v)).collect();
    let deviation = (0..LEN).map(|j| over(j, &|v| (v - mean[j]).powi(2)).sqrt()).collect();
    let norm = ((0..LEN).map(|j| over(j, &|v| v * v)).sum::<f64>() / LEN as f64).sqrt();
    (mean, deviation, norm)
}

/// The mean of three honest vectors and two lies.
fn with_lies(lies: &[Vec<f64>; 2]) -> Vec<f64> {
    let (mean, ..) = honest(3);
    (0..LEN).map(|j| (3.0 * mean[j] + lies[0][j] + lies[1][j]) / 5.0).collect()
}

#[test]
fn every_attack_does_what_its_formula_says_and_all_ranks_agree() {
    let (mean, deviation, norm) = honest(3);
    let off_by = |z: f64| mean.iter().zip(&deviation).map(|(m, s)| m - z * s).collect::<Vec<f64>>();
    let flipped = |client| given(client).iter().map(|v| -2.0 * f64::from(*v)).collect::<Vec<f64>>();
    let noise = |client| {
        let mut stream = Stream::new(1, Use::Lie, client, 7);
        (0..LEN).map(|_| 3.0 * norm * f64::from(stream.normal())).collect::<Vec<f64>>()
    };
    let turned: Vec<f64> = mean.iter().map(|m| -0.5 * m).collect();
    for (text, expected) in [
        ("sign_flip(2)", with_lies(&[flipped(3), flipped(4)])),
        ("alie(1.5)", with_lies(&[off_by(1.5), off_by(1.5)])),
        // Two of five: s = 1, Φ(z) = 2/3.
        ("alie", with_lies(&[off_by(0.430_727_3), off_by(0.430_727_3)])),
        ("inner_product", with_lies(&[turned.clone(), turned.clone()])),
        ("random(3)", with_lies(&[noise(3), noise(4)])),
    ] {
        let attack = build(&Element::parse(text).unwrap()).unwrap();
        let gathered = five(attack, 2, &gather);
        for (a, e) in gathered[0].1.iter().zip(&expected) {
            assert!((f64::from(*a) - e).abs() < 1e-5, "{text}: {a}, expected {e}");
        }
        let phased = five(attack, 2, &|| Box::new(TwoPhase::new(Box::new(Dense), false, 2)));
        for out in [&gathered, &five(attack, 2, &star), &five(attack, 2, &|| Box::new(Reduce::default())), &phased] {
            for (rank, (said, agreed, _)) in out.iter().enumerate() {
                assert_eq!(*agreed, gathered[0].1, "{text}: rank {rank} agreed on something else");
                assert_eq!(said[0], given(rank as u64), "{text}: rank {rank} said something else");
            }
        }
    }
}

#[test]
fn without_liars_nothing_changes_and_what_liars_learn_is_no_training() {
    let plain = |exchange| Case {
        ranks: 5,
        voices: Voice::ranks(5),
        exchange,
        compressor: &dense,
        aggregator: &mean,
        clients: false,
    };
    for inner in [&gather as &(dyn Fn() -> Box<dyn Exchange> + Sync), &star] {
        let without = plain(inner).run();
        assert_eq!(without, five(Attack::Alie { z: None }, 0, inner));
        let lied = five(Attack::Alie { z: None }, 2, inner);
        for (a, b) in without.iter().zip(&lied) {
            assert_eq!(a.2.busiest(5, None), b.2.busiest(5, None), "lies are as long as the truth");
        }
    }
}

#[test]
fn the_honest_say_what_a_compressor_makes_of_it_while_liars_remember_nothing() {
    let top = || Box::new(Pieces::new(TopK::new(0.1), Scope::Tensor)) as Box<dyn Compressor>;
    let lying = lying(Attack::InnerProduct { epsilon: 0.5 }, 5, 1);
    let exchange = || lying(gather());
    let found = Case {
        ranks: 5,
        voices: Voice::ranks(5),
        exchange: &exchange,
        compressor: &top,
        aggregator: &mean,
        clients: false,
    }
    .run();
    for (rank, (said, agreed, _)) in found.iter().enumerate() {
        let told = said[0].iter().filter(|v| **v != 0.0).count();
        assert_eq!(told, if rank < 4 { 4 } else { LEN });
        assert_eq!(agreed, &found[0].1);
    }
    let (mean, ..) = honest(4);
    let mut all: Vec<Vec<f32>> = (0..4).map(given).collect();
    all.push(mean.iter().map(|m| (-0.5 * m) as f32).collect());
    let mut expected = vec![0.0; LEN];
    for vector in all {
        let mut order: Vec<usize> = (0..LEN).collect();
        order.sort_by(|a, b| vector[*b].abs().total_cmp(&vector[*a].abs()));
        for j in &order[..4] {
            expected[*j] += vector[*j] / 5.0;
        }
    }
    assert!(found[0].1.iter().zip(&expected).all(|(a, e)| (a - e).abs() < 1e-6), "lies are encoded as all vectors are");
}

#[test]
fn federated_liars_lie_alike_whoever_plays_them() {
    // Of ten clients the last three lie; seven were asked, and in the last case rank 2 plays nobody.
    let clients = [0u64, 2, 3, 6, 7, 8, 9];
    for attack in [Attack::Alie { z: Some(1.0) }, Attack::Random { deviation: 1.0 }, Attack::SignFlip { scale: 1.0 }] {
        let lying = lying(attack, 10, 3);
        let found = |ranks: usize, players: usize| {
            let voice = |(at, client): (usize, &u64)| Voice { client: *client, rank: at % players };
            Case {
                ranks,
                voices: clients.iter().enumerate().map(voice).collect(),
                exchange: &|| lying(star()),
                compressor: &dense,
                aggregator: &mean,
                clients: true,
            }
            .run()
        };
        let alone = found(1, 1);
        for (ranks, players) in [(2, 2), (3, 3), (5, 5), (3, 2)] {
            for (rank, (said, agreed, _)) in found(ranks, players).iter().enumerate() {
                assert_eq!(*agreed, alone[0].1, "{attack:?} on rank {rank} of {ranks}");
                let own: Vec<_> = clients.iter().skip(rank).step_by(players).map(|c| given(*c)).collect();
                assert!(rank >= players || *said == own, "{attack:?}: rank {rank} of {ranks} said something else");
            }
        }
    }
}

#[test]
fn one_liar_moves_the_mean_and_not_the_robust() {
    let off = |aggregator: &(dyn Fn() -> Box<dyn Aggregator> + Sync)| {
        let lying = lying(Attack::SignFlip { scale: 1e4 }, 5, 1);
        let case = Case {
            ranks: 5,
            voices: Voice::ranks(5),
            exchange: &|| lying(star()),
            compressor: &dense,
            aggregator,
            clients: false,
        };
        let honest: Vec<f32> = honest(4).0.iter().map(|m| *m as f32).collect();
        flat::distance(&case.run()[0].1, &honest)
    };
    let spread = (0..4).map(|c| flat::distance(&given(c), &given(c + 1))).fold(0.0, f64::max);
    assert!(off(&mean) > 1e4, "the mean was moved by {} alone", off(&mean));
    assert!(off(&|| Box::new(Median::default())) < spread);
    assert!(off(&|| Box::new(Krum::new(1, 1))) < spread);
    // Twenty from 0, where it starts, and then clipped around the honest.
    assert!(off(&|| Box::new(CenteredClip::new(10.0, 5))) < spread);
}

#[test]
fn a_liar_that_has_diverged_says_so_and_unknown_attacks_are_refused() {
    let mut port = connect(1).pop().unwrap();
    let mut talk = Talk {
        port: &mut port,
        compressor: &mut Dense,
        aggregator: &mut Mean::default(),
        layout: &Layout::vector(2),
        seed: 0,
        frame: Frame { round: 0, silence: 1, flags: 0 },
        purpose: &Purpose::Payload,
        voices: &Voice::ranks(1),
        expected: 1.0,
        clients: false,
        weights: &[],
    };
    let mut all_lie = Lying::new(gather(), Attack::InnerProduct { epsilon: 1.0 }, 1, 1);
    let voice = Voice { client: 0, rank: 0 };
    let (mut said, mut agreed) = ([0.0; 2], [9.0; 2]);
    assert!(all_lie.begin(&mut talk, voice, &[f32::NAN, 0.0], &mut said).is_err());
    // Where nobody honest speaks there is nothing to turn around.
    all_lie.begin(&mut talk, voice, &[1.0, 2.0], &mut said).unwrap();
    all_lie.finish(&mut talk, &mut said, &mut agreed).unwrap();
    assert_eq!((said, agreed), ([1.0, 2.0], [-0.0; 2]));
    let message = build(&Element::word("sign_flop")).unwrap_err().to_string();
    assert!(message.contains("did you mean `sign_flip`"), "{message}");
}
