//! Networks cut into blocks: exact where nothing is stale, stale by the law where something is, and the round as ever.

use std::ops::Range;

use sordino::Result;
use sordino::base::{Kind, Layout, Party, Purpose, flat};
use sordino::engine::Session;
use sordino::estimate::Delayed;
use sordino::fabric::Still;
use sordino::grammar::Element;
use sordino::placement::{self, Placement};
use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};
use sordino::workload::{Chain, Deal, Draw, Metrics, Quadratic, Split, Start, Task, Workload};

use crate::worlds::{CHAIN, hashes, neutral, row};

/// A chain without dropout, whose gradients are the same however a batch is taken.
fn plain() -> Chain {
    Chain { dropout: 0.0, ..CHAIN }
}

fn run(recipe: &Recipe, task: &dyn Task, workers: usize, steps: u64) -> Vec<Rank> {
    Trial::new(recipe, task, workers, 5, steps).run().unwrap()
}

fn models(ranks: &[Rank]) -> Vec<Vec<f32>> {
    ranks[0].models().iter().map(|m| m.to_vec()).collect()
}

/// The neutral recipe with momentum, on one worker that holds the whole.
fn uncut(sets: &[&str]) -> Recipe {
    neutral(&[&["optim=sgd(momentum=0.9)", "local.batch=8"], sets].concat())
}

/// The same, cut.
fn cut(placement: &str, sets: &[&str]) -> Recipe {
    let placement = format!("placement={placement}");
    uncut(&[&[placement.as_str()], sets].concat())
}

#[test]
fn one_batch_at_a_time_is_training_of_the_whole_bit_for_bit() {
    let chains = [CHAIN, Chain { tied: true, ..CHAIN }, Chain::scalar(7)];
    for chain in &chains {
        let whole = models(&run(&uncut(&[]), chain, 1, 30));
        for workers in [1, 2, 3, 7] {
            // A tied chain has one matrix at both ends, which live apart.
            if chain.tied && workers > 1 {
                continue;
            }
            let blocks = run(&cut("pipeline(capacity=0)", &[]), chain, workers, 30);
            assert_eq!(models(&blocks), whole, "{workers} workers");
        }
        for alone in ["pipeline", "pipeline(capacity=3)", "pipeline(stale=stash, ring=true, blocks=1)"] {
            assert_eq!(models(&run(&cut(alone, &[]), chain, 1, 30)), whole, "{alone} on one worker");
        }
    }
    let other = models(&run(&cut("pipeline", &[]), &CHAIN, 2, 30));
    assert_ne!(other, models(&run(&uncut(&[]), &CHAIN, 1, 30)), "what is stale is something else");
}

#[test]
fn where_a_network_is_cut_does_not_matter_to_exact_training() {
    let whole = models(&run(&uncut(&[]), &CHAIN, 1, 12));
    for cuts in ["at(1, 2)", "at(1, 6)", "at(5, 6)", "at(2, 5)"] {
        let recipe = cut(&format!("pipeline(capacity=0, blocks=3, cuts={cuts})"), &[]);
        assert_eq!(models(&run(&recipe, &CHAIN, 3, 12)), whole, "{cuts}");
    }
}

#[test]
fn parts_of_a_batch_add_up_to_the_whole_to_rounding() {
    let whole = models(&run(&uncut(&[]), &plain(), 1, 30));
    for (micro, batch) in [(2, 8), (8, 8), (3, 8), (8, 9)] {
        let sets = format!("local.batch={batch}");
        let whole = if batch == 8 { whole.clone() } else { models(&run(&uncut(&[&sets]), &plain(), 1, 30)) };
        let parts = models(&run(&cut(&format!("pipeline(capacity=0, micro={micro})"), &[&sets]), &plain(), 2, 30));
        for (a, b) in whole.iter().zip(&parts) {
            assert!(flat::distance(a, b) < 1e-5 * flat::norm(a), "{micro} parts of {batch}: {}", flat::distance(a, b));
        }
        // Parts of one row are added up as the whole is; longer ones are rounded otherwise.
        assert_eq!(whole == parts, micro == batch, "{micro} parts of {batch}");
    }
}

/// What came back to every block in every iteration: its gradient at rate 0, as momentum 0 offers it.
fn offers(recipe: &Recipe, task: &dyn Task, workers: usize, steps: u64) -> Vec<Vec<Vec<f32>>> {
    let ranks = run(recipe, task, workers, steps);
    ranks.iter().map(|rank| rank.rounds.iter().map(|round| round.given.clone()).collect()).collect()
}

#[test]
fn at_rate_0_every_gradient_is_that_of_a_batch_as_old_as_the_law_says() {
    // Raw gradients cannot be offered by blocks that wait, so a rate is so small that it leaves every weight as it is.
    let rate = 2f32.powi(-40);
    let still = format!("optim=sgd(rate={rate}, momentum=0)");
    let chain = Chain { bias: false, ..CHAIN };
    let mut whole = chain.workload(1, 5).unwrap();
    let (start, layout) = (whole.start(5).parameters, whole.layout().clone());
    let exact: Vec<Vec<f32>> = (0..30)
        .map(|step| {
            let mut gradient = vec![0.0; start.len()];
            let draw = Draw { seed: 5, client: 0, step, batch: sordino::workload::Batch::Rows(8) };
            whole.gradient(&start, &mut [], &draw, &mut gradient).unwrap();
            flat::scale(&mut gradient, rate);
            gradient
        })
        .collect();
    for (text, workers, law) in [
        ("pipeline", 3, &[4usize, 2, 0][..]),
        ("pipeline(capacity=2)", 3, &[8, 4, 0]),
        ("pipeline", 4, &[6, 4, 2, 0]),
        ("pipeline(stale=stash)", 3, &[2, 1, 0]),
        ("pipeline(stale=stash, capacity=2)", 4, &[6, 4, 2, 0]),
        ("pipeline(capacity=0)", 3, &[0, 0, 0]),
    ] {
        let Placement::Pipeline(pipeline) = placement::build(&Element::parse(text).unwrap()).unwrap() else {
            panic!("{text}")
        };
        let recipe = cut(text, &[&still]);
        let ranks = run(&recipe, &chain, workers, 30);
        assert_eq!(ranks[0].last(), start, "{text}: nothing may move");
        let forward = pipeline.waiting().0;
        for (block, (rank, stale)) in ranks.iter().zip(law).enumerate() {
            assert_eq!(pipeline.staleness(block, workers), *stale, "{text}");
            let seat = rank.seat.as_ref().unwrap();
            for (now, round) in rank.rounds.iter().enumerate() {
                let offer = match now.checked_sub(stale + block * forward) {
                    Some(batch) => seat.share(&exact[batch]),
                    None => vec![0.0; round.given.len()],
                };
                assert_eq!(round.given, offer, "{text}: block {block} in iteration {now}");
            }
        }
    }
    assert_eq!(layout.ranges().len(), 7);
    assert!(exact.windows(2).all(|w| w[0] != w[1]), "batches differ, so their age shows");
}

#[test]
fn dropout_travels_with_the_batch() {
    let still = "optim=sgd(rate=9.094947e-13, momentum=0)";
    let of = |chain: &Chain| offers(&cut("pipeline", &[still]), chain, 3, 12);
    assert_ne!(of(&Chain { dropout: 0.3, ..CHAIN }), of(&plain()));
    // That cut and whole draw the same masks is told by `at_rate_0_...`, whose chain drops a tenth.
}

/// The tensors of an untied chain as those of a tied one: the first and the last matrix are one, whose gradient is the
/// sum of both.
struct Tied {
    inner: Box<dyn Workload>,
    layout: Layout,
    last: Range<usize>,
    room: Vec<f32>,
}

impl Tied {
    fn new(inner: Box<dyn Workload>) -> Self {
        let layout = inner.layout().clone();
        let last = layout.tensors().filter(|(t, _)| t.name.ends_with("weight")).last().unwrap().1;
        let at = layout.ranges().iter().position(|r| *r == last).unwrap();
        let kept: Vec<usize> = (0..layout.ranges().len()).filter(|i| *i != at).collect();
        let room = vec![0.0; layout.len()];
        Self { inner, layout: layout.part(&kept), last, room }
    }

    fn spread(&self, x: &[f32]) -> Vec<f32> {
        let matrix = x[..self.last.len()].to_vec();
        [&x[..self.last.start], &matrix, &x[self.last.start..]].concat()
    }
}

impl Workload for Tied {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        let mut parameters = self.inner.start(seed).parameters;
        parameters.drain(self.last.clone());
        Start { parameters, buffers: Vec::new() }
    }

    fn rows(&self, client: u64) -> usize {
        self.inner.rows(client)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        let x = self.spread(x);
        let loss = self.inner.gradient(&x, buffers, draw, &mut self.room)?;
        let (own, last) = (&self.room, self.last.clone());
        gradient[..last.start].copy_from_slice(&own[..last.start]);
        gradient[last.start..].copy_from_slice(&own[last.end..]);
        flat::add(&mut gradient[..last.len()], &own[last]);
        Ok(loss)
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        let x = self.spread(x);
        self.inner.evaluate(&x, buffers, split)
    }
}

/// Plain training of the whole by `recipe` on a workload of the caller's.
fn alone(recipe: &Recipe, workload: Box<dyn Workload>, steps: u64) -> Vec<Vec<f32>> {
    let parts = recipe.build(std::sync::Arc::new(Still)).unwrap();
    let port = sordino::fabric::connect(1).remove(0);
    let (mut session, mut workload) = Session::join(parts, workload, Box::new(port), 5, Some(steps)).unwrap();
    let mut models = vec![session.worker().model().to_vec()];
    while !session.done() {
        session.round(&mut *workload, 0).unwrap();
        models.push(session.worker().model().to_vec());
    }
    models
}

#[test]
fn ouroboros_is_a_gradient_of_one_old_point_a_block() {
    for optim in ["sgd(rate=0.05, momentum=0)", "sgd(rate=0.02, momentum=0.9, decay=0.01)", "adam(rate=0.01)"] {
        let optim = format!("optim={optim}");
        for (workers, tied) in [(1, false), (2, false), (3, false), (2, true), (4, true)] {
            let chain = Chain { tied, ..CHAIN };
            let blocks = workers + 1;
            let found = run(&row("ouroboros", &[&optim, "local.batch=8"]), &chain, workers, 40);
            // A tensor is K - k iterations late, by the block that uses it; of an untied twin every tensor is used once.
            let twin = Chain { tied: false, ..CHAIN }.workload(1, 5).unwrap();
            let Placement::Pipeline(pipeline) = row("ouroboros", &["placement.capacity=1"]).placement().unwrap() else {
                panic!()
            };
            let tied_twin = chain.workload(1, 5).unwrap();
            let cut = pipeline.cut(workers, &sordino::engine::weigh(&*tied_twin)).unwrap();
            let mut delays = vec![0; twin.layout().ranges().len()];
            for (block, range) in cut.blocks.iter().enumerate() {
                for tensor in twin.layers()[range.clone()].concat() {
                    delays[tensor] = blocks - 1 - block;
                }
            }
            let late: Box<dyn Workload> = Box::new(Delayed::new(twin, delays.clone()));
            let late = if tied { Box::new(Tied::new(late)) } else { late };
            let oracle = alone(&uncut(&[&optim]), late, 40);
            assert_eq!(models(&found), oracle, "{optim} on {workers} workers, tied: {tied}");
            // A control: one iteration later is something else.
            for delay in &mut delays {
                *delay += 1;
            }
            let later: Box<dyn Workload> = Box::new(Delayed::new(CHAIN.workload(1, 5).unwrap(), delays));
            let later = if tied { Box::new(Tied::new(later)) } else { later };
            assert_ne!(models(&found), alone(&uncut(&[&optim]), later, 40));
        }
    }
}

#[test]
fn copies_of_a_pipeline_meet_as_workers_do() {
    for sets in [
        &["schedule.every=4", "payload=parameters", "exchange=reduce"][..],
        &["schedule.every=3", "outer=momentum(0.5, nesterov=true)"],
        &["payload=gradient", "exchange=reduce"],
        &["schedule.every=2", "compress=half", "aggregate=weighted"],
        &["schedule.every=2", "local.state=average", "exchange=star"],
        &["compress=topk(0.3)", "feedback=residual(lambda=0.5, every=2)", "local.prox=0.1"],
    ] {
        let whole = run(&uncut(sets), &CHAIN, 2, 24);
        for blocks in [2, 3] {
            let placement = format!("pipeline(capacity=0, blocks={blocks})");
            let cut = run(&cut(&placement, sets), &CHAIN, 2 * blocks, 24);
            assert_eq!(models(&cut), models(&whole), "{sets:?}");
            assert!(cut.iter().all(|rank| hashes(&rank.models()) == hashes(&cut[0].models())), "{sets:?}");
        }
    }
    // Stale ones as well agree with their copies after every round, under any code.
    for sets in [&["compress=qsgd", "schedule.every=2"][..], &["compress=sign", "feedback=residual", "exchange=star"]] {
        for placement in ["pipeline(blocks=2)", "pipeline(stale=stash, ring=true, blocks=3)"] {
            let ranks = run(&cut(placement, sets), &CHAIN, 4, 24);
            assert!(ranks.iter().all(|rank| hashes(&rank.models()) == hashes(&ranks[0].models())), "{sets:?}");
            assert!(flat::is_finite(ranks[0].last()) && ranks[0].last() != ranks[0].start);
        }
    }
}

#[test]
fn activations_and_errors_are_counted_and_are_training() {
    let ranks = run(&row("dsp", &["local.batch=8"]), &plain(), 3, 20);
    let mut ledger = ranks[0].ledger.clone();
    ranks[1..].iter().for_each(|r| ledger.merge(&r.ledger));
    let bytes = |from: usize, to: usize, purpose: Purpose| {
        ledger.bytes_where(|l| l.from == Party::Worker(from) && l.to == Party::Worker(to) && l.purpose == purpose)
    };
    // A token is 8 rows of 4 numbers and a head; that of an iteration in which nothing came is short.
    let tokens = |full: u64| full * 128..full * 128 + 20 * 30;
    assert!(tokens(20).contains(&bytes(0, 1, Purpose::Activations)));
    assert!(tokens(19).contains(&bytes(1, 2, Purpose::Activations)), "one iteration without anything");
    assert!(tokens(18).contains(&bytes(2, 1, Purpose::Errors)), "two iterations");
    assert!(tokens(17).contains(&bytes(1, 0, Purpose::Errors)), "three");
    assert_eq!(bytes(1, 0, Purpose::Activations) + bytes(0, 1, Purpose::Errors), 0);
    assert!(Purpose::Activations.is_training() && Purpose::Errors.is_training());
    assert_eq!(ledger.bytes_where(|l| l.purpose == Purpose::Payload), 0, "one copy has nobody to agree with");
}

#[test]
fn the_scalar_chains_of_the_papers_come_to_rest_or_do_not() {
    // Ouroboros: K blocks on K - 1 workers. Far off may be too far for a number.
    let loss = |rate: f64, blocks: usize| {
        let chain = Chain::scalar(blocks);
        let recipe = row("ouroboros", &[&format!("optim=sgd(rate={rate}, momentum=0)"), "local.batch=1"]);
        let mut whole = chain.workload(1, 5).unwrap();
        match Trial::new(&recipe, &chain, blocks - 1, 5, 400).run() {
            Ok(ranks) => whole.evaluate(ranks[0].last(), &[], Split::Train).unwrap().unwrap().loss,
            Err(e) if e.kind() == Kind::Diverged => f64::INFINITY,
            Err(e) => panic!("{e}"),
        }
    };
    for blocks in 2..=4 {
        assert!(loss(0.1, blocks) < 1e-9, "{blocks}");
    }
    // Staleness shrinks the stable rate.
    assert!(loss(0.2, 3) < 1e-6);
    assert!(loss(0.2, 4) > 0.1);
    // DSP comes to rest as near as f32 lets it.
    for capacity in [1, 2] {
        let placement = format!("placement.capacity={capacity}");
        let chain = Chain::scalar(3);
        let recipe = row("dsp", &["optim=sgd(rate=0.05, momentum=0)", "local.batch=1", &placement]);
        let ranks = run(&recipe, &chain, 3, 600);
        let product: f32 = ranks[0].last().iter().product();
        assert!((product - 2.0).abs() < 1e-6, "{product}");
    }
}

#[test]
fn a_block_makes_no_step_before_an_error_has_come_and_then_one_an_iteration() {
    let decay = "optim=adamw(rate=0.01, decay=0.5)";
    let ranks = run(&row("dsp", &[decay, "local.batch=8"]), &CHAIN, 3, 12);
    for (block, rank) in ranks.iter().enumerate() {
        let seat = rank.seat.as_ref().unwrap();
        let moved = rank.models().windows(2).map(|w| seat.share(w[0]) != seat.share(w[1])).collect::<Vec<_>>();
        let first = 4 - block;
        assert!(!moved[..first].contains(&true) && !moved[first..].contains(&false), "block {block}: {moved:?}");
    }
    // With passes that are kept the optimizer steps with zeros until then, and decays.
    let ranks = run(&cut("pipeline(stale=stash)", &[decay]), &CHAIN, 3, 12);
    assert!(ranks[0].models().windows(2).all(|w| w[0][..16] != w[1][..16]));
}

#[test]
fn a_pipeline_learns() {
    let loss = |recipe: &Recipe, workers, at: u64| {
        let ranks = run(recipe, &plain(), workers, 200);
        let mut whole = plain().workload(1, 5).unwrap();
        whole.evaluate(ranks[0].models()[at as usize], &[], Split::Train).unwrap().unwrap().loss
    };
    for (name, workers) in [("dsp", 3), ("gpipe", 3), ("ouroboros", 2), ("pipeline-sync", 3)] {
        let rate = if name == "ouroboros" { "optim.rate=0.005" } else { "optim=sgd(rate=0.05, momentum=0)" };
        let recipe = row(name, &[rate, "local.batch=16"]);
        let (before, after) = (loss(&recipe, workers, 0), loss(&recipe, workers, 200));
        assert!(after < 0.8 * before, "{name}: {before} {after}");
    }
}

/// Virtual seconds of 40 iterations in a world where a step of the whole takes one and links take none.
fn seconds(name: &str, workers: usize, sets: &[&str]) -> f64 {
    let world = "fabric=sim(step=1, spread=0, flutter=0, latency=0, jitter=0, loss=0, rate=1e18)";
    // One round: between rounds a trial looks at what every rank remembers, for which they wait.
    let all = [&[world, "schedule.every=40", "local.batch=8", "optim=sgd(momentum=0)"], sets].concat();
    let ranks = run(&row(name, &all), &plain(), workers, 40);
    let of = |rank: &Rank| rank.rounds[0].state.numbers["times"].iter().map(|bits| f64::from_bits(*bits)).sum::<f64>();
    ranks.iter().map(of).fold(0.0, f64::max)
}

#[test]
fn in_virtual_time_nobody_waits_where_tokens_do() {
    let sync = seconds("pipeline-sync", 2, &[]);
    assert!((sync - 40.0).abs() < 1e-6, "one batch at a time: {sync}");
    // Seven layers of one forward and two back. DSP cuts them in 3, passed twice, and 4: 12 and 12 of 21, but for the first
    // iterations, in which there is less to do.
    let near = 12.0 / 21.0 * 38.0..12.0 / 21.0 * 42.0;
    let dsp = seconds("dsp", 2, &[]);
    assert!(near.contains(&dsp), "{dsp}");
    // Ouroboros in 2 and 2, on one worker, and 3: 12 and 9.
    let ring = seconds("ouroboros", 2, &["optim=sgd(momentum=0)"]);
    assert!(near.contains(&ring), "{ring}");
    // Eight parts through 4 and 3 layers: the last waits for an eighth of the way there and back.
    let parts = seconds("gpipe", 2, &[]);
    assert!((12.0 / 21.0 * 40.0..0.65 * 40.0).contains(&parts) && parts > dsp, "{parts}");
    // A worker three times as slow is waited for by everybody in the end.
    let slow = ["fabric.slow=1", "fabric.factor=3"];
    let (slow_dsp, slow_sync) = (seconds("dsp", 2, &slow), seconds("pipeline-sync", 2, &slow));
    assert!(slow_dsp < 3.0 * dsp + 1.0 && slow_sync > 1.8 * sync && slow_dsp < slow_sync, "{slow_dsp} {slow_sync}");
    // Moments of slowness are made up for where tokens wait, the better the more of them wait.
    let flutter = ["fabric.flutter=0.7"];
    let lost = |name: &str, sets: &[&str], calm: f64| seconds(name, 2, &[&flutter[..], sets].concat()) / calm;
    let (tight, loose) = (lost("dsp", &[], dsp), lost("dsp", &["placement.capacity=4"], dsp));
    assert!(1.0 < loose && loose < tight, "{loose} {tight}");
}

#[test]
fn what_cannot_be_cut_is_refused_with_a_cure() {
    let refused = |recipe: &Recipe, task: &dyn Task, workers| {
        let error = Trial::new(recipe, task, workers, 5, 4).run().unwrap_err();
        assert_eq!(error.kind(), Kind::Request, "{error}");
        error.to_string()
    };
    let dsp = row("dsp", &[]);
    assert!(refused(&dsp, &Quadratic::default(), 2).contains("placement=replicate"));
    assert!(refused(&dsp, &Chain { tied: true, ..CHAIN }, 3).contains("placement.ring=true"));
    assert!(refused(&row("dsp", &["placement.blocks=2"]), &CHAIN, 3).contains("--workers 2"));
    assert!(refused(&row("dsp", &["placement.cuts=at(9)"]), &CHAIN, 2).contains("ascending"));
    // Ringed, the tied chain is trained.
    let ringed = run(&row("dsp", &["placement.ring=true"]), &Chain { tied: true, ..CHAIN }, 3, 20);
    assert_ne!(ringed[0].last(), ringed[0].start);
}

#[test]
fn ranks_that_mean_different_runs_find_out_before_the_first_batch() {
    let (one, other) = (row("dsp", &[]), row("dsp", &["optim.rate=0.3"]));
    let ports = sordino::fabric::connect(2);
    let error = sordino::fabric::on_threads(ports, |port| {
        let rank = sordino::fabric::Port::rank(&port);
        let trial = Trial::new(if rank == 0 { &one } else { &other }, &CHAIN, 2, 5, 4);
        let (mut session, mut workload) = trial.session(Box::new(port))?;
        session.round(&mut *workload, 0)
    });
    assert!(error.unwrap_err().to_string().contains("another recipe"));
}

#[test]
fn rows_of_data_may_be_dealt_to_copies() {
    let shards = vec![(0..20).collect(), (20..48).collect()];
    let chain = Chain { deal: Deal::Shards(std::sync::Arc::new(shards)), ..CHAIN };
    let sets = ["schedule.every=2", "aggregate=weighted", "exchange=gather"];
    let (whole, cut) =
        (run(&uncut(&sets), &chain, 2, 12), run(&cut("pipeline(capacity=0, blocks=2)", &sets), &chain, 4, 12));
    assert_eq!(models(&whole), models(&cut));
}
