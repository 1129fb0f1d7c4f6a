//! `sordino compare` and `sordino report`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use sordino_lab::record::Run as Recorded;
use sordino_lab::report::{self, RunView};
use sordino_tasks::plans::{self, Planned};

use crate::arguments::{Compare, Report};
use crate::crew::Crew;
use crate::{Done, failed, progress, request, run, table};

/// Trains with several methods, prints one table and writes one report.
pub fn compare(arguments: &Compare, crew: &Crew) -> Done {
    let scale = &arguments.scale;
    let first = scale.seed.unwrap_or(0);
    let mut planned = Vec::new();
    for method in &arguments.methods {
        for seed in first..first.saturating_add(scale.seeds) {
            planned.push(plans::plan(method, &crew.wish(scale.wish()), seed).map_err(request)?);
        }
    }
    let task = planned.first().map_or_else(String::new, |p| p.made.task.name().to_owned());
    let out = scale.out.clone().unwrap_or_else(|| plans::fresh(&format!("compare-{task}")));
    let page = together(planned, &out, scale.quiet, crew)?;
    say!("\nreport: {}", page.display());
    Ok(())
}

/// Runs plans one after another into folders of `out`; the table is printed, the report's path returned.
pub fn together(planned: Vec<Planned>, out: &Path, quiet: bool, crew: &Crew) -> Result<PathBuf, crate::Failure> {
    let folders: Vec<PathBuf> = (0..planned.len())
        .map(|i| {
            let p = &planned[i];
            let folder = out.join(format!("{}-seed{}", plans::folder_name(&p.label), p.plan.seed));
            let again = planned[..i].iter().any(|q| q.label == p.label && q.plan.seed == p.plan.seed);
            if again {
                bail!("`{}` is asked for twice with the same seed", p.label);
            }
            plans::vacant(&folder).map(|()| folder)
        })
        .collect::<anyhow::Result<_>>()
        .map_err(request)?;
    let (mut rows, mut views) = (Vec::new(), Vec::new());
    let width = planned.iter().map(|p| p.label.chars().count()).max().unwrap_or(0);
    let seeds: std::collections::BTreeSet<u64> = planned.iter().map(|p| p.plan.seed).collect();
    for (planned, folder) in planned.into_iter().zip(&folders) {
        let label = match seeds.len() {
            1 => planned.label.clone(),
            _ => format!("{}, seed {}", planned.label, planned.plan.seed),
        };
        let (ended, view) = run::train(planned, folder, quiet, width, crew)?;
        rows.push((label, ended.summary));
        views.push(view);
        if progress::interrupted() {
            break;
        }
    }
    say!("\n{}", table::table(&rows));
    let page = out.join("report.html");
    report::write(&page, &run::title(&views), &views).map_err(failed)?;
    Ok(page)
}

/// Compares runs that lie in folders.
pub fn report(arguments: &Report) -> Done {
    let mut views = Vec::new();
    for directory in &arguments.dirs {
        let mut found = Vec::new();
        folders(directory, 0, &mut found);
        if found.is_empty() {
            // The refusal of this very folder says what is missing.
            found.push(directory.clone());
        }
        for folder in found {
            views.push(RunView::from(Recorded::load(&folder).map_err(request)?));
        }
    }
    let rows: Vec<_> = views.iter().map(|v| (v.name.clone(), v.summary.clone())).collect();
    let page = arguments.out.clone().unwrap_or_else(|| arguments.dirs[0].join("report.html"));
    report::write(&page, &run::title(&views), &views).map_err(failed)?;
    say!("{}\n\nreport: {}", table::table(&rows), page.display());
    Ok(())
}

/// Folders of ended runs, down to two levels.
fn folders(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    if directory.join("summary.json").is_file() {
        found.push(directory.to_path_buf());
        return;
    }
    if depth == 2 {
        return;
    }
    let mut inside: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    inside.sort();
    for path in inside {
        folders(&path, depth + 1, found);
    }
}
