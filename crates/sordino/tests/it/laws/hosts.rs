//! Ranks of a host are one worker: with one rank a host they are what they were, and with several what one worker with all
//! their rows would be.

use sordino::base::{Kind, Layout, Purpose, Result, Role, Tensor};
use sordino::recipe::{Recipe, check};
use sordino::testing::{Rank, Trial};
use sordino::workload::{Draw, Metrics, Quadratic, Split, Start, Task, Workload};

use super::{rows_and_mixes, run};
use crate::worlds::{Buffered, apart, hashes, neutral, quadratic, tried};

#[test]
fn a_rank_a_host_is_the_complete_graph_for_every_row_and_mix() {
    for (name, plain) in rows_and_mixes() {
        let mut hosts = plain.clone();
        hosts.set("topology=hosts(1)").unwrap();
        let of = |recipe: &Recipe| {
            let ranks = run(recipe, tried(recipe), 3, 20);
            let states: Vec<_> = ranks.iter().flat_map(|r| r.rounds.iter().map(|r| r.state.clone())).collect();
            (hashes(&ranks[0].models()), states, ranks[0].ledger.clone())
        };
        assert!(of(&hosts) == of(&plain), "{name}");
    }
}

/// Quadratics over three tensors, whose client c has the rows of two clients, 2c and 2c + 1, where `pairs`.
struct Rows {
    pairs: bool,
}

struct Pair {
    inner: Box<dyn Workload>,
    layout: Layout,
    pairs: bool,
}

impl Task for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn workload(&self, clients: usize, seed: u64) -> Result<Box<dyn Workload>> {
        let tensor = |name, shape| Tensor::new(name, shape, Role::Weight);
        let layout = Layout::new([tensor("a", &[70]), tensor("b", &[2, 40]), tensor("c", &[10])]);
        let clients = if self.pairs { 2 * clients } else { clients };
        let inner = Quadratic { dim: layout.len(), ..quadratic() }.workload(clients, seed)?;
        Ok(Box::new(Pair { inner, layout, pairs: self.pairs }))
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

impl Workload for Pair {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start(&self, seed: u64) -> Start {
        self.inner.start(seed)
    }

    fn gradient(&mut self, x: &[f32], buffers: &mut [f32], draw: &Draw, gradient: &mut [f32]) -> Result<f64> {
        if !self.pairs {
            return self.inner.gradient(x, buffers, draw, gradient);
        }
        let mut other = vec![0.0; gradient.len()];
        let one = self.inner.gradient(x, buffers, &Draw { client: 2 * draw.client, ..*draw }, gradient)?;
        let two = self.inner.gradient(x, buffers, &Draw { client: 2 * draw.client + 1, ..*draw }, &mut other)?;
        gradient.iter_mut().zip(&other).for_each(|(a, b)| *a = f32::midpoint(*a, *b));
        Ok(f64::from(f32::midpoint(one as f32, two as f32)))
    }

    fn evaluate(&mut self, x: &[f32], buffers: &[f32], split: Split) -> Result<Option<Metrics>> {
        self.inner.evaluate(x, buffers, split)
    }
}

const MIXES: &[&[&str]] = &[
    &[],
    &["schedule.every=5", "optim.momentum=0.9", "exchange=reduce"],
    &["schedule.every=3", "compress=topk(0.1)", "feedback=residual(lambda=1, every=2)", "optim.momentum=0.9"],
    &["compress=qsgd", "schedule.every=2"],
    &["compress=sign", "feedback=residual", "exchange=two_phase", "schedule.every=4"],
    &["compress=powersgd(1)", "feedback=residual(0.5)", "exchange=reduce", "schedule.every=2"],
    &["payload=gradient", "compress=topk(0.1)", "feedback=ef21", "optim=adamw"],
    &["exchange=star(down=topk(0.3), feedback=residual)", "compress=terngrad", "schedule.every=3"],
    &["aggregate=median", "payload=parameters", "compress=half", "schedule.every=3", "outer=momentum(0.5)"],
    &["staleness=delayed(2)", "schedule.every=4", "compress=orq", "feedback=residual", "exchange=two_phase(piece=30)"],
    &[
        "payload=displacement(fragments=2)",
        "feedback=residual(lambda=1)",
        "schedule.every=3",
        "exchange=gather",
        "outer=momentum(0.9, nesterov=true)",
    ],
    &[
        "optim=adamw",
        "local.state=average",
        "schedule.every=3",
        "feedback=residual(lambda=1, every=3)",
        "compress=sign",
    ],
    &["optim=sgd(clip=0.02)", "schedule.every=2", "compress=terngrad"],
];

fn on_hosts(sets: &[&str], size: usize) -> Recipe {
    neutral(&[sets, &[&format!("topology=hosts({size})")]].concat())
}

#[test]
fn two_ranks_of_a_host_are_one_worker_with_the_rows_of_both_bit_for_bit() {
    let payload = |rank: &Rank| rank.ledger.bytes_where(|link| link.purpose == Purpose::Payload);
    for sets in MIXES {
        let (hosts, workers) =
            (run(&on_hosts(sets, 2), &Rows { pairs: false }, 6, 24), run(&neutral(sets), &Rows { pairs: true }, 3, 24));
        for (rank, mine) in hosts.iter().enumerate() {
            assert_eq!(hashes(&mine.models()), hashes(&workers[rank / 2].models()), "{sets:?}, rank {rank}");
            let losses = |rank: &Rank| rank.rounds.iter().map(|r| r.told.loss as f32).collect::<Vec<_>>();
            assert_eq!(losses(mine), losses(&workers[rank / 2]), "{sets:?}, rank {rank}");
            let leads = rank % 2 == 0;
            assert_eq!(payload(mine), if leads { payload(&workers[rank / 2]) } else { 0 }, "{sets:?}, rank {rank}");
            assert!(mine.ledger.bytes_where(|link| link.purpose == Purpose::Inside) > 0);
        }
        assert_ne!(hosts[0].start, hosts[0].last());
    }
}

#[test]
fn a_single_host_is_large_batch_training_to_rounding_and_sends_nothing_across() {
    let (sets, plain) = (["schedule.every=5", "optim.momentum=0.9"], ["optim.momentum=0.9"]);
    let (host, sync) = (run(&on_hosts(&sets, 4), &Buffered, 4, 20), run(&neutral(&plain), &Buffered, 4, 20));
    // Running statistics meet when the host does.
    assert!(apart(host[0].last(), sync[0].last()) < 1e-3);
    let none = ["buffers=local", "schedule.every=5"];
    let (host, sync) = (run(&on_hosts(&none, 4), &quadratic(), 4, 20), run(&neutral(&[]), &quadratic(), 4, 20));
    assert!(apart(host[0].last(), sync[0].last()) < 1e-6);
    assert!(apart(run(&neutral(&none), &quadratic(), 4, 20)[0].last(), sync[0].last()) > 1e-4, "local steps differ");
    for rank in &host {
        let across = |purpose: &Purpose| !matches!(purpose, Purpose::Inside | Purpose::Control);
        assert_eq!(rank.ledger.bytes_where(|link| across(&link.purpose)), 0);
    }
}

#[test]
fn hosts_stop_go_on_and_are_simulated_like_anybody() {
    for sets in MIXES {
        let recipe = on_hosts(sets, 2);
        let trial = Trial::new(&recipe, &Buffered, 4, 5, 24);
        let whole = trial.run().unwrap();
        let states: Vec<_> = whole.iter().map(|r| r.rounds[1].state.clone()).collect();
        let rest = trial.resume(&states).unwrap();
        for (whole, rest) in whole.iter().zip(&rest) {
            assert_eq!(hashes(&rest.models()), hashes(&whole.models()[2..]), "{sets:?}");
            assert!(whole.rounds[2..].iter().zip(&rest.rounds).all(|(a, b)| a.state == b.state), "{sets:?}");
        }
        let mut world = recipe.clone();
        world.set("fabric=sim(loss=0.1)").unwrap();
        let simulated = Trial { recipe: &world, ..trial }.run().unwrap();
        assert_eq!(hashes(&simulated[3].models()), hashes(&whole[0].models()), "{sets:?}");
        // Another number of hosts goes on where these were.
        let more = Trial { workers: 6, ..trial }.resume(&states).unwrap();
        assert_eq!(more[0].start, whole[0].rounds[1].model, "{sets:?}");
        assert!(more.iter().all(|rank| hashes(&rank.models()) == hashes(&more[0].models())), "{sets:?}");
    }
}

#[test]
fn what_makes_no_whole_hosts_is_refused_with_the_numbers_that_do() {
    let error = Trial::new(&on_hosts(&[], 3), &Buffered, 4, 5, 10).run().unwrap_err();
    assert_eq!(error.kind(), Kind::Request);
    assert!(error.to_string().contains("start 3 or 6"), "{error}");
}

#[test]
fn mixes_in_which_ranks_of_a_host_would_not_be_one_worker_are_refused() {
    for sets in [
        &["participation=sampled(2, clients=5)", "exchange=star"][..],
        &["placement=pipeline"],
        &["privacy=gaussian(noise=1, clip=1, seed=1)", "buffers=local"],
        &["fabric=threads(attack=sign_flip)"],
        &["aggregate=weighted"],
        &["aggregate=sum"],
        &["exchange=reduce(engine)"],
        &["schedule=epochs(1)"],
        &["local=scaffold(batch=full)", "optim.momentum=0"],
        &["local=descent(batch=4, estimate=micro_norms)"],
        &["local=descent(batch=2, estimate=saga(of=plain))"],
    ] {
        let mut recipe = neutral(&[]);
        for set in [sets, &["topology=hosts(2)"]].concat() {
            recipe.set(set).unwrap();
        }
        let error = check(&recipe).unwrap_err().to_string();
        assert!(error.contains("topology=hosts"), "{sets:?}: {error}");
    }
}
