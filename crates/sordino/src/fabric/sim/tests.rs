use super::*;
use crate::base::{Purpose, Stream, Use};
use crate::fabric::{Metered, build, on_threads, peers};
use crate::grammar::Element;

type Rank = (SimPort<ThreadPort>, Arc<SimClock>);

fn tag() -> Tag {
    Tag::across(Purpose::Payload)
}

/// Every rank sends everybody `bytes` bytes and hears everybody, in rank order.
fn meet(port: &mut dyn Port, tag: &Tag, bytes: usize) -> Result<Vec<Vec<u8>>> {
    let word = vec![port.rank() as u8; bytes];
    for to in peers(port) {
        port.send(to, tag, &word)?;
    }
    peers(port)
        .map(|from| {
            let mut heard = Vec::new();
            port.receive(from, tag, &mut heard)?;
            Ok(heard)
        })
        .collect()
}

/// The times of all ranks after each of `rounds` rounds of work and meeting; `dawdle` holds threads up in real time.
fn rounds(world: &World, size: usize, rounds: u64, dawdle: impl Fn(usize, u64) + Sync) -> Vec<Vec<f64>> {
    on_threads(simulate(size, world), |(mut port, clock): Rank| {
        let mut times = Vec::new();
        for round in 0..rounds {
            let rank = port.rank();
            dawdle(rank, round);
            clock.worked(rank as u64, round, 0..3, 0.0);
            meet(&mut port, &tag(), 1000 + 10 * rank)?;
            times.push(clock.now());
        }
        Ok(times)
    })
    .unwrap()
}

#[test]
fn words_are_here_when_their_time_has_come_and_cost_none_then() {
    // A byte a second, and a second until the first is there.
    let world = World { latency: 1.0, rate: 8.0, ..World::still() };
    let mut ends = simulate(3, &world).into_iter();
    let (mut port, clock) = ends.next().unwrap();
    for (mut other, _) in ends {
        other.send(0, &tag(), &[7; 2]).unwrap();
    }
    assert!(port.here(&[], &tag()).unwrap() && !port.here(&[1], &tag()).unwrap(), "nothing is here at once");
    clock.advance(3.0);
    assert!(port.here(&[1], &tag()).unwrap() && port.here(&[2], &tag()).unwrap(), "either alone is");
    assert!(!port.here(&[1, 2], &tag()).unwrap(), "they share the link");
    clock.advance(2.0);
    assert!(port.here(&[1, 2], &tag()).unwrap());
    let mut heard = Vec::new();
    for from in [2, 1] {
        port.receive(from, &tag(), &mut heard).unwrap();
    }
    assert_eq!((heard.len(), clock.now()), (2, 5.0), "listening to them does not wait");
}

#[test]
fn a_round_in_parts_takes_the_time_of_a_whole_one() {
    let world = World { step: 0.5, fail: 0.5, restart: 8.0, ..World::still() };
    let after = |parts: &[std::ops::Range<u64>]| {
        let clock = SimClock::new(&world, 1);
        for round in 0..20 {
            for part in parts {
                clock.worked(0, round, part.clone(), 0.0);
            }
        }
        clock.now()
    };
    let whole = after(std::slice::from_ref(&(0..6)));
    assert_eq!(after(&[0..1, 1..2, 2..6]), whole);
    assert!(whole > 20.0 * 3.0 + 8.0, "somebody crashed");
}

#[test]
fn two_ranks_that_play_ping_pong_take_the_computed_time() {
    let world = World { latency: 0.25, rate: 1024.0, ..World::still() };
    let times = on_threads(simulate(2, &world), |(mut port, clock): Rank| {
        let (me, mut word) = (port.rank(), vec![0; 64]);
        for n in 0..10 {
            if n % 2 == me {
                port.send(1 - me, &tag(), &word)?;
            } else {
                port.receive(1 - me, &tag(), &mut word)?;
                assert_eq!(word.len(), 64, "the stamp is off again");
            }
        }
        Ok(clock.now())
    })
    .unwrap();
    // 64 bytes at 1024 bits a second are half a second.
    assert_eq!(times, [10.0 * 0.75, 9.0 * 0.75]);
}

#[test]
fn messages_share_their_senders_up_link_and_their_receivers_down_link() {
    let world = World { latency: 0.25, rate: 1024.0, ..World::still() };
    let mut ranks = simulate(5, &world).into_iter();
    let (mut hub, clock) = ranks.next().unwrap();
    let mut word = vec![0; 128];
    let mut others: Vec<Rank> = ranks.collect();
    for to in 1..5 {
        hub.send(to, &tag(), &word).unwrap();
    }
    assert_eq!(clock.now(), 0.0, "sending takes no time of the sender");
    for (n, (port, clock)) in others.iter_mut().enumerate() {
        port.receive(0, &tag(), &mut word).unwrap();
        assert_eq!(clock.now(), (n + 1) as f64 + 0.25);
        port.send(0, &tag(), &word).unwrap();
    }
    // They leave one second apart and come in one second apart; then four that leave at once queue at the hub.
    for n in 1..5 {
        hub.receive(n, &tag(), &mut word).unwrap();
        assert_eq!(clock.now(), (n + 1) as f64 + 0.5);
    }
    for (port, clock) in &mut others {
        clock.advance(10.0 - clock.now());
        port.send(0, &tag(), &word).unwrap();
    }
    for n in 1..5 {
        hub.receive(n, &tag(), &mut word).unwrap();
        assert_eq!(clock.now(), 10.0 + 0.25 + n as f64);
    }
}

#[test]
fn a_late_word_that_is_asked_for_first_does_not_hold_up_what_was_there() {
    let world = World { rate: 1024.0, ..World::still() };
    let mut ranks = simulate(3, &world);
    let mut word = vec![0; 128];
    ranks[1].1.advance(100.0);
    for (port, _) in &mut ranks[1..] {
        port.send(0, &tag(), &word).unwrap();
    }
    let (hub, clock) = &mut ranks[0];
    for from in 1..3 {
        hub.receive(from, &tag(), &mut word).unwrap();
        assert_eq!(clock.now(), 101.0);
    }
}

#[test]
fn a_rough_world_is_replayed_from_its_seed_whatever_the_threads_do() {
    let world = World { loss: 0.3, fail: 0.1, slow: 1, jitter: 0.05, ..World::default() };
    let dawdle = |key| {
        move |rank, round| {
            for _ in 0..Stream::new(key, Use::Problem, rank as u64, round).below(200) {
                std::thread::yield_now();
            }
        }
    };
    let times = rounds(&world, 4, 20, |_, _| ());
    for key in 0..3 {
        assert_eq!(rounds(&world, 4, 20, dawdle(key)), times);
    }
    assert_ne!(rounds(&World { seed: 1, ..world }, 4, 20, dawdle(0)), times);
    // Each trouble is felt on its own, and without all of them a round is three steps, a latency and the slowest word.
    for calm in [
        World { loss: 0.0, ..world },
        World { jitter: 0.0, ..world },
        World { fail: 0.0, ..world },
        World { spread: 0.0, ..world },
        World { flutter: 0.0, ..world },
        World { slow: 0, ..world },
    ] {
        assert_ne!(rounds(&calm, 4, 20, dawdle(1)), times);
    }
}

#[test]
fn no_message_overtakes_one_that_had_to_be_sent_again() {
    let world = World { loss: 0.5, jitter: 0.1, timeout: 3.0, rate: 1024.0, ..World::still() };
    let mut ranks = simulate(2, &world);
    for n in 1..=50 {
        ranks[0].0.send(1, &tag(), &vec![0; n]).unwrap();
    }
    let (mut word, mut before) = (Vec::new(), 0.0);
    let (port, clock) = &mut ranks[1];
    for n in 1..=50 {
        port.receive(0, &tag(), &mut word).unwrap();
        assert_eq!(word.len(), n);
        let own = n as f64 / 128.0;
        assert!(clock.now() - before >= 0.999 * own, "a link carries one message at a time");
        before = clock.now();
    }
    assert!(before > 3.0, "half of fifty messages were sent again");
}

#[test]
fn everybody_waits_for_the_slow_worker() {
    let world = World { step: 0.5, slow: 1, factor: 4.0, latency: 0.25, ..World::still() };
    let times = rounds(&world, 3, 4, |_, _| ());
    // Three steps at 2 s, then a latency; the slow worker has heard the others when it is ready itself.
    for (rank, late) in [(0, 0.25), (1, 0.25), (2, 0.0)] {
        assert_eq!(times[rank][0], 6.0 + late);
    }
    for (rank, late) in [(0, 0.25), (1, 0.25), (2, 0.0)] {
        assert_eq!(times[rank][3], 24.0 + late);
    }
    let crash = rounds(&World { fail: 0.999, restart: 7.0, ..world }, 3, 1, |_, _| ());
    assert_eq!(crash[0][0], 6.25 + 7.0);
}

#[test]
fn evaluation_and_control_take_no_time_and_no_draws() {
    let run = |looking: bool| {
        let world = World { loss: 0.2, jitter: 0.1, ..World::default() };
        on_threads(simulate(3, &world), |(mut port, clock): Rank| {
            for round in 0..5 {
                clock.worked(port.rank() as u64, round, 0..2, 0.0);
                meet(&mut port, &tag(), 100)?;
                let before = clock.now();
                for purpose in [Purpose::Evaluate, Purpose::Control].into_iter().filter(|_| looking) {
                    let heard = meet(&mut port, &Tag::across(purpose), 5000)?;
                    assert!(heard.iter().all(|word| word.len() == 5000));
                }
                assert_eq!(clock.now(), before);
            }
            Ok(clock.now())
        })
        .unwrap()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn reports_are_foreseen_one_per_client_and_round() {
    let world = World { fail: 0.2, loss: 0.1, slow: 10, clients: 100, ..World::default() };
    let clock = SimClock::new(&world, 4);
    let trip = |client| Trip { client, steps: 10, down: 4000, up: 400 };
    let ask = |round, who: &[u64]| clock.reports(round, &who.iter().copied().map(trip).collect::<Vec<_>>()).unwrap();
    let everybody: Vec<u64> = (0..100).collect();
    let all = ask(7, &everybody);
    for who in [&[3u64, 99, 50][..], &[50], &[99, 98]] {
        let some: Vec<f64> = who.iter().map(|client| all[*client as usize]).collect();
        assert_eq!(ask(7, who), some, "whoever else is asked");
    }
    assert_ne!(ask(8, &everybody), all);
    let failed = all.iter().filter(|seconds| seconds.is_infinite()).count();
    // 20 expected, standard deviation 4.
    assert!((4..=36).contains(&failed), "{failed}");
    for client in everybody {
        assert_eq!(all[client as usize].is_infinite(), world.crashes(client, 7));
    }
    assert_eq!(clock.now(), 0.0, "foresight takes no time");
    let plain = SimClock::new(&World { latency: 0.25, rate: 1000.0, step: 0.5, ..World::still() }, 1);
    assert_eq!(plain.reports(0, &[trip(0)]), Some(vec![0.25 + 32.0 + 5.0 + 0.25 + 3.2]));
    plain.advance(2.5);
    plain.advance(f64::INFINITY);
    assert_eq!(plain.now(), 2.5);
}

#[test]
fn the_world_has_the_speeds_that_were_asked_for() {
    let world = World { step: 2.0, spread: 0.5, clients: 4000, slow: 1000, factor: 8.0, ..World::still() };
    let logs = |ids: std::ops::Range<u64>| -> Vec<f64> { ids.map(|id| libm::log(world.pace(id, 0) / 2.0)).collect() };
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (usual, slow) = (logs(0..3000), logs(3000..4000));
    let variance = usual.iter().map(|x| x * x).sum::<f64>() / 3000.0;
    // Six standard errors of each statistic.
    assert!(mean(&usual).abs() < 6.0 * 0.5 / 3000f64.sqrt());
    assert!((variance - 0.25).abs() < 6.0 * 0.25 * (2.0f64 / 3000.0).sqrt());
    assert!((mean(&slow) - 8f64.ln()).abs() < 6.0 * 0.5 / 1000f64.sqrt());
    assert_eq!(world.pace(5, 0), world.pace(5, 9), "a client's speed is its own");
    let restless = World { flutter: 0.1, ..world };
    assert_ne!(restless.pace(5, 0), restless.pace(5, 9));

    let links = World { jitter: 0.5, loss: 0.25, timeout: 3.0, ..World::still() };
    let delays: Vec<f64> = (0..4000).map(|n| links.delay(&mut links.message(0, 1, n))).collect();
    // Jitter 0.5 with variance 0.25; losses 1/3 a message with variance 4/9, three seconds each.
    assert!((mean(&delays) - 1.5).abs() < 6.0 * (0.25f64 + 4.0).sqrt() / 4000f64.sqrt());
}

#[test]
fn what_is_received_and_counted_is_what_threads_receive_and_count() {
    fn run<P: Port>(port: P) -> Result<(Vec<Vec<u8>>, crate::base::Ledger)> {
        let mut port = Metered::new(port, Arc::new(crate::fabric::Still));
        let mut heard = Vec::new();
        for bytes in [0, 1, 7, 8, 4096] {
            for purpose in [Purpose::Payload, Purpose::Evaluate, Purpose::Residual] {
                heard.extend(meet(&mut port, &Tag::across(purpose), bytes)?);
            }
        }
        Ok((heard, port.meter().map(|meter| meter.ledger.clone()).unwrap_or_default()))
    }
    let world = World { loss: 0.3, ..World::default() };
    let simulated = on_threads(simulate(3, &world), |(port, _): Rank| run(port)).unwrap();
    assert_eq!(simulated, on_threads(connect(3), run).unwrap());
}

#[test]
fn waiting_is_metered_in_virtual_seconds() {
    let world = World { latency: 0.25, rate: 1024.0, ..World::still() };
    let mut ports: Vec<_> = simulate(2, &world).into_iter().map(|(port, clock)| Metered::new(port, clock)).collect();
    ports[0].send(1, &tag(), &[0; 128]).unwrap();
    ports[1].receive(0, &tag(), &mut Vec::new()).unwrap();
    assert_eq!(ports[1].meter().unwrap().wait, 1.25);
}

#[test]
fn a_word_from_outside_the_simulation_is_refused() {
    let mut ranks = connect(2);
    let mut sim = SimPort::new(ranks.pop().unwrap(), Arc::new(SimClock::new(&World::still(), 2)));
    for word in [&[1u8, 2, 3][..], &[255; 16]] {
        ranks[0].send(1, &tag(), word).unwrap();
        let error = sim.receive(0, &tag(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), crate::base::Kind::Decode);
    }
}

#[test]
fn the_axis_builds_the_worlds_it_documents() {
    let medium = |text: &str| build(&Element::parse(text).unwrap());
    assert_eq!(medium("threads").unwrap(), Medium::Threads(Slow { count: 0, factor: 5.0 }));
    assert_eq!(medium("threads(slow=2, factor=20)").unwrap(), Medium::Threads(Slow { count: 2, factor: 20.0 }));
    assert_eq!(medium("sim").unwrap(), Medium::Sim(World::default()));
    let slow = World { latency: 0.1, rate: 1e6, slow: 2, seed: 3, ..World::default() };
    assert_eq!(medium("sim(0.1, 1e6, slow=2, seed=3)").unwrap(), Medium::Sim(slow));
    for wrong in [
        "sim(rate=0)",
        "sim(loss=1)",
        "sim(latency=-1)",
        "sim(slow=0.5)",
        "sim(spread=11)",
        "threads(slow=0.5)",
        "threads(slow=1, factor=0.5)",
        "threads(latency=1)",
        "sims",
    ] {
        assert!(medium(wrong).is_err(), "{wrong}");
    }
}
