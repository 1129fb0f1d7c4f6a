//! What a port promises of words, played by four ranks.

use std::time::Duration;

use sordino::Result;
use sordino::base::{Kind, Purpose, State, Stream, Use};
use sordino::fabric::{Port, Tag, peers};
use sordino_mpi::MpiPort;

use crate::launch;

const RANKS: usize = 4;

fn tag() -> Tag {
    Tag::across(Purpose::Control)
}

/// The word of this number from `from` to `to`: of any length, also none.
fn word(from: usize, to: usize, number: u64) -> Vec<u8> {
    let mut stream = Stream::new(1, Use::Fault, (from * RANKS + to) as u64, number);
    let len = [0, 1, 7, 100, 5_000, 70_000][stream.below(6) as usize];
    (0..len).map(|_| stream.below(256) as u8).collect()
}

/// Everybody sends many words to everybody, and hears them in their order, whatever peer it asks first.
fn in_order(port: &mut MpiPort) -> Result<()> {
    let (rank, mut heard) = (port.rank(), vec![9; 3]);
    let others: Vec<usize> = peers(port).collect();
    for number in 0..60 {
        for to in &others {
            port.send(*to, &tag(), &word(rank, *to, number))?;
        }
        if number % 3 == 2 {
            for from in others.iter().rev() {
                for earlier in number - 2..=number {
                    port.receive(*from, &tag(), &mut heard)?;
                    assert_eq!(heard, word(*from, rank, earlier), "word {earlier} of {from} to {rank}");
                }
            }
        }
    }
    Ok(())
}

/// Two large words cross, neither waits for the other, and small ones do not overtake them.
fn both_ways(port: &mut MpiPort) -> Result<()> {
    let (rank, other, len) = (port.rank(), port.rank() ^ 1, 64 << 20);
    let of = |rank: usize| (0..=255u8).map(|i| i.wrapping_mul(7) ^ rank as u8).collect::<Vec<_>>().repeat(len / 256);
    let mut heard = Vec::new();
    port.send(other, &tag(), &of(rank))?;
    port.send(other, &tag(), b"small")?;
    port.receive(other, &tag(), &mut heard)?;
    assert!(heard == of(other), "{} bytes", heard.len());
    port.receive(other, &tag(), &mut heard)?;
    assert_eq!(heard, b"small");
    Ok(())
}

/// Whoever comes first is heard first, nobody is passed over, and what was not asked for waits.
fn any(port: &mut MpiPort) -> Result<()> {
    let (rank, mut heard) = (port.rank(), Vec::new());
    if rank > 0 {
        // In turns: 3 speaks, and once it was heard 2, then 1.
        if rank < 3 {
            port.receive(0, &tag(), &mut heard)?;
        }
        port.send(0, &tag(), &[rank as u8])?;
        (0..40u8).try_for_each(|number| port.send(0, &tag(), &[number]))?;
        return Ok(());
    }
    for expected in [3, 2, 1] {
        // Those that have not spoken are asked; the others have more to say and must not be heard.
        let silent: Vec<usize> = (1..=expected).collect();
        assert_eq!(port.receive_any(&silent, &tag(), &mut heard)?, expected);
        assert_eq!(heard, [expected as u8]);
        if expected > 1 {
            port.send(expected - 1, &tag(), &[])?;
        }
    }
    let mut next = [0; RANKS];
    for turn in 0..120 {
        let left: Vec<usize> = (1..RANKS).filter(|peer| next[*peer] < 40).collect();
        let from = port.receive_any(&left, &tag(), &mut heard)?;
        assert_eq!(heard, [next[from]], "turn {turn}");
        next[from] += 1;
    }
    assert_eq!(next, [0, 40, 40, 40]);
    Ok(())
}

/// Words that were not asked for are kept, and come back from a checkpoint.
fn held(port: &mut MpiPort) -> Result<()> {
    let (rank, mut heard) = (port.rank(), Vec::new());
    if rank > 0 {
        port.send(0, &tag(), &[rank as u8, 1])?;
        port.send(0, &tag(), &[rank as u8, 2])?;
        return port.receive(0, &tag(), &mut heard);
    }
    port.hold(&[1, 3], &[tag(), tag()])?;
    let (mut state, nothing) = (State::default(), State::default());
    port.hold(&[2], &[tag(), tag()])?;
    port.save_held(&mut state);
    port.load_held(&nothing)?;
    port.load_held(&state)?;
    for from in [2, 3, 1] {
        for number in 1..=2 {
            port.receive(from, &tag(), &mut heard)?;
            assert_eq!(heard, [from as u8, number]);
        }
    }
    peers(port).try_for_each(|to| port.send(to, &tag(), b"heard"))
}

/// The engine's own all-reduce adds up, again and again, and leaves words alone.
fn sums(port: &mut MpiPort) -> Result<()> {
    let (rank, mut heard) = (port.rank(), Vec::new());
    let next = (rank + 1) % RANKS;
    for len in [0usize, 1, 5, 1000, 300_000] {
        port.send(next, &tag(), &[len as u8])?;
        let mut vector: Vec<f32> = (0..len).map(|i| (i % 100 + rank) as f32).collect();
        port.all_reduce(&tag(), &mut vector)?;
        // Small whole numbers are added exactly in any order.
        let sum = |i: usize| (RANKS * (i % 100) + 6) as f32;
        assert!(vector.iter().enumerate().all(|(i, v)| *v == sum(i)), "{len}");
        port.receive((rank + RANKS - 1) % RANKS, &tag(), &mut heard)?;
        assert_eq!(heard, [len as u8]);
    }
    Ok(())
}

/// What makes no sense is refused.
fn refused(port: &mut MpiPort) {
    for peer in [port.rank(), RANKS] {
        assert_eq!(port.send(peer, &tag(), &[]).unwrap_err().kind(), Kind::Request);
        assert_eq!(port.receive(peer, &tag(), &mut Vec::new()).unwrap_err().kind(), Kind::Request);
        assert_eq!(port.hold(&[peer], &[tag()]).unwrap_err().kind(), Kind::Request);
    }
    assert!(crate::patient().err().unwrap().to_string().contains("once"));
    assert_eq!(sordino_mpi::join(Duration::ZERO).err().unwrap().kind(), Kind::Request);
}

/// One rank.
pub fn play() -> Result<()> {
    crate::or_abort(|| {
        let mut port = crate::patient()?.in_pieces_of(999);
        assert_eq!(port.size(), RANKS);
        refused(&mut port);
        in_order(&mut port)?;
        let mut port = port.in_pieces_of(usize::MAX);
        in_order(&mut port)?;
        both_ways(&mut port)?;
        any(&mut port)?;
        held(&mut port)?;
        sums(&mut port)?;
        // A port may move to another thread.
        std::thread::scope(|scope| scope.spawn(|| in_order(&mut port)).join().unwrap())?;
        port.finish()
    })
}

#[test]
fn words_arrive_in_order_whole_and_once() {
    let ended = launch::play("words", RANKS, &std::env::temp_dir());
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
}
