//! Seconds of a meeting over links of a given rate, whole and in pieces: what coding one piece while another travels is
//! worth. A table in under a minute.
//!
//! `cargo bench -p sordino --bench exchange -- [entries] [bits per second]`
//!
//! The links are made: a word is there when a link of that rate would have carried it after all words that were sent
//! before, and whoever asks for it sleeps until then. Ranks are threads, so there must be a core for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sordino::Result;
use sordino::base::{Layout, Purpose, Stream, Use};
use sordino::exchange::{Frame, Talk, Voice};
use sordino::fabric::{Port, Still, Tag, ThreadPort, connect, on_threads};
use sordino::recipe::{Defaults, Recipe, check};

const RANKS: usize = 2;
const MEETINGS: u64 = 5;

const CASES: &[(&str, &str)] = &[
    ("dense", "reduce"),
    ("dense", "two_phase"),
    ("half", "two_phase"),
    ("orq", "gather"),
    ("orq", "two_phase"),
    ("sign(scope=bucket(65536))", "two_phase"),
    ("topk(0.01, scope=bucket(65536))", "two_phase"),
];

#[allow(clippy::disallowed_methods, reason = "a benchmark is where the clock is read")]
fn now() -> Instant {
    Instant::now()
}

/// A port whose words take as long as a link of so many bits per second takes to carry them.
struct Shaped {
    inner: ThreadPort,
    rate: f64,
    began: Instant,
    free: f64,
    out: Vec<u8>,
}

impl Port for Shaped {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&mut self, to: usize, tag: &Tag, bytes: &[u8]) -> Result<()> {
        self.free = self.free.max(self.began.elapsed().as_secs_f64()) + 8.0 * bytes.len() as f64 / self.rate;
        self.out.clear();
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(&self.free.to_le_bytes());
        self.inner.send(to, tag, &self.out)
    }

    fn receive(&mut self, from: usize, tag: &Tag, into: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, tag, into)?;
        let at = into.last_chunk().map_or(0.0, |stamp| f64::from_le_bytes(*stamp));
        into.truncate(into.len() - size_of::<f64>());
        let left = at - self.began.elapsed().as_secs_f64();
        if left > 0.0 {
            #[allow(clippy::disallowed_methods, reason = "this is the link")]
            std::thread::sleep(Duration::from_secs_f64(left));
        }
        Ok(())
    }
}

/// Seconds of the fastest of some meetings, on the slower rank.
fn meet(code: &str, exchange: &str, entries: usize, rate: f64) -> Result<f64> {
    let mut recipe = Recipe::default();
    recipe.set(&format!("compress={code}"))?;
    recipe.set(&format!("exchange={exchange}"))?;
    recipe.resolve(&Defaults::default())?;
    check(&recipe)?;
    let (layout, began) = (Layout::vector(entries), now());
    let shaped = |inner| Shaped { inner, rate, began, free: 0.0, out: Vec::new() };
    let told = on_threads(connect(RANKS).into_iter().map(shaped).collect(), |mut port| {
        let mut parts = recipe.build(Arc::new(Still))?;
        let (rank, voices) = (port.rank(), Voice::ranks(RANKS));
        let mut stream = Stream::new(1, Use::Problem, rank as u64, 0);
        let given: Vec<f32> = (0..entries).map(|_| stream.uniform() - 0.5).collect();
        let (mut said, mut agreed) = (vec![0.0; entries], vec![0.0; entries]);
        let mut times = Vec::new();
        for round in 0..MEETINGS {
            let mut talk = Talk {
                port: &mut port,
                compressor: &mut *parts.compressor,
                aggregator: &mut *parts.aggregator,
                layout: &layout,
                seed: 1,
                frame: Frame { round, silence: 1, flags: 0 },
                purpose: &Purpose::Payload,
                voices: &voices,
                expected: RANKS as f64,
                clients: false,
                weights: &[],
            };
            let from = now();
            parts.exchange.begin(&mut talk, voices[rank], &given, &mut said)?;
            parts.exchange.finish(&mut talk, &mut said, &mut agreed)?;
            times.push(from.elapsed().as_secs_f64());
        }
        Ok(times)
    })?;
    // The first meeting makes its memory.
    let slower = (1..MEETINGS as usize).map(|round| told.iter().map(|times| times[round]).fold(0.0, f64::max));
    Ok(slower.fold(f64::INFINITY, f64::min))
}

fn main() -> Result<()> {
    let given = std::env::args().skip(1).filter(|text| !text.starts_with("--"));
    let numbers: Vec<f64> = given.filter_map(|text| text.parse().ok()).collect();
    let (entries, rate) = (numbers.first().copied().unwrap_or(8e6), numbers.get(1).copied().unwrap_or(1e9));
    println!("{RANKS} ranks, {entries} entries, {rate} bit/s; seconds of the fastest of {} meetings", MEETINGS - 1);
    println!("{:<32} {:<10} {:>10} {:>10} {:>10} {:>8}", "code", "exchange", "no link", "whole", "pieces", "saved");
    for (code, exchange) in CASES {
        let with = |piece: usize, rate: f64| meet(code, &format!("{exchange}(piece={piece})"), entries as usize, rate);
        let (free, whole, pieces) = (with(1 << 40, 1e15)?, with(1 << 40, rate)?, with(1 << 18, rate)?);
        let saved = 100.0 * (1.0 - pieces / whole);
        println!("{code:<32} {exchange:<10} {free:>10.4} {whole:>10.4} {pieces:>10.4} {saved:>7.1}%");
    }
    Ok(())
}
