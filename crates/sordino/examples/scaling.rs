//! What one meeting costs every rank, for more and more ranks: bytes as the ledger counts them, seconds in a simulated world.
//!
//! `cargo run --release --example scaling [entries] [bits per second]` prints a line a case.

use std::sync::Arc;

use sordino::base::{Layout, Purpose, Stream, Use};
use sordino::exchange::{Frame, Talk, Voice};
use sordino::fabric::{Clock, Metered, Port, World, on_threads, simulate};
use sordino::recipe::{Defaults, Recipe, check};
use sordino::{Error, Result};

/// Bytes that the busiest rank sends and receives, and the second at which the last one is done.
fn meet(code: &str, exchange: &str, ranks: usize, entries: usize, rate: f64) -> Result<(u64, u64, f64)> {
    let mut recipe = Recipe::default();
    recipe.set(&format!("compress={code}"))?;
    recipe.set(&format!("exchange={exchange}"))?;
    recipe.resolve(&Defaults::default())?;
    check(&recipe)?;
    let (world, layout) = (World { latency: 1e-3, rate, ..World::still() }, Layout::vector(entries));
    let seats = simulate(ranks, &world).into_iter().map(|(port, clock)| (Metered::new(port, clock.clone()), clock));
    let told = on_threads(seats.collect(), |(mut port, clock)| {
        let mut parts = recipe.build(clock.clone())?;
        let (rank, voices) = (port.rank(), Voice::ranks(ranks));
        let mut stream = Stream::new(1, Use::Problem, rank as u64, 0);
        let given: Vec<f32> = (0..entries).map(|_| stream.uniform() - 0.5).collect();
        let (mut said, mut agreed) = (vec![0.0; entries], vec![0.0; entries]);
        let mut talk = Talk {
            port: &mut port,
            compressor: &mut *parts.compressor,
            aggregator: &mut *parts.aggregator,
            layout: &layout,
            seed: 1,
            frame: Frame { round: 0, silence: 1, flags: 0 },
            purpose: &Purpose::Payload,
            voices: &voices,
            expected: ranks as f64,
            clients: false,
            weights: &[],
        };
        parts.exchange.begin(&mut talk, voices[rank], &given, &mut said)?;
        parts.exchange.finish(&mut talk, &mut said, &mut agreed)?;
        Ok((port.meter().map(|meter| meter.ledger.clone()), Arc::clone(&clock).now()))
    })?;
    let seconds = told.iter().map(|(_, now)| *now).fold(0.0, f64::max);
    let ledgers = told.into_iter().filter_map(|(ledger, _)| ledger);
    let all = ledgers.reduce(|mut all, one| {
        all.merge(&one);
        all
    });
    let (sent, received) = all.ok_or_else(|| Error::request("nobody counted"))?.busiest(ranks, None);
    Ok((sent, received, seconds))
}

fn main() -> Result<()> {
    let mut given = std::env::args().skip(1).map(|text| text.parse::<f64>().unwrap_or(f64::NAN));
    let (entries, rate) = (given.next().unwrap_or(2e5), given.next().unwrap_or(1e8));
    if !(entries >= 1.0 && rate > 0.0) {
        return Err(Error::request("expected a number of entries and a rate in bits per second"));
    }
    println!("# one meeting over {entries} entries, links of {rate} bit/s, 1 ms; codes and sums take no time there");
    println!("{:<8} {:<10} {:>5} {:>12} {:>12} {:>10}", "code", "exchange", "ranks", "sent", "received", "seconds");
    for (code, exchanges) in [("dense", &["gather", "reduce", "two_phase"][..]), ("sign", &["gather", "two_phase"])] {
        for exchange in exchanges {
            for ranks in [2, 4, 8, 16, 32] {
                let (sent, received, seconds) = meet(code, exchange, ranks, entries as usize, rate)?;
                println!("{code:<8} {exchange:<10} {ranks:>5} {sent:>12} {received:>12} {seconds:>10.4}");
            }
        }
    }
    Ok(())
}
