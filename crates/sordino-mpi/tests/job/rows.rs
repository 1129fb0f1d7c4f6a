//! Every named row, the same bits on threads, in a simulated world and over MPI.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sordino::Result;
use sordino::base::flat;
use sordino::engine::Session;
use sordino::fabric::{Metered, Port, Shared, SimClock, SimPort, ThreadPort, World};
use sordino::recipe::Recipe;
use sordino::testing::{Served, ServedRun, Trial};
use sordino::workload::{Task, Workload};

use crate::launch;
use crate::worlds::{Buffered, hashes, in_rounds, row, served, tried, with_duals};

const RANKS: usize = 4;
/// Of them one serves, where workers come at their own pace.
const WORKERS: usize = RANKS - 1;
const SEED: u64 = 5;
const STEPS: u64 = 64;
const ROUNDS: u64 = 6;
/// Steps of a run with a server.
const SERVED_STEPS: u64 = 40;

/// A world in which workers come in another order than that of their ranks.
const UNEQUAL: &str = "fabric=sim(spread=0.8, flutter=0.5, loss=0.05, rate=1e6, slow=1, factor=7)";

fn trial<'a>(recipe: &'a Recipe, task: &'a dyn Task, seed: u64) -> Trial<'a> {
    Trial { rounds: ROUNDS, ..Trial::new(recipe, task, RANKS, seed, STEPS) }
}

/// A hash of what this rank holds, at the start and after every round.
fn rounds(mut session: Session, mut workload: Box<dyn Workload>) -> Result<Vec<u64>> {
    let mut found = vec![flat::fingerprint(session.worker().model())];
    while !session.done() && session.worker().position().0 < ROUNDS {
        session.round(&mut *workload, 0)?;
        found.push(flat::fingerprint(session.worker().model()));
        found.push(flat::fingerprint(session.worker().buffers()));
    }
    // What a pipeline has on its way is not for the next row.
    session.everyone()?;
    Ok(found)
}

/// A served row as it is tried, in a simulated world or outside.
fn at_their_pace(name: &str, simulated: bool) -> (Recipe, &'static dyn Task) {
    // Short silences, and updates that everybody is gathered for.
    let own: &[&str] =
        if name == "acpd" { &["schedule=constant(5)", "staleness=bounded(4)"] } else { &["optim.rate=0.1"] };
    let recipe = row(name, &[if simulated { &[UNEQUAL][..] } else { &[] }, own].concat());
    let task = with_duals(&recipe, &Buffered);
    (recipe, task)
}

fn models(run: &ServedRun) -> Vec<u64> {
    hashes(&run.models.iter().map(|m| &m[..]).collect::<Vec<_>>())
}

/// The order in which workers come in the simulated world, and the models that follow.
fn simulated(name: &str) -> (Vec<usize>, Vec<u64>) {
    let (recipe, task) = at_their_pace(name, true);
    let run = Trial::new(&recipe, task, WORKERS, SEED, SERVED_STEPS).served(&Served::default()).unwrap();
    (run.order.clone(), models(&run))
}

fn line(text: &mut String, name: &str, numbers: &[u64]) {
    let _ = writeln!(text, "{name} {}", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
}

/// One rank: all rows, one after another over one port.
pub fn play() -> Result<()> {
    crate::or_abort(|| {
        let port = crate::patient()?;
        let (rank, port, mut text) = (port.rank(), Shared::new(Box::new(port)), String::new());
        for row in in_rounds() {
            let recipe = crate::worlds::row(row.name, &[]);
            let (session, workload) = trial(&recipe, tried(&recipe), SEED).session(Box::new(port.clone()))?;
            line(&mut text, row.name, &rounds(session, workload)?);
        }
        for row in served() {
            let (recipe, task) = at_their_pace(row.name, false);
            let trial = Trial::new(&recipe, task, WORKERS, SEED, SERVED_STEPS);
            let run = trial.served_at(Box::new(port.clone()), &Served::default())?;
            line(&mut text, &format!("{}/order", row.name), &run.order.iter().map(|w| *w as u64).collect::<Vec<_>>());
            line(&mut text, row.name, &models(&run));
            // Who is told the simulated order hears it, whatever comes first here.
            let order = (rank == WORKERS).then(|| simulated(row.name).0);
            let run = trial.served_at(Box::new(port.clone()), &Served { replay: order, ..Served::default() })?;
            line(&mut text, &format!("{}/replay", row.name), &models(&run));
        }
        std::fs::write(launch::out().join(format!("rank-{rank}.txt")), text).unwrap();
        Ok(())
    })
}

type Lines = BTreeMap<String, Vec<u64>>;

fn read(path: &std::path::Path) -> Lines {
    let text = std::fs::read_to_string(path).unwrap();
    let numbers = |line: &str| line.split(' ').skip(1).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
    text.lines().map(|line| (line.split(' ').next().unwrap().to_owned(), numbers(line))).collect()
}

/// The hashes of every rank, over ports that `wrap` may decorate.
fn on_threads(recipe: &Recipe, seed: u64, wrap: impl Fn(ThreadPort) -> Box<dyn Port>) -> Vec<Vec<u64>> {
    trial(recipe, tried(recipe), seed).with(wrap, rounds).unwrap()
}

#[test]
fn every_row_gives_the_bits_of_threads_and_of_a_simulated_world_over_mpi() {
    let folder = launch::folder("rows");
    let ended = launch::play("rows", RANKS, &folder);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let ranks: Vec<Lines> = (0..RANKS).map(|rank| read(&folder.join(format!("rank-{rank}.txt")))).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    let world = World { rate: 1e5, loss: 0.05, ..World::default() };
    let mut several = 0;
    for row in in_rounds() {
        let recipe = crate::worlds::row(row.name, &[]);
        let over_mpi: Vec<Vec<u64>> = ranks.iter().map(|lines| lines[row.name].clone()).collect();
        several += usize::from(over_mpi[0].len() > 5);
        assert!(over_mpi[0].len() >= 3, "{} made no round", row.name);
        assert_eq!(over_mpi, on_threads(&recipe, SEED, |port| Box::new(port)), "{}", row.name);
        let simulated = on_threads(&recipe, SEED, |port| {
            let clock = Arc::new(SimClock::new(&world, port.size()));
            Box::new(Metered::new(SimPort::new(port, clock.clone()), clock))
        });
        assert_eq!(over_mpi, simulated, "{}", row.name);
        // What can only agree proves nothing.
        assert_ne!(over_mpi, on_threads(&recipe, SEED + 1, |port| Box::new(port)), "{}", row.name);
    }
    assert!(several > 20, "only {several} rows made several rounds");
    for row in served() {
        let (recipe, task) = at_their_pace(row.name, false);
        let server = &ranks[WORKERS];
        let order: Vec<usize> = server[&format!("{}/order", row.name)].iter().map(|w| *w as usize).collect();
        let trial = Trial::new(&recipe, task, WORKERS, SEED, SERVED_STEPS);
        let replay = Served { replay: Some(order.clone()), ..Served::default() };
        assert!(order.len() > 5, "{}: {order:?}", row.name);
        assert_eq!(server[row.name], models(&trial.served(&replay).unwrap()), "{} in its order", row.name);
        let (order, expected) = simulated(row.name);
        let over_mpi = &server[&format!("{}/replay", row.name)];
        assert_eq!(*over_mpi, expected, "{} in the order of a simulated world: {order:?}", row.name);
        assert!(expected.len() > 3 && expected[0] != expected[expected.len() - 1]);
    }
}
