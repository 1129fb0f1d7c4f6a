//! The experiment: search, measure, judge.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use sordino_lab::experiment::{self, Ended, Observer, Plan};
use sordino_lab::report::RunView;
use sordino_tasks::plans;
use sordino_tasks::{Wish, clock, tasks};

use crate::claim::{Arm, Claim, SEARCH_SEED};
use crate::coding::Gradients;
use crate::figure::Figure;
use crate::judge::{Condition, Verdict, mean, spread};
use crate::outcome::{Found, Judged, Outcome, Values, hash, short};
use crate::work::{self, Watch};

/// A claim's outcome, with its curves.
pub struct Measured {
    /// What it came to.
    pub outcome: Outcome,
    /// The measured runs, arm after arm.
    pub runs: Vec<RunView>,
}

/// One run to make.
struct Job<'a> {
    arm: &'a Arm,
    point: &'a [String],
    seed: u64,
    figures: Vec<Figure>,
}

/// What one run came to.
struct Ran {
    plan: Plan,
    ended: Ended,
    /// The figures that were asked for.
    figures: Vec<f64>,
}

struct Through<'a>(&'a dyn Watch);

impl Observer for Through<'_> {
    fn stop(&self) -> bool {
        self.0.stop()
    }
}

/// Makes the runs of a claim, whose file is `text`, and judges it; `None` where the watcher stopped it.
///
/// # Errors
/// Where a recipe of the claim is refused, or a run fails otherwise than by diverging.
pub fn measure(claim: &Claim, text: &str, watch: &dyn Watch) -> anyhow::Result<Option<Measured>> {
    let clock = clock::real();
    let began = clock.now();
    let grid = claim.grid()?;
    let total = claim.runs() as usize;
    let searching = total - claim.arms.len() * claim.problem.seeds as usize;
    let Some(points) = search(claim, &grid, total, watch).with_context(|| format!("claim {}", claim.row))? else {
        return Ok(None);
    };
    let mut jobs = Vec::new();
    for (arm, (point, _)) in claim.arms.iter().zip(&points) {
        let figures: Vec<Figure> = figures_of(claim, arm)?.into_iter().map(|(_, figure)| figure).collect();
        jobs.extend((0..claim.problem.seeds).map(|seed| Job { arm, point, seed, figures: figures.clone() }));
    }
    let Some(ran) = all(claim, &jobs, searching, total, true, watch).with_context(|| format!("claim {}", claim.row))?
    else {
        return Ok(None);
    };
    let mut found = Vec::new();
    let mut values: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let runs = ran.chunks(claim.problem.seeds as usize);
    for ((arm, (point, searched)), runs) in claim.arms.iter().zip(points.clone()).zip(runs) {
        let mut figures = BTreeMap::new();
        for (at, (name, _)) in figures_of(claim, arm)?.into_iter().enumerate() {
            let each: Vec<f64> = runs.iter().map(|run| run.figures[at]).collect();
            figures.insert(name.clone(), Values::of(&each));
            values.insert((arm.name.clone(), name), each);
        }
        let recipe = [&[arm.recipe.clone()][..], &point].concat().join(" ");
        let command = command(claim, arm, &recipe);
        found.push(Found { name: arm.name.clone(), recipe, command, searched, figures });
    }
    let seeds = if claim.codecs.is_empty() { 0 } else { claim.problem.seeds };
    let gradients = (0..seeds).map(|seed| Gradients::take(claim, seed)).collect::<anyhow::Result<Vec<_>>>()?;
    for arm in &claim.codecs {
        found.push(coded(claim, arm, &gradients, &mut values)?);
    }
    for arm in &claim.counts {
        found.push(counted(claim, arm, &mut values)?);
    }
    let judged = |conditions: &[Condition]| conditions.iter().map(|c| judged(c, &values)).collect::<Vec<_>>();
    let (premises, expects) = (judged(&claim.premises), judged(&claim.expects));
    let verdict = Verdict::of(premises.iter().map(|j| j.is), expects.iter().map(|j| j.is));
    let runs = jobs.iter().zip(ran).map(|(job, ran)| view(job, ran)).collect();
    let outcome = Outcome {
        row: claim.row.clone(),
        claim: claim.claim.clone(),
        source: claim.source.clone(),
        why: claim.why.clone(),
        file: hash(text),
        verdict,
        premises,
        expects,
        arms: found,
        seconds: clock.now() - began,
    };
    Ok(Some(Measured { outcome, runs }))
}

/// The best point of the grid for every arm, with what each point came to.
type Points = Vec<(Vec<String>, Vec<(String, Option<f64>)>)>;

fn search<'a>(
    claim: &'a Claim,
    grid: &'a [Vec<String>],
    total: usize,
    watch: &dyn Watch,
) -> anyhow::Result<Option<Points>> {
    if grid.len() < 2 {
        let only = |arm: &Arm| (if arm.search { grid[0].clone() } else { Vec::new() }, Vec::new());
        return Ok(Some(claim.arms.iter().map(only).collect()));
    }
    let by = claim.by()?;
    let looked = !matches!(by, Figure::End(_) | Figure::Sharpness(_));
    let searching: Vec<&Arm> = claim.arms.iter().filter(|arm| arm.search).collect();
    let job = |arm: &&'a Arm, point: &'a Vec<String>| Job { arm, point, seed: SEARCH_SEED, figures: vec![by.clone()] };
    let jobs: Vec<Job> = searching.iter().flat_map(|arm| grid.iter().map(|point| job(arm, point))).collect();
    let Some(ran) = all(claim, &jobs, 0, total, looked, watch)? else { return Ok(None) };
    let mut found = ran.chunks(grid.len()).map(|runs| {
        let each: Vec<f64> = runs.iter().map(|run| run.figures[0]).collect();
        let best = (0..each.len()).min_by(|a, b| each[*a].total_cmp(&each[*b])).unwrap_or(0);
        let told = grid.iter().zip(&each).map(|(p, v)| (p.join(" "), Some(*v).filter(|v| v.is_finite())));
        (grid[best].clone(), told.collect())
    });
    let mut points = Vec::new();
    for arm in &claim.arms {
        points.push(if arm.search {
            found.next().context("an arm was not searched")?
        } else {
            (Vec::new(), Vec::new())
        });
    }
    Ok(Some(points))
}

/// All runs, in their order; `None` where the watcher stopped them.
fn all(
    claim: &Claim,
    jobs: &[Job],
    before: usize,
    total: usize,
    looked: bool,
    watch: &dyn Watch,
) -> anyhow::Result<Option<Vec<Ran>>> {
    let done = std::sync::atomic::AtomicUsize::new(before);
    let made = work::spread(jobs.len(), plans::cores(), watch, |at| {
        let job = &jobs[at];
        let method = [&[job.arm.recipe.clone()][..], job.point].concat().join(" ");
        let ran = run(claim, job, &method, looked, watch);
        let so_far = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        watch.done(&claim.row, so_far, total);
        ran.with_context(|| format!("arm `{}`: {method}, seed {}", job.arm.name, job.seed))
    });
    if watch.stop() {
        return Ok(None);
    }
    made.into_iter().map(|ran| ran.context("a run was not made")?).collect::<anyhow::Result<Vec<_>>>().map(Some)
}

fn run(claim: &Claim, job: &Job, method: &str, looked: bool, watch: &dyn Watch) -> anyhow::Result<Ran> {
    let mut planned = plans::plan(method, &claim.wish(job.arm), job.seed)?;
    let usual = tasks::entry(&planned.plan.recipe.choice("task")?.name)?.looks;
    match (looked, claim.problem.looks) {
        (false, _) => planned.plan.eval_every = u64::MAX,
        (true, Some(looks)) => planned.plan.eval_every = (planned.plan.eval_every * usual / looks.max(1)).max(1),
        (true, None) => {}
    }
    planned.plan.header.label.clone_from(&job.arm.name);
    let (plan, task) = (planned.plan, planned.made.task);
    let ended = experiment::run(&*task, &plan, &clock::real(), &Through(watch))?;
    let workload = || task.workload(plan.recipe.participation()?.clients(plan.workers), plan.seed);
    let figures = job.figures.iter().map(|figure| figure.of(&ended, workload)).collect::<anyhow::Result<_>>()?;
    Ok(Ran { plan, ended, figures })
}

/// The figures that conditions speak of for an arm, as they are written and as they are read.
fn figures_of(claim: &Claim, arm: &Arm) -> anyhow::Result<Vec<(String, Figure)>> {
    let mut found = BTreeMap::new();
    for condition in claim.premises.iter().chain(&claim.expects).filter(|c| c.names(&arm.name)) {
        found.insert(condition.figure.clone(), Figure::parse(&condition.figure)?);
    }
    Ok(found.into_iter().collect())
}

fn coded(
    claim: &Claim,
    arm: &Arm,
    gradients: &[Gradients],
    values: &mut BTreeMap<(String, String), Vec<f64>>,
) -> anyhow::Result<Found> {
    let mut figures = BTreeMap::new();
    for (name, figure) in figures_of(claim, arm)? {
        let of = |(seed, of_seed): (u64, &Gradients)| of_seed.figure(&arm.recipe, &figure, seed);
        let each = (0..).zip(gradients).map(of).collect::<anyhow::Result<Vec<_>>>();
        let each = each.with_context(|| format!("codec `{}`", arm.name))?;
        figures.insert(name.clone(), Values::of(&each));
        values.insert((arm.name.clone(), name), each);
    }
    let (name, recipe) = (arm.name.clone(), arm.recipe.clone());
    Ok(Found { name, recipe, command: String::new(), searched: Vec::new(), figures })
}

fn counted(claim: &Claim, arm: &Arm, values: &mut BTreeMap<(String, String), Vec<f64>>) -> anyhow::Result<Found> {
    let steps = arm.steps.with_context(|| format!("count `{}` needs `steps`", arm.name))?;
    // The schedule is the recipe's: what the problem sets for its runs does not concern it.
    let wish = Wish { sets: Vec::new(), ..claim.wish(arm) };
    let planned = plans::plan(&arm.recipe, &wish, 0).with_context(|| format!("count `{}`", arm.name))?;
    let rounds = planned.plan.recipe.rounds(steps, 1.0)? as f64;
    let mut figures = BTreeMap::new();
    for (name, figure) in figures_of(claim, arm)? {
        let value = match figure {
            Figure::Share => rounds / steps as f64,
            Figure::End(crate::figure::Quantity::Cost(crate::figure::Cost::Rounds)) => rounds,
            other => bail!("{other:?} is no figure of a schedule: use rounds or share"),
        };
        let each = vec![value; claim.problem.seeds as usize];
        figures.insert(name.clone(), Values::of(&each));
        values.insert((arm.name.clone(), name), each);
    }
    let recipe = format!("{}, {steps} steps", arm.recipe);
    Ok(Found { name: arm.name.clone(), recipe, command: String::new(), searched: Vec::new(), figures })
}

/// A condition in figures, and whether it is true.
fn judged(condition: &Condition, values: &BTreeMap<(String, String), Vec<f64>>) -> Judged {
    let of = |arm: &str| {
        let key = (arm.to_owned(), condition.figure.clone());
        values.get(&key).cloned().unwrap_or_else(|| vec![f64::NAN])
    };
    let (left, right, is) = condition.judge(of);
    let shown = |values: &[f64]| match spread(values) {
        // Constants are no less constant for their rounding.
        s if s > 1e-12 * mean(values).abs() && s.is_finite() => format!("{} ± {}", short(mean(values)), short(s)),
        _ => short(mean(values)),
    };
    let sign = if condition.at_most.is_some() { "≤" } else { "≥" };
    let wanted = right_side(condition);
    let above = condition.above.as_ref().map(|arm| format!(" above {arm}")).unwrap_or_default();
    let means =
        format!("{}{above}: {} {} {sign} {}{wanted}", condition.figure, condition.arm, shown(&left), shown(&right));
    Judged { says: condition.says.clone(), means, is }
}

/// What the right side of a condition is, in words.
fn right_side(condition: &Condition) -> String {
    use crate::judge::Side;
    match condition.at_most.as_ref().or(condition.at_least.as_ref()) {
        Some(Side::Arm(arm)) => {
            let times = if condition.times == 1.0 { String::new() } else { format!("{} × ", condition.times) };
            let plus = if condition.plus == 0.0 { String::new() } else { format!(" + {}", condition.plus) };
            format!(" ({times}{arm}{plus})")
        }
        _ => String::new(),
    }
}

/// The command line of an arm's first run.
fn command(claim: &Claim, arm: &Arm, recipe: &str) -> String {
    let wish = claim.wish(arm);
    let quoted = |text: &str| {
        if text.chars().any(|c| " ()=".contains(c)) { format!("'{text}'") } else { text.to_owned() }
    };
    let mut words = vec!["sordino".into(), "compare".into(), quoted(recipe)];
    words.extend(wish.task.iter().map(|task| format!("--task {}", quoted(task))));
    words.extend(wish.workers.map(|n| format!("--workers {n}")));
    words.extend(wish.steps.map(|n| format!("--steps {n}")));
    words.extend(wish.rounds.map(|n| format!("--rounds {n}")));
    words.extend(wish.epochs.map(|n| format!("--epochs {n}")));
    words.extend(wish.sets.iter().map(|set| format!("--set '{set}'")));
    words.push(format!("--seeds {}", claim.problem.seeds));
    words.join(" ")
}

fn view(job: &Job, ran: Ran) -> RunView {
    let Ran { plan, ended, .. } = ran;
    RunView {
        name: format!("{}-seed{}", plans::folder_name(&job.arm.name), job.seed),
        method: job.arm.name.clone(),
        seed: job.seed,
        points: ended.points,
        recipe: plan.to_toml(),
        environment: plan.environment,
        summary: ended.summary,
    }
}
