//! Dual coordinate ascent: in rounds of everybody, and by a server that goes on with the first workers that come.
//!
//! The gap of model and dual variables is half the mean square of what rows lack, so its root moves by no more than the
//! models (rows are of length 1) and the variables do: there roundings are compared.

use std::sync::Arc;

use sordino::base::{State, Stream, Use};
use sordino::testing::{Rank, Served, ServedRun, Trial};
use sordino::workload::{Deal, Ridge};

use super::{ROUNDING, SEED, compare, models};
use crate::oracle::{
    acpd,
    acpd::Down,
    cocoa, cocoa_plus,
    dual::{Data, Held, Solver, rounds},
};
use crate::worlds::{gap, ridge, row, wide};

const WORKERS: usize = 4;
const UNEQUAL: [usize; WORKERS] = [48, 36, 24, 12];
const EVEN: [usize; WORKERS] = [30; WORKERS];

/// Ridge regression whose workers hold so many rows, one worker after another; and the same as the reference has it.
fn posed(sizes: &[usize]) -> (Ridge, Data) {
    let (mut first, mut shards) = (0, Vec::new());
    for size in sizes {
        shards.push(first..first + size);
        first += size;
    }
    let lists = shards.iter().map(|shard| shard.clone().map(|row| row as u32).collect()).collect();
    let task = Ridge { deal: Deal::Shards(Arc::new(lists)), ..ridge(sizes.len()) };
    let dense = |row: usize| {
        let (row, mut out) = (task.train.example(row), vec![0.0; task.features]);
        row.columns.iter().zip(row.values).for_each(|(c, v)| out[*c as usize] = f64::from(*v));
        out
    };
    let data =
        Data { rows: (0..first).map(dense).collect(), labels: wide(&task.train.labels), shards, lambda: task.l2 };
    (task, data)
}

/// The rows that the library picks: by the number of a client's steps.
fn picks(data: &Data, steps: usize, seed: u64) -> impl Fn(usize, u64, usize) -> usize {
    let sizes: Vec<u64> = data.shards.iter().map(|shard| shard.len() as u64).collect();
    move |k, job, step| {
        let mut stream = Stream::new(seed, Use::Batch, k as u64, job * steps as u64 + step as u64);
        stream.below(sizes[k]) as usize
    }
}

/// The reference's variables as the library keeps them: without the label, the `k`-th worker's.
fn own(data: &Data, alpha: &[f64], k: usize) -> Vec<f64> {
    data.shards[k].clone().map(|i| data.labels[i] * alpha[i]).collect()
}

fn kept<'a>(state: &'a State, name: &str) -> &'a [f32] {
    &state.vectors[name]
}

fn points(held: &[Held]) -> Vec<Vec<f64>> {
    held.iter().map(|held| held.w.clone()).collect()
}

/// The library's dual variables after every round are the reference's.
fn variables(data: &Data, ranks: &[Rank], held: &[Held]) {
    for (round, held) in held[1..].iter().enumerate() {
        for (k, rank) in ranks.iter().enumerate() {
            let found = wide(kept(&rank.rounds[round].state, "local/duals"));
            assert!(gap(&found, &own(data, &held.alpha, k)) < ROUNDING, "round {round}, worker {k}");
        }
    }
}

/// Forty rounds of synchronous ascent in the reference.
fn solved(data: &Data, (sigma, curvature, gamma): (f64, f64, f64), (steps, seed): (usize, u64)) -> Vec<Held> {
    let pick = picks(data, steps, seed);
    rounds(data, &Solver { sigma, curvature, steps, pick: &pick }, gamma, 40)
}

#[test]
fn averaged_and_added_moves_are_those_of_cocoa_and_cocoa_plus() {
    // A pass over as many rows as a worker has, where all have as many; or so many rows each.
    for (schedule, steps, sizes) in [("epochs(1)", 30, EVEN), ("constant(20)", 20, UNEQUAL)] {
        let (task, data) = posed(&sizes);
        let schedule = format!("schedule={schedule}");
        let library = |name: &str, sets: &[&str]| {
            let recipe = row(name, &[&[schedule.as_str()], sets].concat());
            Trial::new(&recipe, &task, WORKERS, SEED, 40 * steps as u64).run().unwrap()
        };
        let pick = picks(&data, steps, SEED);
        let reference = |sigma, curvature, gamma| solved(&data, (sigma, curvature, gamma), (steps, SEED));
        let other = |sigma, curvature, gamma| points(&solved(&data, (sigma, curvature, gamma), (steps, SEED + 1)));

        let found = library("cocoa", &[]);
        let held = cocoa::run(&data, &cocoa::Settings { steps, pick: &pick }, 40);
        let twice = points(&reference(1.0, 1.0, 1.0 / 16.0));
        let never = points(&reference(1.0, 1.0, 1.0));
        compare("cocoa", &models(&found), &points(&held), &[twice, never, other(1.0, 1.0, 0.25)]);
        variables(&data, &found, &held);

        let found = library("cocoa-plus", &[]);
        let held = cocoa_plus::run(&data, &cocoa_plus::Settings { steps, pick: &pick }, 40);
        let blunt = points(&reference(4.0, 1.0, 1.0));
        let alone = points(&reference(1.0, 4.0, 1.0));
        compare("cocoa-plus", &models(&found), &points(&held), &[blunt, alone, other(4.0, 4.0, 1.0)]);
        variables(&data, &found, &held);

        // Half of the sum, for which σ' is half as large; and the curvature of the authors' code.
        for (sets, curvature) in
            [(&["aggregate.gamma=0.5"][..], 2.0), (&["aggregate.gamma=0.5", "local.curvature=code"], 1.0)]
        {
            let found = library("cocoa-plus", sets);
            let held = reference(2.0, curvature, 0.5);
            let controls = [points(&reference(2.0, 3.0 - curvature, 0.5)), points(&reference(4.0, curvature, 0.5))];
            compare("cocoa-plus, halved", &models(&found), &points(&held), &controls);
            variables(&data, &found, &held);
        }
    }
}

/// What a served run of `acpd` is to be.
#[derive(Clone, Copy)]
struct Plan {
    /// B.
    group: usize,
    /// T.
    inner: u64,
    /// s of forty.
    keep: usize,
    down: Down,
    gamma: f64,
    /// Whether σ' is left out of the curvature.
    code: bool,
    sizes: [usize; WORKERS],
}

/// H.
const STEPS: usize = 25;
/// Updates of a run, at least.
const UPDATES: u64 = 40;

impl Plan {
    const ROW: Self = Self { group: 2, inner: 5, keep: 4, down: Down::Top, gamma: 0.5, code: false, sizes: UNEQUAL };

    fn outer(&self) -> u64 {
        UPDATES.div_ceil(self.inner)
    }

    /// The library's run on unequal workers, broken off after so many updates.
    fn library(&self, task: &Ridge, until: u64) -> ServedRun {
        let topk = format!("topk({}, scope=model)", ((self.keep as f64 + 0.5) / 40.0).min(1.0));
        let exchange = match self.down {
            Down::Top => format!("exchange=star(down={topk}, feedback=residual)"),
            Down::Pending => "exchange=star".into(),
        };
        let sets = [
            "fabric=sim(spread=0.8, flutter=0.5, slow=1, factor=7)".into(),
            format!("schedule=constant({STEPS})"),
            format!("participation=first_b({})", self.group),
            format!("staleness=bounded({})", self.inner),
            format!("compress={topk}"),
            format!("aggregate=sum({})", self.gamma),
            format!("local=dual(curvature={})", if self.code { "code" } else { "full" }),
            exchange,
        ];
        let recipe = row("acpd", &sets.each_ref().map(String::as_str));
        // Far from its end, so that every piece of work is whole.
        let served = Served { until: Some(until), ..Served::default() };
        Trial::new(&recipe, task, WORKERS, SEED, 1 << 30).served(&served).unwrap()
    }

    /// The reference under the arrivals of `run`.
    fn reference(&self, data: &Data, seed: u64, arrivals: &dyn Fn(u64, u64) -> Vec<usize>) -> acpd::Run {
        let settings = acpd::Settings {
            gamma: self.gamma,
            group: self.group,
            inner: self.inner,
            keep: self.keep,
            down: self.down,
            steps: STEPS,
            curvature: self.code.then_some(1.0),
            pick: &picks(data, STEPS, seed),
            arrivals,
        };
        acpd::run(data, &settings, self.outer())
    }

    /// The models after every update: in the last of an outer round after what was left unsaid.
    fn models(&self, run: &acpd::Run) -> Vec<Vec<f64>> {
        let after = |(at, held): (usize, &acpd::Held)| {
            let at = at as u64 + 1;
            if at.is_multiple_of(self.inner) { run.outer[(at / self.inner) as usize].w.clone() } else { held.w.clone() }
        };
        std::iter::once(run.outer[0].w.clone()).chain(run.inner.iter().enumerate().map(after)).collect()
    }
}

#[test]
fn a_server_that_goes_on_with_the_first_that_come_is_acpd() {
    let row = Plan::ROW;
    let plans = [
        row,
        Plan { down: Down::Pending, ..row },
        Plan { code: true, sizes: EVEN, ..row },
        Plan { group: 1, inner: 7, gamma: 1.0, ..row },
        Plan { group: 3, inner: 4, keep: 2, gamma: 0.3, ..row },
        // Everybody in every update: what is left unsaid waits for the last one all the same.
        Plan { group: 4, ..row },
        Plan { group: 4, down: Down::Pending, sizes: EVEN, ..row },
        // Nobody is left out of any update, nor any entry of a word.
        Plan { group: 4, inner: 1, keep: 40, ..row },
    ];
    for (at, plan) in plans.into_iter().enumerate() {
        let (task, data) = posed(&plan.sizes);
        let last = plan.outer() * plan.inner;
        let found = plan.library(&task, last);
        let order = |l: u64, j: u64| {
            let update = &found.updates[(l * plan.inner + j) as usize];
            update.words.iter().map(|word| word.worker).collect::<Vec<_>>()
        };
        assert!(found.updates.iter().flat_map(|u| &u.words).all(|word| word.steps == STEPS as u64), "plan {at}");
        assert!(found.updates.iter().flat_map(|u| &u.words).all(|word| word.delay < plan.inner), "plan {at}");
        let of = |plan: Plan| plan.models(&plan.reference(&data, SEED, &order));
        let reference = plan.reference(&data, SEED, &order);
        let expected = plan.models(&reference);
        let mut controls =
            vec![of(Plan { code: !plan.code, ..plan }), plan.models(&plan.reference(&data, SEED + 1, &order))];
        if plan.keep < 40 {
            let down = if plan.down == Down::Top { Down::Pending } else { Down::Top };
            controls.extend([of(Plan { down, ..plan }), of(Plan { keep: plan.keep + 1, ..plan })]);
        }
        if plan.group < WORKERS {
            let turned = |l: u64, j: u64| order(l, j).iter().map(|k| (k + 1) % WORKERS).collect();
            controls.push(plan.models(&plan.reference(&data, SEED, &turned)));
        }
        let library: Vec<Vec<f64>> = found.models.iter().map(|model| wide(model)).collect();
        compare(&format!("acpd, plan {at}"), &library, &expected, &controls);

        for (k, state) in found.workers.iter().enumerate() {
            let alpha = &reference.outer.last().unwrap().alpha;
            assert!(gap(&wide(kept(state, "local/duals")), &own(&data, alpha, k)) < ROUNDING, "plan {at}, worker {k}");
            assert!(kept(state, "feedback/residual").iter().all(|e| *e == 0.0), "plan {at}, worker {k}");
        }
        gaps(at, &plan, &data, (&found, &reference));
        unsaid(at, &plan, &data, (&task, &reference));
    }
}

/// The gaps that were told are the reference's: at every outer boundary; between them too, where everybody is there.
fn gaps(at: usize, plan: &Plan, data: &Data, (found, reference): (&ServedRun, &acpd::Run)) {
    let told: Vec<u64> = found.updates.iter().filter(|u| u.everybody).map(|u| u.version).collect();
    assert_eq!(told.len(), found.gaps.len(), "plan {at}");
    let mut compared = 0;
    for (version, told) in told.into_iter().zip(&found.gaps) {
        let held = if version.is_multiple_of(plan.inner) {
            compared += 1;
            &reference.outer[(version / plan.inner) as usize]
        } else {
            &reference.inner[version as usize - 1]
        };
        let whole = data.gap(&held.w, &held.alpha).max(0.0);
        if version.is_multiple_of(plan.inner) || plan.keep == 40 {
            assert!((told.sqrt() - whole.sqrt()).abs() < ROUNDING, "plan {at}, update {version}: {told:e} {whole:e}");
        } else {
            // What is not said yet widens it.
            assert!(told.sqrt() > whole.sqrt() - ROUNDING, "plan {at}, update {version}: {told:e} {whole:e}");
        }
    }
    assert_eq!(compared, plan.outer(), "plan {at}");
    let first = data.gap(&reference.outer[0].w, &reference.outer[0].alpha);
    assert!(first > 0.1 && found.gaps.last().unwrap() < &(0.1 * first), "plan {at}: {:?}", found.gaps);
}

/// Within an outer round, those that have just spoken remember what the reference says they left out.
fn unsaid(at: usize, plan: &Plan, data: &Data, (task, reference): (&Ridge, &acpd::Run)) {
    if plan.inner == 1 {
        return;
    }
    let until = plan.inner + 2;
    let run = plan.library(task, until);
    let held = &reference.inner[until as usize - 1];
    for word in &run.updates[until as usize - 1].words {
        let (k, state) = (word.worker, &run.states[word.worker]);
        let owed: Vec<f64> = held.residuals[k].iter().map(|e| -e).collect();
        assert!(owed.iter().any(|e| e.abs() > 1e-3), "plan {at}, worker {k}");
        assert!(gap(&wide(kept(state, "feedback/residual")), &owed) < ROUNDING, "plan {at}, worker {k}");
        assert!(gap(&wide(kept(state, "local/duals")), &own(data, &held.alpha, k)) < ROUNDING, "plan {at}, worker {k}");
    }
}
