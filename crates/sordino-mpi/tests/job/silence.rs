//! Ranks that stop, fail, die or wait for each other, and what the others make of it.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sordino::Result;
use sordino::base::{Error, Purpose};
use sordino::fabric::{Metered, Port, Still, Tag, peers};
use sordino_mpi::{MpiPort, abort, join};

use crate::launch::{self, Ended};

const RANKS: usize = 4;
/// How long ranks wait for one that does not answer.
const PATIENCE: Duration = Duration::from_secs(4);

fn tag() -> Tag {
    Tag::across(Purpose::Control)
}

/// Sends this process a signal, and waits for it to act.
fn signal(name: &str) {
    let _ = Command::new("kill").args([name, &std::process::id().to_string()]).status();
    std::thread::sleep(Duration::from_secs(30));
}

/// Somebody who is late, but within the patience, is waited for; asking whether it is there counts as no traffic.
fn late(port: &MpiPort) -> Result<()> {
    let (rank, mut heard, began) = (port.rank(), Vec::new(), Instant::now());
    let mut port = Metered::new(port.clone(), Arc::new(Still));
    if rank == 2 {
        std::thread::sleep(PATIENCE * 3 / 5);
    }
    peers(&port).try_for_each(|to| port.send(to, &tag(), b"now"))?;
    peers(&port).try_for_each(|from| port.receive(from, &tag(), &mut heard))?;
    let sent = port.meter().map(|meter| meter.ledger.flows().map(|(_, flow)| flow.bytes).sum::<u64>());
    if began.elapsed() < PATIENCE / 2 || sent != Some(9) {
        return Err(Error::data(format!("waited {:?}, sent {sent:?} bytes", began.elapsed())));
    }
    Ok(())
}

/// What a rank does in an act; rank 2 is the one with whom something is wrong.
fn part(act: &str, port: &mut MpiPort) -> Result<()> {
    let (rank, mut heard) = (port.rank(), Vec::new());
    match (act, rank) {
        ("chain" | "reduce" | "end" | "any", 2) => signal("-STOP"),
        ("killed", 2) => signal("-KILL"),
        // Most of it is not on its way when its sender stops.
        ("large", 2) => {
            port.send(0, &tag(), &vec![7; 256 << 20])?;
            signal("-STOP");
        }
        ("late", _) => late(port)?,
        ("failing" | "returning" | "absent", 2) => {
            return Err(Error::data("a file that only this rank reads is broken"));
        }
        ("circle", _) => port.receive((rank + 1) % RANKS, &tag(), &mut heard)?,
        // Each of these waits for rank 2 only by way of others.
        ("chain", 0) => port.receive(1, &tag(), &mut heard)?,
        // This one comes to its wait so late that rank 0 must look through it.
        ("chain", 1) => {
            std::thread::sleep(PATIENCE * 2 / 5);
            port.receive(2, &tag(), &mut heard)?;
        }
        ("any", 3) => port.receive_any(&[0, 1, 2], &tag(), &mut heard).map(|_| ())?,
        // By itself this one would find out too late; it is told.
        ("chain", 3) => {
            std::thread::sleep(PATIENCE / 4);
            port.receive(0, &tag(), &mut heard)?;
        }
        ("any" | "large", 1 | 3) => port.receive(0, &tag(), &mut heard)?,
        ("reduce" | "absent", _) => port.all_reduce(&tag(), &mut vec![1.0; 5000])?,
        ("end", _) => {}
        ("large", 0) => {
            port.receive(2, &tag(), &mut heard)?;
            port.receive(2, &tag(), &mut heard)?;
        }
        _ => port.receive(2, &tag(), &mut heard)?,
    }
    Ok(())
}

/// Says something in one piece, since several ranks do at the same time.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// One rank.
pub fn play(act: &str) -> Result<()> {
    let patience = match act {
        "failing" | "returning" | "absent" | "killed" => 8 * PATIENCE,
        "circle" => PATIENCE / 4,
        _ => PATIENCE,
    };
    let mut port = join(patience)?;
    let (rank, began) = (port.rank(), Instant::now());
    let played = part(act, &mut port);
    let played = if played.is_ok() && ["end", "late"].contains(&act) { port.clone().finish() } else { played };
    let within = if began.elapsed() < patience { "in time" } else { "too late" };
    let Err(e) = played else { return Ok(()) };
    if act == "returning" {
        // As a program whose `main` gives back an error: the port is gone before it is printed.
        drop(port);
        say(&format!("rank {rank} ends {within}: {e}\n"));
        abort(1);
    }
    say(&format!("rank {rank} ends {within}: {e}\n"));
    port.abort(1);
}

fn ended(act: &str) -> Ended {
    launch::play(act, RANKS, &std::env::temp_dir())
}

/// The sentence of a rank that ended.
fn says(ended: &Ended, rank: usize) -> &str {
    let of = format!("rank {rank} ends ");
    let line = ended.stderr.lines().find_map(|line| line.split_once(&of).map(|(_, says)| says));
    line.unwrap_or_else(|| panic!("rank {rank} says nothing: {}", ended.stderr))
}

/// All but rank 2 give up in time and name rank 2 alone.
fn names_rank_2(act: &str) {
    let ended = ended(act);
    assert_eq!(ended.status, Some(1), "{act}: {}", ended.stderr);
    for rank in [0, 1, 3] {
        let says = says(&ended, rank);
        assert!(says.starts_with("in time: rank 2 has not answered for "), "{act}: rank {rank} {says}");
    }
}

#[test]
fn a_rank_that_is_stopped_is_named_by_those_that_wait_for_it_by_way_of_others() {
    names_rank_2("chain");
}

#[test]
fn a_rank_that_is_stopped_is_named_by_those_that_wait_for_any() {
    names_rank_2("any");
}

#[test]
fn a_rank_that_is_stopped_is_named_in_the_engines_own_all_reduce() {
    names_rank_2("reduce");
}

#[test]
fn a_rank_that_is_stopped_in_the_middle_of_a_word_is_named() {
    names_rank_2("large");
}

#[test]
fn a_rank_that_is_stopped_is_named_by_those_that_have_come_to_the_end() {
    names_rank_2("end");
}

#[test]
fn a_rank_that_is_late_is_waited_for() {
    let ended = ended("late");
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
}

#[test]
fn a_rank_with_an_error_of_its_own_leaves_nobody_waiting() {
    for act in ["failing", "returning", "absent"] {
        let ended = ended(act);
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        assert!(says(&ended, 2).contains("only this rank reads"), "{}", ended.stderr);
        for rank in [0, 1, 3] {
            assert!(says(&ended, rank).starts_with("in time: rank 2 has left"), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_job() {
    let ended = ended("killed");
    assert!(ended.status.is_some_and(|status| status != 0), "{ended:?}");
}

#[test]
fn ranks_that_wait_for_each_other_give_up_though_all_answer() {
    let ended = ended("circle");
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!((0..RANKS).any(|rank| says(&ended, rank).contains("all ranks answer")), "{}", ended.stderr);
}
