use std::sync::Arc;

use super::*;
use crate::aggregate::{Mean, Weighted};
use crate::base::{Purpose, Reader, Writer};
use crate::compress::{Class, Coding, Dense, Pieces, Scope, TopK};
use crate::fabric::{Clock, Fault, Faulty, Metered, SimClock, Still, World, connect, on_threads, simulate};
use crate::feedback::Residual;

fn given(rank: usize, len: usize) -> Vec<f32> {
    let mut s = Stream::new(3, Use::Problem, rank as u64, 0);
    (0..len).map(|_| s.normal()).collect()
}

/// What `rank` is told through the exchange that `make` makes, with its ledger.
fn agree(
    size: usize,
    len: usize,
    make: impl Fn() -> Box<dyn Exchange> + Sync,
    weights: &[f32],
) -> Vec<(Vec<f32>, Vec<f32>, u8, crate::base::Ledger)> {
    let layout = Layout::vector(len);
    let ports = connect(size).into_iter().map(|p| Metered::new(p, Arc::new(Still))).collect();
    on_threads(ports, |mut port| {
        let (rank, mut exchange) = (port.rank(), make());
        let mut aggregator: Box<dyn Aggregator> =
            if weights.is_empty() { Box::new(Mean::default()) } else { Box::new(Weighted::default()) };
        let mut talk = Talk {
            port: &mut port,
            compressor: &mut Dense,
            aggregator: &mut *aggregator,
            layout: &layout,
            seed: 1,
            frame: Frame { round: 4, silence: 2, flags: if rank == 0 { 5 } else { 0 } },
            purpose: &Purpose::Payload,
            voices: &Voice::ranks(size),
            expected: size as f64,
            clients: false,
            weights,
        };
        let (mut said, mut agreed) = (vec![0.0; len], vec![0.0; len]);
        exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given(rank, len), &mut said)?;
        let flags = exchange.finish(&mut talk, &mut said, &mut agreed)?;
        let ledger = port.meter().unwrap().ledger.clone();
        Ok((said, agreed, flags, ledger))
    })
    .unwrap()
}

/// The most bytes a frame adds to a body here: round, silence, flags, length, seal.
const OVERHEAD: usize = 1 + 1 + 1 + 3 + 4;

fn phases(piece: usize) -> impl Fn() -> Box<dyn Exchange> + Sync {
    move || Box::new(TwoPhase::new(Box::new(Dense), false, piece))
}

fn star() -> Box<dyn Exchange> {
    Box::new(Star::new(Box::new(Dense), Box::new(crate::feedback::None)))
}

#[test]
fn all_exchanges_agree_bit_for_bit_for_every_size() {
    for size in [1, 2, 3, 4, 7] {
        for len in [1, 5, 64, 1001] {
            let gather = agree(size, len, || Box::new(Gather::default()), &[]);
            let mut naive = given(0, len);
            (1..size).for_each(|r| flat::add(&mut naive, &given(r, len)));
            flat::divide(&mut naive, size as f32);
            for (rank, (said, agreed, flags, _)) in gather.iter().enumerate() {
                assert_eq!((said, agreed, *flags), (&given(rank, len), &naive, 5));
            }
            for other in [
                agree(size, len, || Box::new(Reduce::default()), &[]),
                agree(size, len, || Box::new(Reduce::in_pieces(7)), &[]),
                agree(size, len, || Box::new(Gather::in_pieces(11)), &[]),
                agree(size, len, star, &[]),
                agree(size, len, phases(1 << 20), &[]),
                agree(size, len, phases(19), &[]),
            ] {
                for (a, b) in gather.iter().zip(&other) {
                    assert_eq!((&a.0, &a.1, a.2), (&b.0, &b.1, b.2), "size {size} len {len}");
                }
            }
        }
    }
}

#[test]
fn weights_make_the_mean_over_rows_and_equal_weights_the_plain_mean() {
    let weights = [3.0, 1.0, 0.0];
    let out = agree(3, 10, || Box::new(Reduce::default()), &weights);
    for j in 0..10 {
        let expected = (3.0 * given(0, 10)[j] + given(1, 10)[j]) / 4.0;
        assert!((out[1].1[j] - expected).abs() < 1e-6);
    }
    assert_eq!(out[0].1, agree(3, 10, phases(2), &weights)[1].1);
    let plain = agree(3, 10, || Box::new(Gather::default()), &[]);
    let equal = agree(3, 10, || Box::new(Gather::default()), &[1.0; 3]);
    assert_eq!(plain[2].1, equal[2].1);
}

#[test]
fn reduce_moves_the_volume_of_a_ring_and_the_server_is_a_party_of_its_own() {
    let (size, len) = (4, 10_000);
    let ledger = |out: Vec<(Vec<f32>, Vec<f32>, u8, crate::base::Ledger)>| {
        let mut all = crate::base::Ledger::default();
        for o in &out {
            all.merge(&o.3);
        }
        all
    };
    let (sent, received) = ledger(agree(size, len, || Box::new(Reduce::default()), &[])).busiest(size, None);
    let ideal = 2 * (size - 1) * 4 * len / size;
    for bytes in [sent, received] {
        assert!(bytes as usize >= ideal && bytes as usize <= ideal + 6 * OVERHEAD, "{bytes} {ideal}");
    }
    let (sent, received) = ledger(agree(size, len, phases(500), &[])).busiest(size, None);
    for bytes in [sent, received] {
        assert!(bytes as usize >= ideal && bytes as usize <= ideal + 30 * (OVERHEAD + 1), "{bytes} {ideal}");
    }
    let star = ledger(agree(size, len, star, &[]));
    let (sent, received) = star.busiest(size, None);
    assert!(sent as usize <= 4 * len + OVERHEAD && received as usize <= 4 * len + OVERHEAD);
    assert_eq!(star.sent_by(crate::base::Party::Server), 3 * sent);
    assert_eq!(star.received_by(crate::base::Party::Worker(0)), 0);
}

#[test]
fn in_every_step_every_link_carries_something() {
    let (size, len, rate) = (8, 40_000, 1e6);
    let seconds = |make: &(dyn Fn() -> Box<dyn Exchange> + Sync)| {
        let (layout, world) = (Layout::vector(len), World { rate, ..World::still() });
        let times = on_threads(simulate(size, &world), |(mut port, clock)| {
            let (rank, mut exchange) = (port.rank(), make());
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut Dense,
                aggregator: &mut Mean::default(),
                layout: &layout,
                seed: 1,
                frame: Frame { round: 4, silence: 2, flags: 0 },
                purpose: &Purpose::Payload,
                voices: &Voice::ranks(size),
                expected: size as f64,
                clients: false,
                weights: &[],
            };
            let (mut said, mut agreed) = (vec![0.0; len], vec![0.0; len]);
            exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given(rank, len), &mut said)?;
            exchange.finish(&mut talk, &mut said, &mut agreed)?;
            Ok(clock.now())
        });
        times.unwrap().into_iter().fold(0.0, f64::max)
    };
    let message = 8.0 * 4.0 * len as f64 / rate;
    let others = size as f64 - 1.0;
    let ring = 2.0 * others / size as f64 * message;
    // Nobody could be done sooner: so many bytes leave every rank. Frames take the rest.
    for (found, least) in [
        (seconds(&|| Box::new(Reduce::default())), ring),
        (seconds(&|| Box::new(Reduce::in_pieces(700))), ring),
        (seconds(&phases(1 << 20)), ring),
        (seconds(&phases(700)), ring),
        (seconds(&|| Box::new(Gather::default())), others * message),
        (seconds(&|| Box::new(Gather::in_pieces(9000))), others * message),
    ] {
        assert!(found >= least && found < 1.02 * least, "{found} of {least}");
    }
}

/// `Dense`, whose encoding takes virtual time.
struct Labouring {
    clock: Arc<SimClock>,
    /// Seconds an entry.
    pace: f64,
}

impl Compressor for Labouring {
    fn class(&self, layout: &Layout) -> Class {
        Dense.class(layout)
    }

    fn bound(&self, layout: &Layout) -> usize {
        Dense.bound(layout)
    }

    fn encode(&mut self, given: &[f32], at: &Coding, out: &mut Writer) -> Result<()> {
        self.clock.advance(self.pace * given.len() as f64);
        Dense.encode(given, at, out)
    }

    fn decode(&mut self, body: &mut Reader, layout: &Layout, out: &mut [f32]) -> Result<()> {
        Dense.decode(body, layout, out)
    }

    fn grain(&self, layout: &Layout) -> Option<usize> {
        Dense.grain(layout)
    }

    fn seam(&self, layout: &Layout) -> Option<usize> {
        Dense.seam(layout)
    }
}

#[test]
fn one_piece_is_coded_while_another_travels() {
    // Coding a vector takes a second, and so does a link that carries it.
    let len = 2000;
    let meet = |phases: bool, piece: usize| {
        let (layout, world) = (Layout::vector(len), World { rate: 8.0 * 4.0 * len as f64, ..World::still() });
        let out = on_threads(simulate(2, &world), |(mut port, clock)| {
            let rank = port.rank();
            let code = || Labouring { clock: clock.clone(), pace: 1.0 / len as f64 };
            let mut exchange: Box<dyn Exchange> = if phases {
                Box::new(TwoPhase::new(Box::new(code()), false, piece))
            } else {
                Box::new(Gather::in_pieces(piece))
            };
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut code(),
                aggregator: &mut Mean::default(),
                layout: &layout,
                seed: 1,
                frame: Frame { round: 4, silence: 2, flags: 0 },
                purpose: &Purpose::Payload,
                voices: &Voice::ranks(2),
                expected: 2.0,
                clients: false,
                weights: &[],
            };
            let (mut said, mut agreed) = (vec![0.0; len], vec![0.0; len]);
            exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given(rank, len), &mut said)?;
            exchange.finish(&mut talk, &mut said, &mut agreed)?;
            Ok((agreed, clock.now()))
        })
        .unwrap();
        let seconds = out.iter().map(|(_, now)| *now).fold(0.0, f64::max);
        (out.into_iter().next().unwrap().0, seconds)
    };
    let (whole, pieces) = (meet(false, len), meet(false, len / 20));
    assert_eq!(whole.0, pieces.0);
    // Coding, then the link; or the link, but for the first piece.
    assert!((whole.1 - 2.0).abs() < 0.02 && (pieces.1 - 1.05).abs() < 0.1, "{} {}", whole.1, pieces.1);
    let (whole, pieces) = (meet(true, len), meet(true, len / 40));
    assert_eq!(whole.0, pieces.0);
    // Up everything is coded, the other's half first; down a half is. The links are waited for, or the last piece alone.
    assert!((whole.1 - 2.0).abs() < 0.02 && (pieces.1 - 1.525).abs() < 0.1, "{} {}", whole.1, pieces.1);
}

#[test]
fn the_server_remembers_what_it_did_not_say() {
    let top1 = || Box::new(Pieces::new(TopK::new(0.25), Scope::Tensor));
    let mut exchange = Star::new(top1(), Box::new(Residual::new(0.0, 0)));
    let layout = Layout::vector(4);
    let mut port = connect(1).pop().unwrap();
    let mut total = [0.0f32; 4];
    for round in 0..4 {
        let mut talk = Talk {
            port: &mut port,
            compressor: &mut Dense,
            aggregator: &mut Mean::default(),
            layout: &layout,
            seed: 0,
            frame: Frame { round, silence: 1, flags: 0 },
            purpose: &Purpose::Payload,
            voices: &Voice::ranks(1),
            expected: 1.0,
            clients: false,
            weights: &[],
        };
        let given = if round == 0 { [4.0, 3.0, 2.0, 1.0] } else { [0.0; 4] };
        let (mut said, mut agreed) = ([0.0; 4], [0.0; 4]);
        exchange.begin(&mut talk, Voice { client: 0, rank: 0 }, &given, &mut said).unwrap();
        exchange.finish(&mut talk, &mut said, &mut agreed).unwrap();
        assert_eq!(agreed.iter().filter(|v| **v != 0.0).count(), 1);
        flat::add(&mut total, &agreed);
    }
    assert_eq!(total, [4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn an_owner_remembers_what_it_did_not_say_and_a_new_one_takes_its_chunk_of_it() {
    let (layout, len) = (Layout::vector(12), 12);
    let meet = |states: &[State], size: usize, round: u64| {
        on_threads(connect(size), |mut port| {
            let rank = port.rank();
            let top = Box::new(Pieces::new(TopK::new(0.3), Scope::Tensor));
            let mut exchange = TwoPhase::new(top, true, 1 << 20);
            match states.len() {
                0 => {}
                n if n == size => exchange.load(&states[rank], &layout)?,
                _ => {
                    let former = Former::new(states.iter().collect(), &[], 1.0);
                    let state = exchange.deal(&former, rank)?;
                    exchange.load(&state, &layout)?;
                }
            }
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut Dense,
                aggregator: &mut Mean::default(),
                layout: &layout,
                seed: 0,
                frame: Frame { round, silence: 1, flags: 0 },
                purpose: &Purpose::Payload,
                voices: &Voice::ranks(size),
                expected: size as f64,
                clients: false,
                weights: &[],
            };
            let given: Vec<f32> = (1..=12u8).map(|i| if round == 0 { f32::from(i) } else { 0.0 }).collect();
            let (mut said, mut agreed) = (vec![0.0; len], vec![0.0; len]);
            exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &given, &mut said)?;
            exchange.finish(&mut talk, &mut said, &mut agreed)?;
            assert_eq!(said, given, "a worker said what it said");
            let mut state = State::default();
            exchange.save(&mut state);
            Ok((agreed, state))
        })
        .unwrap()
    };
    // Whoever owns what: everything is told in the end, and nothing twice.
    let mut told = vec![0.0; len];
    let (mut states, mut most) = (Vec::new(), 0.0f32);
    for (round, size) in [3, 3, 2, 4, 4, 1, 3, 3, 3].into_iter().enumerate() {
        let out = meet(&states, size, round as u64);
        flat::add(&mut told, &out[0].0);
        most = most.max(out[0].0[0]);
        states = out.into_iter().map(|(_, state)| state).collect();
        let owed: f32 = states.iter().flat_map(|state| &state.vectors["chunk"]).sum();
        assert_eq!(owed + told.iter().sum::<f32>(), 78.0, "round {round}");
    }
    assert_eq!(told, (1..=12u8).map(f32::from).collect::<Vec<_>>());
    assert!(most > 0.0 && states.iter().all(|state| state.vectors["chunk"].iter().all(|v| *v == 0.0)));
    // A checkpoint with a hole, of another model, of a chunk that is another's.
    let mut gap = meet(&[], 3, 0).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    let mut exchange = TwoPhase::new(Box::new(Dense), true, 1);
    assert!(exchange.load(&gap[2], &Layout::vector(9)).unwrap_err().to_string().contains("one model"));
    gap.remove(1);
    let former = Former::new(gap.iter().collect(), &[], 1.0);
    assert!(exchange.deal(&former, 0).unwrap_err().to_string().contains("leave out entries 4 to 8"));
}

#[test]
fn disagreement_damage_and_divergence_are_named() {
    let run = |silence: u64, fault: Fault, bad: f32| {
        let ports: Vec<_> = connect(2).into_iter().map(|p| Faulty::new(p, fault, 9)).collect();
        on_threads(ports, |mut port| {
            let (layout, rank) = (Layout::vector(8), port.rank());
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut Dense,
                aggregator: &mut Mean::default(),
                layout: &layout,
                seed: 0,
                frame: Frame { round: 0, silence: if rank == 0 { 1 } else { silence }, flags: 0 },
                purpose: &Purpose::Payload,
                voices: &Voice::ranks(2),
                expected: 2.0,
                clients: false,
                weights: &[],
            };
            let mut exchange = Gather::default();
            exchange.begin(&mut talk, Voice { client: rank as u64, rank }, &[bad; 8], &mut [0.0; 8])?;
            exchange.finish(&mut talk, &mut [0.0; 8], &mut [0.0; 8])
        })
        .unwrap_err()
    };
    assert!(run(2, Fault::default(), 1.0).to_string().contains("same recipe"));
    let damaged = run(1, Fault { flip: 1.0, ..Fault::default() }, 1.0);
    assert_eq!(damaged.kind(), Kind::Decode, "{damaged}");
    assert_eq!(run(1, Fault::default(), f32::NAN).kind(), Kind::Diverged);
}

#[test]
fn a_broadcast_gives_everybody_what_rank_0_has() {
    let out = on_threads(connect(3), |mut port| {
        let mut x = vec![port.rank() as f32 + 1.0; 3];
        let frame = Frame { round: 0, silence: 1, flags: 0 };
        broadcast(&mut port, &Purpose::Buffers, frame, &mut x)?;
        let mut y = vec![port.rank() as f32; 3];
        Average::default().of(&mut port, &Purpose::Residual, frame, &mut y)?;
        Ok((x, y))
    })
    .unwrap();
    assert!(out.iter().all(|o| *o == (vec![1.0; 3], vec![1.0; 3])));
}
