//! Golden traces: what every named row computes, and what the random streams give, must not move by a bit unnoticed.
//!
//! `SORDINO_BLESS=1` rewrites the traces; the commit that does so says why they moved.

use std::fmt::Write as _;
use std::path::Path;

use sordino::base::{Stream, Use};
use sordino::recipe::{ROWS, Recipe};
use sordino::testing::{Served, Trial};
use sordino::workload::{Quadratic, Split, Task};

use crate::worlds::{Buffered, CHAIN, hashes, row, served, with_duals};

const ROUNDS: u64 = 20;
const WORKERS: usize = 4;
const SEED: u64 = 9;

/// Settings that make a row show what it does within twenty rounds, and the number of steps of its run.
fn settings(name: &str) -> (&'static [&'static str], u64) {
    match name {
        "qsr" => (&["optim=sgd(momentum=0.9, rate=0.1, schedule=cosine(warmup=10))"], 160),
        "post-local-sgd" => (&["optim.rate=0.1", "schedule.switch=12"], 400),
        "def" => (&["optim.rate=0.1", "compress.ratio=0.25"], 400),
        "local-sgd" | "sync-sgd" | "slowmo" | "saef" | "ef-sgd" => (&["optim.rate=0.1", "optim.momentum=0.9"], 400),
        "lars" | "clars" => (&["optim.rate=5"], 400),
        // Of the matrix of its task, two rows, only rank 1 is shorter.
        "powersgd" => (&["optim.rate=0.1", "compress.rank=1"], 400),
        "diloco" => (&["optim.rate=0.01"], 1000),
        "cocoa" | "cocoa-plus" => (&["schedule=constant(20)"], 400),
        // One step a round would leave a spring and a variate nothing to do.
        "fedavg" | "fedmom" | "fedprox" | "scaffold" => (&["optim.rate=0.1", "schedule.count=4"], 400),
        // A rate for gradients, over d.
        "zo-proxsaga" | "zo-proxsgd" | "zo-proxsvrg" | "zo-seeded" => (&["optim.rate=0.002"], 400),
        "dsp" | "gpipe" | "pipeline-sync" => (&["optim.rate=0.1", "optim.momentum=0.5"], 400),
        "ouroboros" => (&["optim.rate=0.02"], 400),
        _ => (&["optim.rate=0.1"], 400),
    }
}

/// What a row is traced on: a vector, tensors where the method asks for a matrix, layers where it cuts between
/// them, or a problem with a dual.
fn task(name: &str) -> &'static dyn Task {
    const VECTOR: Quadratic =
        Quadratic { dim: 96, low: 0.1, high: 1.0, spread: 1.0, skew: 0.3, noise: 0.1, start: 0.5 };
    let task: &'static dyn Task = match name {
        "clars" | "powersgd" => &Buffered,
        "dsp" | "gpipe" | "ouroboros" | "pipeline-sync" => &CHAIN,
        _ => &VECTOR,
    };
    with_duals(&Recipe::named(name).unwrap(), task)
}

/// The trace of a row whose workers come to a server at their own pace, in a world of unequal workers.
fn served_trace(name: &str) -> String {
    // Short silences and updates of everybody within twenty.
    let own: &[&str] =
        if name == "acpd" { &["schedule=constant(5)", "staleness=bounded(4)"] } else { &["optim.rate=0.05"] };
    let sets = [&["fabric=sim(spread=0.8, slow=1, factor=7)"], own].concat();
    let recipe = row(name, &sets);
    let task = task(name);
    let run = Trial::new(&recipe, task, WORKERS, SEED, 20).served(&Served::default()).unwrap();
    let (sent, received) = run.ledger.busiest(WORKERS, None);
    let mut share = task.workload(recipe.participation().unwrap().clients(WORKERS), SEED).unwrap();
    let last = run.models.last().unwrap();
    let loss = share.evaluate(last, &[], Split::Train).unwrap().unwrap().loss;
    let mut text = format!("{name} {}\n", sets.join(" "));
    let updates = run.updates.len();
    let _ = writeln!(text, "  {updates} updates, loss {loss:.17e}, sent {sent}, received {received}");
    let models: Vec<&[f32]> = run.models[1..].iter().map(|m| &m[..]).collect();
    for hashes in hashes(&models).chunks(5) {
        let _ = writeln!(text, "  {}", hashes.iter().map(|h| format!("{h:016x}")).collect::<Vec<_>>().join(" "));
    }
    text
}

/// The trace of a row: its choices, the final loss, the bytes of the busiest worker, and a hash of the model a round.
fn trace(name: &str) -> String {
    if served().any(|row| row.name == name) {
        return served_trace(name);
    }
    let (sets, steps) = settings(name);
    let (recipe, task) = (row(name, sets), task(name));
    let trial = Trial { rounds: ROUNDS, ..Trial::new(&recipe, task, WORKERS, SEED, steps) };
    let ranks = trial.run().unwrap();
    let mut ledger = ranks[0].ledger.clone();
    ranks[1..].iter().for_each(|r| ledger.merge(&r.ledger));
    let participation = recipe.participation().unwrap();
    let seats = participation.federated().then(|| participation.expected(WORKERS));
    let (sent, received) = ledger.busiest(WORKERS, seats);
    let mut share = task.workload(recipe.clients(WORKERS, task.layers().unwrap()).unwrap(), SEED).unwrap();
    let loss = share.evaluate(ranks[0].last(), &[], Split::Train).unwrap().unwrap().loss;
    let rounds = ranks[0].rounds.len();
    let mut text = format!("{name} {}\n", sets.join(" ")).replace(" \n", "\n");
    let _ = writeln!(text, "  {rounds} rounds, loss {loss:.17e}, sent {sent}, received {received}");
    for hashes in hashes(&ranks[0].models()[1..]).chunks(5) {
        let _ = writeln!(text, "  {}", hashes.iter().map(|h| format!("{h:016x}")).collect::<Vec<_>>().join(" "));
    }
    text
}

#[test]
fn twenty_rounds_of_every_row_are_what_they_were() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/rows.txt");
    let now: String = ROWS.iter().map(|r| trace(r.name)).collect::<Vec<_>>().join("\n");
    // Below the wall nobody reads the environment; a test may.
    #[allow(clippy::disallowed_methods)]
    if std::env::var("SORDINO_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &now).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap().replace('\r', "");
    for (before, now) in before.split("\n\n").zip(now.split("\n\n")) {
        assert_eq!(before.trim(), now.trim(), "the trace of a row has moved; SORDINO_BLESS=1 if that is meant");
    }
    assert_eq!(before.trim(), now.trim());
}

#[test]
fn a_trace_shows_that_the_rows_differ_and_that_they_learn() {
    let traces: Vec<String> = ROWS.iter().map(|r| trace(r.name)).collect();
    let body = |t: &str| t.split_once('\n').unwrap().1.to_owned();
    for (i, a) in traces.iter().enumerate() {
        assert!(traces[..i].iter().all(|b| body(a) != body(b)), "{a}");
    }
    for (row, t) in ROWS.iter().zip(&traces) {
        let clients = crate::worlds::row(row.name, &[]).clients(WORKERS, task(row.name).layers().unwrap()).unwrap();
        let mut share = task(row.name).workload(clients, SEED).unwrap();
        let start = share.start(SEED).parameters;
        let first = share.evaluate(&start, &[], Split::Train).unwrap().unwrap().loss;
        let loss: f64 = t.split("loss ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        assert!(loss < first, "{t}");
    }
}

#[test]
fn the_random_words_are_frozen() {
    let stream = Stream::new(7, Use::Encode, 3, 11);
    assert_eq!([0, 1, 2, 1 << 40].map(|i| stream.word_at(i)), WORDS);
    assert_eq!([0, 1].map(|i| stream.part(i).word_at(0)), PARTS);
    let uses = [
        Use::Init,
        Use::Batch,
        Use::Encode,
        Use::Shared,
        Use::Partition,
        Use::Noise,
        Use::Participation,
        Use::Problem,
        Use::Down,
        Use::Sample,
        Use::Fault,
    ];
    assert_eq!(uses.map(|u| Stream::new(0, u, 0, 0).word_at(0)), USES);
}

#[test]
fn the_order_of_words_and_the_conversions_are_frozen() {
    let mut s = Stream::new(7, Use::Encode, 3, 11);
    let word = s.clone().next_u64();
    assert_eq!([s.next_u32(), s.next_u32()], [word as u32, (word >> 32) as u32]);
    let s = Stream::new(7, Use::Encode, 3, 11);
    assert_eq!(s.pair_at(0), ((word as u32 >> 8) as f32 / 16_777_216.0, (word >> 40) as f32 / 16_777_216.0));
    let mut s = Stream::new(1, Use::Noise, 0, 0);
    assert_eq!([s.uniform(), s.uniform(), s.uniform()].map(f32::to_bits), UNIFORM);
    assert_eq!(s.uniform64().to_bits(), UNIFORM64);
    assert_eq!([s.normal(), s.normal(), s.normal()].map(f32::to_bits), NORMAL);
    assert_eq!([s.below(10), s.below(1000), s.below(u64::MAX)], BELOW);
    assert_eq!([s.gamma(0.5), s.gamma(3.0)].map(f64::to_bits), GAMMA);
    let mut cards: Vec<u8> = (0..8).collect();
    s.shuffle(&mut cards);
    assert_eq!(cards, CARDS);
}

const WORDS: [u64; 4] = [0xC253_7163_4BA2_B84B, 0xDAB6_40AF_5D97_0F08, 0xB011_E80E_5D70_B31E, 0x0568_1AF5_F1CF_B00B];
const PARTS: [u64; 2] = [0x0FBB_07C5_537E_8798, 0x95EA_D3EB_0123_4308];
const USES: [u64; 11] = [
    0xC1C3_2C93_7DC0_320A,
    0xFD37_D373_11A8_01B9,
    0xC95F_732C_6791_5E77,
    0x7715_1026_C42B_7FD6,
    0xC69F_2F8D_77EF_96E9,
    0xA05C_1F2C_B58B_B64B,
    0xA195_5123_19CF_A14B,
    0xAE31_EE9E_31E8_9E80,
    0xAF7C_00BC_AE0A_4CF0,
    0xEC8F_B038_A277_F071,
    0x0674_A3EC_32FB_57BF,
];
const UNIFORM: [u32; 3] = [0x3F0B_CA62, 0x3B31_D100, 0x3E9B_0F24];
const UNIFORM64: u64 = 0x3FD8_8603_E257_DD68;
const NORMAL: [u32; 3] = [0xBEA2_B44A, 0xBF59_221E, 0x3DC9_2974];
const BELOW: [u64; 3] = [2, 507, 17_612_604_148_909_456_619];
const GAMMA: [u64; 2] = [0x3FD8_0C17_1FD7_6F27, 0x4020_F35C_A625_E40C];
const CARDS: [u8; 8] = [7, 1, 2, 6, 4, 0, 5, 3];
