//! Our all-reduce and the engine's: `exchange=reduce`, `exchange=reduce(engine)` and MPI's bare collective, the one that is waited
//! for and the one that blocks (their results divided by the number of ranks, as a mean is), on some ranks of this machine, in turns, over vectors of three lengths.
//!
//! `cargo bench -p sordino-mpi --bench reduce -- [RANKS]` starts itself under the launcher. Each time is from a barrier to when the last
//! rank is done; shown are the median and the quartiles.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code)]
#[path = "../tests/job/launch.rs"]
mod launch;

use std::hint::black_box;
use std::time::{Duration, Instant};

use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::CommunicatorCollectives;
use sordino::Result;
use sordino::aggregate::Mean;
use sordino::base::{Layout, Purpose, flat};
use sordino::compress::Dense;
use sordino::exchange::{Exchange, Frame, Reduce, Talk, Voice};
use sordino::fabric::Port;
use sordino_mpi::MpiPort;

/// Lengths, and how often each is measured.
const LENGTHS: [(usize, usize); 3] = [(10_000, 1000), (1_000_000, 100), (10_000_000, 30)];

const WAYS: [&str; 4] = ["exchange=reduce", "exchange=reduce(engine)", "MPI_Iallreduce", "MPI_Allreduce"];

fn main() {
    if launch::act().is_none() {
        let mut job = launch::launcher();
        let ranks = std::env::args().skip(1).find(|word| word.parse::<usize>().is_ok()).unwrap_or_else(|| "2".into());
        job.args(["-n", &ranks]).arg(std::env::current_exe().unwrap()).env(launch::ACT, "bench");
        std::process::exit(job.status().unwrap().code().unwrap_or(1));
    }
    let port = sordino_mpi::join(Duration::from_mins(1)).unwrap();
    if let Err(e) = measure(port.clone()).and_then(|()| port.clone().finish()) {
        eprintln!("rank {}: {e}", port.rank());
        port.abort(1);
    }
}

/// What a round works on: what is given and said, and what is agreed on.
struct Vectors {
    given: Vec<f32>,
    said: Vec<f32>,
    agreed: Vec<f32>,
}

/// One round of an exchange, in place where it can be.
fn exchanged(port: &mut MpiPort, exchange: &mut Reduce, layout: &Layout, vectors: &mut Vectors) -> Result<()> {
    let (rank, size, Vectors { given, said, agreed }) = (port.rank(), port.size(), vectors);
    let mut talk = Talk {
        port,
        compressor: &mut Dense,
        aggregator: &mut Mean::default(),
        layout,
        seed: 1,
        frame: Frame { round: 0, silence: 1, flags: 0 },
        purpose: &Purpose::Payload,
        voices: &Voice::ranks(size),
        expected: size as f64,
        clients: false,
        weights: &[],
    };
    if let Some(exchange) = exchange.in_place() {
        return exchange.overwrite(&mut talk, agreed).map(drop);
    }
    exchange.begin(&mut talk, Voice { client: rank as u64, rank }, given, said)?;
    exchange.finish(&mut talk, said, agreed)?;
    Ok(())
}

fn measure(mut port: MpiPort) -> Result<()> {
    let world = SimpleCommunicator::world();
    let (mut ours, mut engines) = (Reduce::default(), Reduce::by_engine());
    if port.rank() == 0 {
        println!(
            "{} ranks, {}",
            port.size(),
            mpi::environment::library_version().unwrap_or_default().lines().next().unwrap_or("")
        );
        println!("{:>10}  {:24} {:>10} {:>21} {:>12}", "entries", "", "median ms", "quartiles ms", "to the first");
    }
    for (len, times) in LENGTHS {
        let layout = Layout::vector(len);
        let given: Vec<f32> = (0..len).map(|i| (i % 1000) as f32 * (1.0 + port.rank() as f32)).collect();
        let mut vectors = Vectors { said: given.clone(), agreed: given.clone(), given };
        let mut taken = [const { Vec::new() }; WAYS.len()];
        // The first turn warms memory up and is not counted.
        for turn in 0..=times {
            for (way, taken) in taken.iter_mut().enumerate() {
                vectors.agreed.copy_from_slice(&vectors.given);
                world.barrier();
                let began = Instant::now();
                match way {
                    0 => exchanged(&mut port, &mut ours, &layout, &mut vectors)?,
                    1 => exchanged(&mut port, &mut engines, &layout, &mut vectors)?,
                    _ => {
                        // The same vector, written just now; the sum comes elsewhere, as it does for us.
                        let Vectors { said: sum, agreed: mine, .. } = &mut vectors;
                        let add = SystemOperation::sum();
                        if way == 2 {
                            mpi::request::scope(|scope| {
                                world.immediate_all_reduce_into(scope, &mine[..], &mut sum[..], add).wait();
                            });
                        } else {
                            world.all_reduce_into(&mine[..], &mut sum[..], add);
                        }
                        flat::divide(sum, port.size() as f32);
                    }
                }
                black_box((&vectors.agreed, &vectors.said));
                let (own, mut slowest) = (began.elapsed().as_secs_f64() * 1e3, 0.0);
                world.all_reduce_into(&own, &mut slowest, SystemOperation::max());
                if turn > 0 {
                    taken.push(slowest);
                }
            }
        }
        if port.rank() == 0 {
            show(len, &mut taken);
        }
    }
    Ok(())
}

fn show(len: usize, taken: &mut [Vec<f64>; WAYS.len()]) {
    let mut first = None;
    for (way, taken) in WAYS.iter().zip(taken) {
        taken.sort_by(f64::total_cmp);
        let [low, median, high] = [1, 2, 3].map(|quarter| taken[(taken.len() - 1) * quarter / 4]);
        let base = *first.get_or_insert(median);
        println!("{len:>10}  {way:24} {median:>10.3} {low:>10.3}{high:>11.3} {:>11.2}x", median / base);
    }
}
