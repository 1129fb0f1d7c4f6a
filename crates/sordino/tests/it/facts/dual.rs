//! Facts of distributed dual coordinate ascent, CoCoA and CoCoA+, on ridge regression.

use std::sync::Arc;

use sordino::base::{Kind, State, Stream, Use};
use sordino::engine::{Gap, Session};
use sordino::recipe::Recipe;
use sordino::testing::{Rank, Trial};
use sordino::workload::{Deal, Made, Quadratic, Ridge, Task, Workload};

use crate::worlds::{apart, gap, neutral, ridge, row, wide};

const SEED: u64 = 4;

/// The unit roundoff of f32.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// The problem in f64, written down once more.
struct Naive<'a>(&'a Ridge);

impl Naive<'_> {
    fn rows(&self) -> usize {
        self.0.train.labels.len()
    }

    fn entries(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.0.train.offsets[row]..self.0.train.offsets[row + 1];
        range.map(|at| (self.0.train.columns[at] as usize, f64::from(self.0.train.values[at])))
    }

    fn label(&self, row: usize) -> f64 {
        f64::from(self.0.train.labels[row])
    }

    /// C = 1/(l2·n).
    fn scale(&self) -> f64 {
        1.0 / (self.0.l2 * self.rows() as f64)
    }

    fn at(&self, row: usize, w: &[f64]) -> f64 {
        self.entries(row).map(|(c, v)| v * w[c]).sum()
    }

    /// w(β) = C Σ βx over some rows, or, with absolute values, what its roundings are measured by.
    fn model(&self, duals: &[(usize, f64)], size: bool) -> Vec<f64> {
        let mut w = vec![0.0; self.0.features];
        for (row, dual) in duals {
            for (c, v) in self.entries(*row) {
                let term = self.scale() * dual * v;
                w[c] += if size { term.abs() } else { term };
            }
        }
        w
    }

    fn primal(&self, w: &[f64]) -> f64 {
        let losses: f64 = (0..self.rows()).map(|r| 0.5 * (self.at(r, w) - self.label(r)).powi(2)).sum();
        losses / self.rows() as f64 + 0.5 * self.0.l2 * w.iter().map(|v| v * v).sum::<f64>()
    }

    fn dual(&self, duals: &[(usize, f64)]) -> f64 {
        let w = self.model(duals, false);
        let sum: f64 = duals.iter().map(|(row, b)| b * self.label(*row) - 0.5 * b * b).sum();
        sum / self.rows() as f64 - 0.5 * self.0.l2 * w.iter().map(|v| v * v).sum::<f64>()
    }
}

fn shards(task: &Ridge) -> &[Vec<u32>] {
    match &task.deal {
        Deal::Shards(shards) => shards,
        Deal::Iid => panic!("shards"),
    }
}

/// Every row with its dual variable after round `round`, from what ranks, or clients that they play, remember.
fn duals(task: &Ridge, ranks: &[Rank], round: usize) -> Vec<(usize, f64)> {
    let find = |client: usize| {
        let own =
            (client < ranks.len()).then(|| ranks[client].rounds[round].state.vectors.get("local/duals")).flatten();
        let path = format!("clients/{client}/duals");
        own.or_else(|| ranks.iter().find_map(|r| r.rounds[round].state.vectors.get(&path)))
    };
    let of = |(client, shard): (usize, &Vec<u32>)| {
        let zeros = vec![0.0; shard.len()];
        let found = find(client).unwrap_or(&zeros);
        assert_eq!(found.len(), shard.len());
        shard.iter().map(|r| *r as usize).zip(wide(found)).collect::<Vec<_>>()
    };
    shards(task).iter().enumerate().flat_map(of).collect()
}

fn residual(state: &State, name: &str, len: usize) -> Vec<f64> {
    state.vectors.get(name).map_or_else(|| vec![0.0; len], |v| wide(v))
}

fn run(recipe: &Recipe, task: &Ridge, ranks: usize, steps: u64) -> Vec<Rank> {
    Trial::new(recipe, task, ranks, SEED, steps).run().unwrap()
}

/// The largest entry.
fn most(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max)
}

#[test]
fn the_model_with_what_is_owed_is_that_of_the_dual_variables_after_every_round() {
    let topk = ["compress=topk(0.2)", "feedback=residual(lambda=auto)"];
    let down = "exchange=star(down=topk(0.3), feedback=residual)";
    let cases: [(&str, Vec<&str>, f64); 9] = [
        ("cocoa", vec![], 0.25),
        ("cocoa-plus", vec![], 1.0),
        ("cocoa", vec!["exchange=gather", "schedule=constant(7)"], 0.25),
        ("cocoa-plus", vec!["exchange=star", "aggregate.gamma=0.3", "schedule=constant(50)"], 0.3),
        ("cocoa", [&["exchange=gather"], &topk[..]].concat(), 0.25),
        ("cocoa-plus", [&["exchange=gather", "aggregate.gamma=0.5"], &topk[..]].concat(), 0.5),
        ("cocoa-plus", [&[down], &topk[..]].concat(), 1.0),
        ("cocoa-plus", vec!["compress=qsgd", "feedback=residual(lambda=auto)", "exchange=gather"], 1.0),
        ("cocoa-plus", vec!["participation=sampled(2, clients=5)", "exchange=star"], 1.0),
    ];
    for (name, sets, gamma) in cases {
        let recipe = row(name, &sets);
        let task = ridge(recipe.participation().unwrap().clients(4));
        let (ranks, naive) = (run(&recipe, &task, 4, 1200), Naive(&task));
        let (mut slack, mut moved) = (0.0, 0.0f64);
        for (at, round) in ranks[0].rounds.iter().enumerate() {
            let duals = duals(&task, &ranks, at);
            let (expected, size) = (naive.model(&duals, false), naive.model(&duals, true));
            let mut model = wide(&round.model);
            for rank in &ranks {
                let state = &rank.rounds[at].state;
                let own = residual(state, "feedback/residual", model.len());
                let server = residual(state, "exchange/residual", model.len());
                model.iter_mut().zip(own).zip(server).for_each(|((w, e), s)| *w -= gamma * e + s);
            }
            // A round rounds an offer at every step, sums at every voice, the model and what is owed once, and duals.
            let given = ranks.iter().map(|r| most(&r.rounds[at].given)).fold(0.0, f64::max);
            let steps = round.told.silence as f64 + 12.0;
            slack += UNIT * (steps * given + 4.0 * most(&round.model) + 2.0 * size.iter().copied().fold(0.0, f64::max));
            let off = model.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= slack, "{name} {sets:?}, round {at}: off by {off:e}, roundings come to {slack:e}");
            moved = moved.max(expected.iter().fold(0.0, |m: f64, w| m.max(w.abs())));
        }
        assert!(moved > 0.3 && slack < 0.01 * moved, "{name} {sets:?}: {moved} is no test of {slack}");
        // The control: variables that were scaled twice, or never, are those of another model.
        if gamma < 1.0 {
            let last = ranks[0].rounds.len() - 1;
            let twice: Vec<_> = duals(&task, &ranks, last).iter().map(|(r, b)| (*r, b * gamma)).collect();
            assert!(gap(&naive.model(&twice, false), &wide(ranks[0].last())) > 10.0 * slack, "{name} {sets:?}");
        }
    }
}

#[test]
fn an_offer_is_not_scaled_and_the_dual_variables_are_exactly_once() {
    for (name, sets, gamma) in [("cocoa", vec![], 0.25), ("cocoa-plus", vec!["aggregate.gamma=0.5"], 0.5)] {
        let (task, recipe) = (ridge(4), row(name, &sets));
        let (ranks, naive) = (run(&recipe, &task, 4, 30), Naive(&task));
        let after = duals(&task, &ranks, 0);
        for (rank, shard) in ranks.iter().zip(shards(&task)) {
            let own = after.iter().filter(|(row, _)| shard.contains(&(*row as u32)));
            let whole: Vec<_> = own.map(|(row, b)| (*row, -b / gamma)).collect();
            assert!(gap(&naive.model(&whole, false), &wide(&rank.rounds[0].given)) < 1e-6, "{name}");
        }
        let mut model = vec![0.0; task.features];
        for rank in &ranks {
            model.iter_mut().zip(&rank.rounds[0].given).for_each(|(w, d)| *w -= gamma * f64::from(*d));
        }
        assert!(gap(&model, &wide(&ranks[0].rounds[0].model)) < 1e-6, "{name}");
        assert!(gap(&model, &wide(&ranks[0].start)) > 0.05, "nothing moved");
    }
}

/// What every rank tells of the gap, round after round.
fn parts(recipe: &Recipe, task: &Ridge, ranks: usize, steps: u64) -> Vec<Vec<Gap>> {
    let tell = |mut session: Session, mut workload: Box<dyn Workload>| {
        let mut parts = Vec::new();
        while !session.done() {
            session.round(&mut *workload, 0)?;
            let model = session.evaluated(&mut *workload)?.parameters;
            parts.extend(session.certificate(&mut *workload, &model)?);
        }
        Ok(parts)
    };
    let all = Trial::new(recipe, task, ranks, SEED, steps).with(|port| Box::new(port), tell).unwrap();
    (0..all[0].len()).map(|at| all.iter().map(|parts| parts[at]).collect()).collect()
}

/// The gap after every round.
fn gaps(recipe: &Recipe, task: &Ridge, ranks: usize, steps: u64) -> Vec<f64> {
    parts(recipe, task, ranks, steps).into_iter().map(Gap::whole).collect()
}

#[test]
fn the_parts_of_the_gap_add_up_to_the_primal_less_the_dual() {
    let task = ridge(4);
    let naive = Naive(&task);
    for name in ["cocoa", "cocoa-plus"] {
        let recipe = row(name, &[]);
        let (ranks, told) = (run(&recipe, &task, 4, 600), gaps(&recipe, &task, 4, 600));
        assert_eq!(told.len(), ranks[0].rounds.len());
        for (at, told) in told.iter().enumerate() {
            let duals = duals(&task, &ranks, at);
            // The model in f64 of the same variables: what f32 makes of it moves the gap by less.
            let w = naive.model(&duals, false);
            let whole = naive.primal(&w) - naive.dual(&duals);
            assert!((told - whole).abs() < 1e-6 * whole.sqrt().max(1e-6), "{name}, round {at}: {told:e} {whole:e}");
        }
    }
}

#[test]
fn what_is_owed_is_what_the_slack_of_rows_lacks_of_the_gap_at_the_most() {
    let task = ridge(4);
    let naive = Naive(&task);
    for sets in [
        &["exchange=gather"][..],
        &["exchange=star(down=topk(0.3), feedback=residual)"],
        &["aggregate.gamma=0.5", "exchange=gather"],
    ] {
        let sets = [&["compress=topk(0.1)", "feedback=residual(lambda=auto)"], sets].concat();
        let recipe = row("cocoa-plus", &sets);
        let (ranks, told) = (run(&recipe, &task, 4, 900), parts(&recipe, &task, 4, 900));
        let mut lacked = 0.0f64;
        for (at, parts) in told.iter().enumerate() {
            let (w, duals) = (wide(&ranks[0].rounds[at].model), duals(&task, &ranks, at));
            let whole = naive.primal(&w) - naive.dual(&duals);
            let unsaid = |(w, of): (f64, f64)| (w - of) * (w - of);
            let off: f64 = w.into_iter().zip(naive.model(&duals, false)).map(unsaid).sum();
            let slack: f64 = parts.iter().map(|part| part.slack).sum();
            assert!((slack + 0.5 * task.l2 * off - whole).abs() < 1e-6, "{sets:?}, round {at}: {slack:e} {whole:e}");
            let bound = Gap::whole(parts.iter().copied());
            assert!(whole <= bound + 1e-6, "{sets:?}, round {at}: {whole:e} is above {bound:e}");
            lacked = lacked.max(whole - slack);
        }
        assert!(lacked > 1e-4, "{sets:?}: nothing was owed that matters: {lacked:e}");
    }
}

#[test]
fn the_gap_is_never_negative_and_falls_geometrically() {
    let task = ridge(4);
    for (name, sets) in [
        ("cocoa", vec![]),
        ("cocoa-plus", vec![]),
        ("cocoa-plus", vec!["aggregate.gamma=0.5", "exchange=star"]),
        ("cocoa-plus", vec!["compress=topk(0.3)", "feedback=residual(lambda=auto)", "exchange=gather"]),
    ] {
        let found = gaps(&row(name, &sets), &task, 4, 60 * 60);
        assert!(found.iter().all(|gap| *gap >= 0.0), "{name} {sets:?}");
        let blocks: Vec<f64> = found.chunks(20).map(|c| c.iter().copied().fold(0.0, f64::max)).collect();
        // Down to what f32 leaves of a gap near 1: the square of its unit, times the rows' number of entries and more.
        for pair in blocks.windows(2) {
            assert!(pair[1] < 0.7 * pair[0] || pair[1] < 1e-11, "{name} {sets:?}: {blocks:?}");
        }
        assert!(*blocks.last().unwrap() < 1e-6, "{name} {sets:?}: {blocks:?}");
    }
}

#[test]
fn adding_up_is_faster_than_averaging_and_wants_its_factor_in_the_curvature() {
    let of = |l2: f64| Ridge { l2, ..ridge(8) };
    let at_end = |name: &str, sets: &[&str], l2| *gaps(&row(name, sets), &of(l2), 8, 150).last().unwrap();
    // Where rows hardly meet each worker's part of the move is right as it is, and the mean takes an eighth of it.
    let (averaged, added) = (at_end("cocoa", &[], 0.1), at_end("cocoa-plus", &[], 0.1));
    assert!(added < 0.01 * averaged, "{added:e} {averaged:e}");
    let task = of(1e-3);
    // The authors' curvature is right where nothing is added up ...
    assert_eq!(averaged, at_end("cocoa", &["local.curvature=code"], 0.1));
    // ... and throws a row past its best where σ' = 8: it is farther from the optimum than at the start, or nowhere.
    let code = row("cocoa-plus", &["local.curvature=code"]);
    match Trial::new(&code, &task, 8, SEED, 600).run() {
        Err(e) => assert_eq!(e.kind(), Kind::Diverged, "{e}"),
        Ok(ranks) => {
            let naive = Naive(&task);
            let (start, end) = (naive.primal(&wide(&ranks[0].start)), naive.primal(&wide(ranks[0].last())));
            assert!(end > 10.0 * start, "{end} {start}");
        }
    }
}

#[test]
fn one_worker_is_plain_dual_coordinate_ascent_by_whatever_name() {
    let task = ridge(1);
    let (naive, steps) = (Naive(&task), 900);
    let runs = ["cocoa", "cocoa-plus"].map(|name| run(&row(name, &["schedule=constant(30)"]), &task, 1, steps));
    for (a, b) in runs[0][0].rounds.iter().zip(&runs[1][0].rounds) {
        assert_eq!((&a.model, a.state.vectors.get("local/duals")), (&b.model, b.state.vectors.get("local/duals")));
    }
    // SDCA: every row to its best, the model with it at once.
    let (mut w, mut duals) = (vec![0.0; task.features], vec![0.0; naive.rows()]);
    let mut farthest = 0.0f64;
    for step in 0..steps {
        let row = Stream::new(SEED, Use::Batch, 0, step).below(naive.rows() as u64) as usize;
        let norm: f64 = naive.entries(row).map(|(_, v)| v * v).sum();
        let by = (naive.label(row) - duals[row] - naive.at(row, &w)) / (1.0 + naive.scale() * norm);
        duals[row] += by;
        for (c, v) in naive.entries(row) {
            w[c] += naive.scale() * by * v;
        }
        if (step + 1) % 30 == 0 {
            farthest = farthest.max(gap(&w, &wide(&runs[0][0].rounds[step as usize / 30].model)));
        }
    }
    assert!(farthest < 1e-5, "{farthest:e}");
    let two = run(&row("cocoa", &["schedule=constant(30)"]), &ridge(2), 2, steps);
    assert!(apart(two[0].last(), runs[0][0].last()) > 1e-3, "the control: two workers are not one");
}

#[test]
fn lambda_auto_is_sigma_among_the_ranks_that_there_are() {
    let task = ridge(8);
    let sets = |lambda: &str| {
        ["compress=topk(0.05)", &format!("feedback=residual(lambda={lambda})"), "exchange=gather"].map(str::to_owned)
    };
    let of = |gamma: f64, lambda: &str| {
        let gamma = format!("aggregate.gamma={gamma}");
        let sets = sets(lambda);
        row("cocoa-plus", &[&[gamma.as_str()][..], &sets.each_ref().map(String::as_str)].concat())
    };
    for (gamma, sigma) in [(1.0, "8"), (0.5, "4"), (0.3, "2.4")] {
        let auto = of(gamma, "auto");
        let mut solved = auto.clone();
        solved.solve(600, 8, &[15.0; 8]).unwrap();
        assert_eq!(solved.choice("feedback").unwrap().named["lambda"].to_string(), sigma);
        let (a, b) = (run(&auto, &task, 8, 600), run(&solved, &task, 8, 600));
        assert_eq!(a[0].models(), b[0].models(), "who builds it without solving means the same");
    }
    // Under a mean σ' is 1 whatever the number of workers, and under descent there is none.
    let mut mean = row("cocoa", &sets("auto").each_ref().map(String::as_str));
    mean.solve(600, 8, &[15.0; 8]).unwrap();
    assert_eq!(mean.choice("feedback").unwrap().named["lambda"].to_string(), "1");
    let descent = neutral(&["compress=topk(0.05)", "feedback=residual(lambda=auto)"]);
    assert_eq!(descent.choice("feedback").unwrap().named["lambda"].to_string(), "0");
}

#[test]
fn looking_ahead_of_what_is_unsaid_keeps_the_dual_rising() {
    let task = ridge(8);
    let naive = Naive(&task);
    // Many steps and one entry of forty a message: much is unsaid.
    let falls = |lambda: &str, seed: u64| {
        let feedback = format!("feedback=residual(lambda={lambda})");
        let sets = ["schedule=constant(200)", "compress=topk(0.03)", &feedback, "exchange=gather"];
        let ranks = Trial::new(&row("cocoa-plus", &sets), &task, 8, seed, 8000).run().unwrap();
        let values: Vec<f64> = (0..ranks[0].rounds.len()).map(|at| naive.dual(&duals(&task, &ranks, at))).collect();
        values.windows(2).filter(|pair| pair[1] < pair[0] - 1e-9).count()
    };
    for seed in 0..3 {
        assert_eq!(falls("auto", seed), 0);
        assert!(falls("0", seed) > 0, "the control: a worker that forgets what it has not said yet goes too far");
    }
}

#[test]
fn problems_without_a_dual_are_told_apart_when_the_run_begins() {
    let refusal = |task: &dyn Task| {
        let error = Trial::new(&row("cocoa", &[]), task, 2, SEED, 8).run().unwrap_err();
        let mut workload = task.workload(2, SEED).unwrap();
        let early = row("cocoa", &[]).suits(&mut *workload).unwrap_err();
        assert_eq!(early.to_string(), error.to_string(), "who asks first hears the same");
        assert!(row("local-sgd", &[]).suits(&mut *workload).is_ok());
        error
    };
    let error = refusal(&Quadratic::default());
    assert!(error.kind() == Kind::Request && error.to_string().contains("made-ridge"), "{error}");
    let error = refusal(&Ridge { l2: 0.0, ..ridge(2) });
    assert!(error.kind() == Kind::Request && error.to_string().contains("task.l2"), "{error}");
}

#[test]
fn rows_that_are_dealt_anew_for_others_are_the_same_in_every_round_for_a_dual() {
    let made = Made { rows: 90, features: 30, nonzeros: 5, noise: 0.2, signs: false, seed: 5 };
    let task = Ridge { deal: Deal::Iid, train: Arc::new(made.make().unwrap()), features: 30, ..ridge(3) };
    let found = gaps(&row("cocoa-plus", &[]), &task, 3, 3000);
    assert!(*found.last().unwrap() < 1e-6, "{found:?}");
}
