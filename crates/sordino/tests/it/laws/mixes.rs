//! Mixes drawn over all axes: each runs and keeps the laws, or is refused with two names and a cure.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use sordino::base::{Kind, Party, Purpose};
use sordino::grammar::Element;
use sordino::placement::Placement;
use sordino::recipe::{AXES, Defaults, Recipe, check};
use sordino::testing::{Rank, Served, ServedRun, Trial};
use sordino::workload::{Quadratic, Task};

use crate::worlds::{Buffered, CHAIN, hashes, with_duals};

const RANKS: usize = 3;
const SEED: u64 = 5;
const STEPS: u64 = 12;
const CASES: u32 = 400;

/// Settings beside every element as it comes: valid ones, and those at an edge.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn settings(axis: &str) -> &'static [&'static str] {
    match axis {
        "optim" => &[
            "sgd(rate=0.1, momentum=0.9)",
            "sgd(rate=0.05, momentum=0, clip=0.01)",
            "sgd(rate=0.05, momentum=0.5, nesterov=true, decay=0.01, max_norm=0.3, schedule=cosine(warmup=2))",
            "sgd(rate=0)",
            "sgd(rate=0.05, momentum=0.5, prox=l1(0.1, high=2))",
            "lars(rate=0.5, schedule=constant)",
            "mixclip(rate=0.05, gamma=0.01, form=hard)",
            "adamw(rate=0.01, decay=0.1)",
        ],
        "local" => &[
            "descent(state=reset)",
            "descent(state=average)",
            "descent(prox=0.5, batch=1)",
            "descent(batch=full)",
            "descent(batch=poisson(2))",
            "descent(batch=4, estimate=micro_norms(2))",
            "descent(batch=poisson(2), estimate=per_sample)",
            "scaffold(state=reset, batch=4)",
            "descent(batch=2, estimate=coosge(0.1))",
            "descent(batch=3, estimate=svrg(of=plain, every=2))",
            "descent(batch=2, estimate=saga(of=plain))",
            "descent(estimate=gausge(0.01, directions=50, shared=true))",
            "dual(curvature=code)",
        ],
        "schedule" => &["constant(3)", "post_local(0.3, 4)", "qsr(base=2, alpha=0.2)", "epochs(0.5)", "epochs(2)"],
        "compress" => &[
            "topk(0.1)",
            "topk(1)",
            "topk(0.3, clip=0.2)",
            "randk(0.2, scale=unbiased)",
            "block(0.25)",
            "dense(clip=0.1)",
            "span(3)",
            "clipped(0.05)",
            "sign(scope=tensor)",
            "powersgd(1)",
            "powersgd(2, clip=0.1)",
        ],
        "feedback" => &[
            "residual(lambda=1, every=2)",
            "residual(lambda=0.3, evaluate=mean)",
            "residual(lambda=1)",
            "residual(lambda=auto)",
            "ef21(momentum=0.5, step=0.5)",
        ],
        "aggregate" => &["mean(by=expected)", "sum(0.5)", "trimmed(0.4)", "krum(0)", "bucketing(2, then=geometric)"],
        "exchange" => &[
            "star",
            "star(down=topk(0.2), feedback=residual)",
            "star(down=sign)",
            "star(down=topk(0.2), feedback=ef21)",
            "star(down=dense, feedback=residual(1))",
            "two_phase(down=topk(0.2))",
            "two_phase(down=dense, piece=7)",
        ],
        "topology" => &["hosts(1)", "hosts(3)"],
        "participation" => &[
            "sampled(3, clients=5)",
            "sampled(5, clients=5)",
            "sampled(1, clients=1)",
            "sampled(2, clients=7, over=1.5)",
            "sampled(2, clients=5, deadline=0.4, least=2)",
            "poisson(0.7, clients=4)",
            "first_b(2)",
            "first_b(3)",
            "buffered(2)",
            "buffered(3, clients=8)",
            "poisson(4, clients=4)",
        ],
        "staleness" => &["any", "bounded(2)", "discount(1)", "distance(0.1)"],
        "privacy" => &[
            "gaussian(noise=1, clip=0.5)",
            "gaussian(noise=0, clip=none)",
            "gaussian(noise=0.5, clip=0.1, trust=server)",
            "gaussian(noise=0.5, clip=0.1, remember=clean)",
            "gaussian(noise=1, clip=0.1, unit=sample)",
            "gaussian(epsilon=20, clip=0.1)",
            "gaussian(epsilon=9, noise=2, clip=0.1)",
        ],
        "outer" => &["fedyogi(rate=0.1)", "momentum(0.9, nesterov=true)", "momentum(0.5, rate=0.7)", "momentum(0)"],
        "buffers" => &["reestimate(2)"],
        "fabric" => &[
            "threads(attack=sign_flip, liars=1)",
            "threads(slow=1, factor=9)",
            "sim(attack=alie(1), liars=2)",
            "sim",
            "sim(loss=0.2, fail=0.3, spread=1)",
        ],
        "placement" => &[
            "pipeline(blocks=1)",
            "pipeline(capacity=2)",
            "pipeline(capacity=0)",
            "pipeline(capacity=0, micro=3)",
            "pipeline(stale=stash)",
            "pipeline(stale=stash, ring=true)",
            "pipeline(ring=true)",
        ],
        _ => &[],
    }
}

/// What may be drawn on an axis, the neutral element first. Tasks and partitions are the faces' to choose.
fn pool(axis: &str) -> Vec<String> {
    let axis = AXES.iter().find(|a| a.name == axis).unwrap();
    let names = (axis.elements)().into_iter().map(|listing| listing.name.to_owned());
    let all = names.chain(settings(axis.name).iter().map(|s| (*s).to_owned()));
    std::iter::once(axis.neutral.to_owned()).chain(all).collect()
}

fn drawn_axes() -> impl Iterator<Item = &'static str> {
    AXES.iter().map(|a| a.name).filter(|name| !["task", "partition"].contains(name))
}

/// The recipe of a draw: an axis is neutral, or takes one of its pool.
fn mixed(draw: &[(u8, usize)]) -> Recipe {
    let mut recipe = Recipe::default();
    for (axis, (turn, which)) in drawn_axes().zip(draw) {
        let pool = pool(axis);
        let chosen = if *turn < 4 { &pool[0] } else { &pool[which % pool.len()] };
        recipe.choose(axis, &Element::parse(chosen).unwrap()).unwrap();
    }
    recipe
}

/// Fills in what `auto` stands for, and judges.
fn judged(recipe: &Recipe, rows: &[f32]) -> Result<Recipe, sordino::base::Error> {
    let mut recipe = recipe.clone();
    if recipe.choice("privacy")?.name == "gaussian" {
        recipe.set("privacy.seed=3")?;
    }
    recipe.resolve(&Defaults { clients: 12, batch: 4, ..Defaults::default() })?;
    // Noise for a budget is solved for once the rest is known to make sense.
    let mut known = recipe.clone();
    if recipe.choice("privacy")?.named.contains_key("epsilon") && !recipe.choice("privacy")?.named.contains_key("noise")
    {
        known.set("privacy.noise=1")?;
    }
    check(&known)?;
    let clients = recipe.participation()?.clients(RANKS);
    recipe.solve(STEPS, RANKS, &rows[..clients])?;
    check(&recipe)?;
    Ok(recipe)
}

/// The two axes that a refusal names; fails where it does not read as one.
fn named(refusal: &sordino::base::Error) -> Result<[String; 2], TestCaseError> {
    let text = refusal.to_string();
    let whole = || TestCaseError::fail(format!("not a refusal of two choices with a cure: {text}"));
    let axis = |part: &str| part.split_once('=').map(|(axis, _)| axis.trim_start_matches('`').to_owned());
    let (one, other) = text.split_once("` with `").ok_or_else(whole)?;
    let both = [axis(one).ok_or_else(whole)?, axis(other).ok_or_else(whole)?];
    let axes = both.iter().all(|axis| AXES.iter().any(|a| a.name == axis));
    let cured = text.rsplit_once("; ").is_some_and(|(_, cure)| cure.len() > 8);
    if refusal.kind() == Kind::Request && axes && cured { Ok(both) } else { Err(whole()) }
}

/// Sets axes to neutral, one a refusal, until the mix makes sense.
fn mended(mut recipe: Recipe, rows: &[f32]) -> Result<(Recipe, usize), TestCaseError> {
    for refusals in 0..12 {
        let error = match judged(&recipe, rows) {
            Ok(sound) => return Ok((sound, refusals)),
            Err(error) => error,
        };
        let both = named(&error)?;
        let guilty = both.iter().rev().find(|axis| {
            let neutral = Element::parse(AXES.iter().find(|a| a.name == **axis).unwrap().neutral).unwrap();
            recipe.choice(axis).unwrap() != &neutral
        });
        let guilty = guilty.ok_or_else(|| TestCaseError::fail(format!("two neutral choices are refused: {error}")))?;
        let neutral = AXES.iter().find(|a| a.name == *guilty).unwrap().neutral;
        recipe.choose(guilty, &Element::parse(neutral).unwrap()).unwrap();
    }
    Err(TestCaseError::fail("twelve refusals, one after another"))
}

/// given = said + kept, to one unit in the last place of the larger term, where one voice spoke on this rank.
fn kept_what_was_not_said(ranks: &[Rank]) -> bool {
    ranks.iter().flat_map(|rank| &rank.rounds).filter(|round| round.told.spoke == 1).all(|round| {
        let residuals = round.state.vectors.iter().filter(|(name, _)| name.ends_with("/residual"));
        let mut residuals = residuals.filter(|(name, _)| !name.starts_with("exchange"));
        residuals.any(|(_, kept)| {
            round.given.iter().zip(&round.said).zip(kept).all(|((given, said), kept)| {
                let unit = f32::EPSILON * given.abs().max(said.abs()).max(kept.abs());
                (given - said - kept).abs() <= unit
            })
        })
    })
}

fn holds(what: &str, holds: bool) -> Result<(), TestCaseError> {
    if holds { Ok(()) } else { Err(TestCaseError::fail(what.to_owned())) }
}

/// Whether federated clients may fail to report.
fn crashes(recipe: &Recipe) -> bool {
    recipe.choice("fabric").unwrap().named.contains_key("fail") && recipe.participation().unwrap().federated()
}

/// Serves workers as they come, and holds the run to the laws; whether it ran, and did not diverge.
fn served_lawful(recipe: &Recipe, task: &dyn Task) -> Result<bool, TestCaseError> {
    // A virtual clock says who comes first; threads are told.
    let (mut sim, mut threads) = (recipe.clone(), recipe.clone());
    if recipe.choice("fabric").unwrap().name == "threads" {
        sim.set("fabric=sim(spread=1, flutter=0.5)").unwrap();
    }
    threads.set("fabric=threads").unwrap();
    let trial = Trial::new(&sim, task, RANKS, SEED, STEPS);
    let failed = |what: &'static str| move |e: sordino::base::Error| TestCaseError::fail(format!("{what}: {e}"));
    let whole = match trial.served(&Served::default()) {
        Ok(run) => run,
        Err(e) if e.kind() == Kind::Diverged => return Ok(false),
        Err(e) if e.kind() == Kind::Request => {
            let text = e.to_string();
            let late = ["running statistics", "krum against"].iter().any(|known| text.contains(known));
            holds(&format!("a refusal that a run alone can make: {text}"), late && text.contains("; "))?;
            return Ok(false);
        }
        Err(e) => return Err(failed("it is not served")(e)),
    };
    let models = |run: &ServedRun| hashes(&run.models.iter().map(|m| &m[..]).collect::<Vec<_>>());
    let heard = |run: &ServedRun| run.updates.iter().map(|u| u.words.len()).sum::<usize>();
    holds("an update was made", !whole.updates.is_empty() && heard(&whole) >= whole.updates.len())?;
    let again = trial.served(&Served::default()).map_err(failed("it is not served again"))?;
    holds("a virtual clock decides alike", models(&again) == models(&whole) && again.order == whole.order)?;
    let replay = Served { replay: Some(whole.order.clone()), ..Served::default() };
    let replayed = Trial { recipe: &threads, ..trial }.served(&replay).map_err(failed("it is not replayed"))?;
    holds("threads that are told the order = sim", models(&replayed) == models(&whole))?;
    let first = trial.served(&Served { until: Some(1), ..Served::default() }).map_err(failed("it does not stop"))?;
    let rest = trial.served(&Served { from: Some(first.states), ..Served::default() });
    let rest = rest.map_err(failed("it does not go on"))?;
    holds("stopping and going on is going on", models(&rest) == models(&whole)[1..])?;
    holds("what is remembered goes on", rest.workers == whole.workers)?;
    Ok(true)
}

/// Runs three rounds and holds them to the laws; whether it ran, and did not diverge.
fn lawful(recipe: &Recipe, task: &dyn Task) -> Result<bool, TestCaseError> {
    if recipe.participation().unwrap().served().is_some() {
        return served_lawful(recipe, task);
    }
    let trial = Trial { rounds: 3, ..Trial::new(recipe, task, RANKS, SEED, STEPS) };
    let ranks = match trial.run() {
        Ok(ranks) => ranks,
        Err(e) if e.kind() == Kind::Diverged => return Ok(false),
        // Only a run knows that the model has buffers, and how many speak: in a pipeline copies of the network do.
        Err(e) if e.kind() == Kind::Request => {
            let text = e.to_string();
            let late = ["running statistics", "krum against", "somebody must be honest", "must be a multiple"]
                .iter()
                .any(|known| text.contains(known));
            holds(&format!("a refusal that a run alone can make: {text}"), late && text.contains("; "))?;
            return Ok(false);
        }
        Err(e) => return Err(TestCaseError::fail(format!("{:?}: {e}", e.kind()))),
    };
    let first = &ranks[0];
    let models = hashes(&first.models());
    holds("a round was made", models.len() > 1)?;
    holds("all ranks hold the same models", ranks.iter().all(|rank| hashes(&rank.models()) == models))?;
    for rank in &ranks {
        for (mine, first) in rank.rounds.iter().zip(&first.rounds) {
            let of = |r: &sordino::testing::Round| (r.told.steps, r.told.voices, r.told.epsilon.map(f64::to_bits));
            holds("all ranks tell the same", of(mine) == of(first))?;
        }
    }
    let clean = recipe.choice("privacy").unwrap().named.get("remember").is_some_and(|v| v.to_string() == "clean");
    if recipe.choice("feedback").unwrap().name == "residual" && !clean {
        holds("given = said + kept", kept_what_was_not_said(&ranks))?;
    }
    let mut ledger = first.ledger.clone();
    ranks[1..].iter().for_each(|rank| ledger.merge(&rank.ledger));
    let messages = |from, to| {
        let payload = ledger.flows().filter(|(l, _)| (l.from, l.to) == (from, to) && l.purpose == Purpose::Payload);
        payload.map(|(_, flow)| flow.messages).sum::<u64>()
    };
    let participation = recipe.participation().unwrap();
    if participation.federated() {
        let mut asked = Vec::new();
        let invited: usize = (0..first.rounds.len() as u64)
            .map(|round| {
                participation.asked(SEED, round, RANKS, &mut asked);
                asked.len()
            })
            .sum();
        let heard: u64 = first.rounds.iter().map(|round| round.told.voices).sum();
        holds("everybody that is asked hears the model", messages(Party::Server, Party::Clients) == invited as u64)?;
        holds("a voice is a message", messages(Party::Clients, Party::Server) == heard)?;
    } else {
        let spoke: u64 = ranks.iter().flat_map(|rank| &rank.rounds).map(|round| round.told.spoke).sum();
        holds("everybody speaks", spoke == (RANKS * first.rounds.len()) as u64)?;
        holds("clients are none", messages(Party::Clients, Party::Server) == 0)?;
    }
    // Who plays a client, and through what ranks talk, is nobody's business where nobody is in a hurry.
    let same = |trial: &Trial| trial.run().is_ok_and(|ranks| hashes(&ranks[0].models()) == models);
    if participation.federated() {
        holds("the number of ranks does not matter", same(&Trial { workers: 1, ..trial }))?;
        holds("the number of ranks does not matter", same(&Trial { workers: 5, ..trial }))?;
    }
    let fabric = recipe.choice("fabric").unwrap();
    if !participation.hurries() && !crashes(recipe) && !fabric.named.contains_key("attack") {
        let other = if fabric.name == "sim" { "fabric=threads" } else { "fabric=sim(loss=0.1)" };
        let mut elsewhere = recipe.clone();
        elsewhere.set(other).unwrap();
        holds("sim = threads", same(&Trial { recipe: &elsewhere, ..trial }))?;
    }
    let states: Vec<_> = ranks.iter().map(|rank| rank.rounds[0].state.clone()).collect();
    let rest = trial.resume(&states).map_err(|e| TestCaseError::fail(format!("it does not go on: {e}")))?;
    for (whole, rest) in ranks.iter().zip(&rest) {
        holds("stopping and going on is going on", hashes(&rest.models()) == hashes(&whole.models()[1..]))?;
        for (a, b) in whole.rounds[1..].iter().zip(&rest.rounds) {
            // A resumed world starts its clocks anew, and times are no state of training.
            let timeless = |state: &sordino::base::State| {
                let mut state = state.clone();
                state.numbers.remove("times");
                state
            };
            holds("what is remembered goes on", timeless(&a.state) == timeless(&b.state))?;
            holds("what is told goes on", format!("{:?}", a.told) == format!("{:?}", b.told))?;
        }
    }
    Ok(true)
}

#[test]
fn every_mix_runs_and_keeps_the_laws_or_is_refused_with_two_names_and_a_cure() {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let axes = drawn_axes().count();
    let draws = (proptest::collection::vec((0..8u8, 0..64usize), axes), any::<bool>());
    let (ran, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let result = runner.run(&draws, |(draw, buffered)| {
        const PLAIN: Quadratic =
            Quadratic { dim: 96, low: 0.1, high: 1.0, spread: 1.0, skew: 0.3, noise: 0.1, start: 0.5 };
        let mixed = mixed(&draw);
        let task = with_duals(&mixed, if buffered { &Buffered } else { &PLAIN });
        // Whether a mix makes sense is judged before there is a task; what is to be cut gets one that can be.
        let workload = task.workload(16, SEED).unwrap();
        let rows: Vec<f32> = (0..16).map(|client| workload.rows(client) as f32).collect();
        let (recipe, refusals) = mended(mixed, &rows)?;
        refused.set(refused.get() + usize::from(refusals > 0));
        let task = if recipe.placement().unwrap() == Placement::Replicate { task } else { &CHAIN };
        let told = |e: TestCaseError| TestCaseError::fail(format!("{e}; buffers: {buffered}\n{}", recipe.to_toml()));
        ran.set(ran.get() + usize::from(lawful(&recipe, task).map_err(told)?));
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    let (ran, refused) = (ran.get(), refused.get());
    assert!(ran > CASES as usize / 2, "only {ran} of {CASES} mixes ran");
    assert!(refused > CASES as usize / 8, "only {refused} of {CASES} mixes were refused at first");
}

#[test]
fn every_element_of_every_axis_may_be_drawn() {
    for axis in AXES.iter().filter(|a| !["task", "partition"].contains(&a.name)) {
        let pool = pool(axis.name);
        for listing in (axis.elements)() {
            assert!(pool.iter().any(|element| element == listing.name), "{}={}", axis.name, listing.name);
        }
        for element in pool {
            axis.normalise(&Element::parse(&element).unwrap())
                .unwrap_or_else(|e| panic!("{}={element}: {e}", axis.name));
        }
    }
}
