//! `sordino run`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sordino::base::Kind;
use sordino::grammar::Element;
use sordino_lab::experiment::{self, Ended, Plan};
use sordino_lab::record::{RECORD, Run as Recorded, read_points};
use sordino_lab::report::{self, RunView};
use sordino_tasks::plans::{self, Planned};
use sordino_tasks::tasks;

use crate::arguments::{Run, Scale};
use crate::crew::Crew;
use crate::progress::{self, Line};
use crate::{Done, Failure, failed, request, table};

/// Trains with one method, over one or more seeds.
pub fn run(arguments: &Run, crew: &Crew) -> Done {
    if let Some(directory) = &arguments.resume {
        let planned = resumed(directory, arguments, crew).map_err(request)?;
        return finish(vec![(planned, directory.clone())], directory, arguments.scale.quiet, crew);
    }
    if let Some(directory) = &arguments.replay {
        return again(directory, arguments, crew);
    }
    let scale = &arguments.scale;
    let Some(method) = arguments.method.as_deref() else {
        return Err(request(anyhow::anyhow!("which method? name one, for example qsr; `sordino methods` lists them")));
    };
    let wish = crew.wish(scale.wish());
    let first = scale.seed.unwrap_or(0);
    let planned: Vec<Planned> = (first..first.saturating_add(scale.seeds))
        .map(|seed| {
            let planned = plans::plan(method, &wish, seed)?;
            let label = [&[planned.label.clone()][..], &scale.sets].concat().join(" ");
            Ok(Planned { label, ..planned })
        })
        .collect::<anyhow::Result<_>>()
        .map_err(request)?;
    let name = planned.first().map_or_else(String::new, |p| format!("{}-{}", p.label, p.made.task.name()));
    let out = scale.out.clone().unwrap_or_else(|| plans::fresh(&name));
    let runs: Vec<(Planned, PathBuf)> = planned
        .into_iter()
        .map(|p| {
            let folder = if scale.seeds == 1 { out.clone() } else { out.join(format!("seed-{}", p.plan.seed)) };
            plans::vacant(&folder).map(|()| (p, folder))
        })
        .collect::<anyhow::Result<_>>()
        .map_err(request)?;
    finish(runs, &out, scale.quiet, crew)
}

/// Trains, then prints the table and writes the report.
fn finish(runs: Vec<(Planned, PathBuf)>, out: &Path, quiet: bool, crew: &Crew) -> Done {
    let (mut rows, mut views) = (Vec::new(), Vec::new());
    for (planned, folder) in runs {
        let (label, seed) = (planned.label.clone(), planned.plan.seed);
        let (ended, view) = train(planned, &folder, quiet, 0, crew)?;
        rows.push((if seed == 0 { label } else { format!("{label}, seed {seed}") }, ended.summary));
        views.push(view);
        if progress::interrupted() {
            break;
        }
    }
    let page = out.join("report.html");
    report::write(&page, &title(&views), &views).map_err(failed)?;
    say!("\n{}\n\nreport: {}", table::table(&rows), page.display());
    Ok(())
}

/// Trains one plan into a folder, with a report of its own; `width` aligns its progress line with others'.
pub fn train(
    mut planned: Planned,
    folder: &Path,
    quiet: bool,
    width: usize,
    crew: &Crew,
) -> Result<(Ended, RunView), Failure> {
    progress::listen(true);
    planned.plan.out = Some(folder.to_path_buf());
    planned.plan.header.label.clone_from(&planned.label);
    if let Some(told) = planned.told.as_ref().filter(|_| !quiet) {
        say!("{told}");
    }
    let line = Line::new(&planned.label, width, quiet);
    let ended = crew.train(&planned, &line).map_err(blamed)?;
    let s = &ended.summary;
    let accuracy = s.accuracy.map(|a| format!("accuracy {:.2} %, ", 100.0 * a)).unwrap_or_default();
    let verdict = if s.diverged { "diverged, ".to_owned() } else { accuracy };
    let verdict = s.epsilon.map_or(verdict.clone(), |e| format!("{verdict}epsilon {e:.2}, "));
    let verdict = s.duality_gap.map_or(verdict.clone(), |gap| format!("{verdict}gap {}, ", table::loss(gap)));
    line.done(&format!("{verdict}loss {}, {} per worker", table::loss(s.train_loss), table::bytes(s.bytes())));
    if ended.interrupted {
        say!("interrupted; go on with: sordino run --resume {}", folder.display());
    }
    let view = RunView::from(Recorded::load(folder).map_err(failed)?);
    report::write(&folder.join("report.html"), &title(std::slice::from_ref(&view)), std::slice::from_ref(&view))
        .map_err(failed)?;
    Ok((ended, view))
}

/// Puts an error of a run where it belongs: a request that only the run could see to be wrong is still one.
fn blamed(error: sordino::Error) -> Failure {
    match error.kind() {
        Kind::Request | Kind::Data | Kind::Mismatch => request(error),
        _ => failed(error),
    }
}

/// What a report is called.
pub fn title(views: &[RunView]) -> String {
    let task = views.first().map_or("", |v| v.summary.task.as_str());
    let mut methods: Vec<&str> = views.iter().map(|v| v.method.as_str()).collect();
    methods.dedup();
    format!("{} on {task}", methods.join(", "))
}

/// Makes a run again with workers coming in the order of its record.
fn again(directory: &Path, arguments: &Run, crew: &Crew) -> Done {
    let (planned, out) = replayed(directory, arguments, crew).map_err(request)?;
    finish(vec![(planned, out.clone())], &out, arguments.scale.quiet, crew)
}

/// The plan of a run that is made again, and where it goes.
fn replayed(directory: &Path, arguments: &Run, crew: &Crew) -> anyhow::Result<(Planned, PathBuf)> {
    let scale = Scale { out: None, quiet: false, ..arguments.scale.clone() };
    let mut planned = resumed(directory, &Run { method: None, resume: None, replay: None, scale }, crew)?;
    let order = experiment::arrivals(&read_points(&directory.join(RECORD))?)?;
    if order.is_empty() {
        bail!(
            "the record in {} holds no order of arrivals: only runs whose workers come at their own pace, such as async-sgd, \
             are replayed; any other run is the same again with the same recipe and seed",
            directory.display()
        );
    }
    planned.plan.resume = false;
    planned.plan.replay = Some(order);
    planned.label = format!("{} replayed", planned.label);
    let name = format!("{}-{}", planned.label, planned.made.task.name());
    let out = arguments.scale.out.clone().unwrap_or_else(|| plans::fresh(&name));
    plans::vacant(&out)?;
    Ok((planned, out))
}

/// The plan of a run that goes on; other choices than its own are refused.
fn resumed(directory: &Path, arguments: &Run, crew: &Crew) -> anyhow::Result<Planned> {
    let mut plan = Plan::read(directory)?;
    // A launcher says by the number of its processes how many go on.
    let started = crew.processes().map(|ranks| plans::crew(&plan.recipe, None, Some(ranks))).transpose()?;
    if let (Some(workers), Some(_)) = (arguments.scale.workers.map(|n| n as usize).or(started), &arguments.resume) {
        plan.regroup(workers)?;
    }
    refuse_changes(&plan, arguments, directory)?;
    plans::remade(plan).with_context(|| format!("the run in {} cannot go on", directory.display()))
}

/// Whether a task as asked for is the run's.
fn same_task(asked: &str, is: &Element) -> bool {
    let normal = Element::parse(asked).and_then(|e| tasks::entry(&e.name)?.listing.normalise(&e));
    normal.is_ok_and(|e| e == *is || (e.named.is_empty() && e.name == is.name))
}

/// Names the first difference between what is asked and what the run in the folder is.
fn refuse_changes(plan: &Plan, arguments: &Run, directory: &Path) -> anyhow::Result<()> {
    let scale = &arguments.scale;
    let differs = |what: &str, asked: &dyn std::fmt::Display, is: &dyn std::fmt::Display| -> anyhow::Result<()> {
        bail!(
            "the run in {} has {what} {is}, {asked} was asked for; leave it out to resume, or begin a new run",
            directory.display()
        )
    };
    if let Some(method) = arguments.method.as_ref().filter(|m| **m != plan.recipe.method) {
        differs("method", method, &plan.recipe.method)?;
    }
    let task = plan.recipe.choice("task")?;
    if let Some(asked) = scale.task.as_ref().filter(|t| !same_task(t, task)) {
        differs("task", asked, task)?;
    }
    let numbers = [
        ("--workers", scale.workers, plan.workers as u64),
        ("--steps", scale.steps, plan.steps),
        ("--seed", scale.seed, plan.seed),
        ("--eval-every", scale.eval_every, plan.eval_every),
        ("--checkpoint-every", scale.checkpoint_every, plan.checkpoint_every.unwrap_or(0)),
    ];
    for (what, asked, is) in numbers {
        if let Some(asked) = asked.filter(|a| *a != is) {
            differs(what, &asked, &is)?;
        }
    }
    let mut changed = plan.recipe.clone();
    for set in &scale.sets {
        changed.set(set).with_context(|| format!("--set {set}"))?;
    }
    for axis in sordino::recipe::AXES {
        let (asked, is) = (changed.choice(axis.name)?, plan.recipe.choice(axis.name)?);
        if asked != is {
            differs(axis.name, asked, is)?;
        }
    }
    if scale.epochs.is_some()
        || scale.rounds.is_some()
        || scale.out.is_some()
        || scale.data.is_some()
        || scale.start.is_some()
        || scale.until.is_some()
        || scale.seeds > 1
    {
        bail!(
            "--resume and --replay do as the run began: leave out --epochs, --rounds, --out, --data, --start, --until \
             and --seeds"
        );
    }
    Ok(())
}
