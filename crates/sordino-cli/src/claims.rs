//! `sordino claims`: what the papers claim, held against what is measured here.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use sordino_claims::{Claim, Judged, Measured, Outcome, Tally, Verdict, all, measure, named};
use sordino_lab::files;
use sordino_lab::report::{self, Chapter};
use sordino_tasks::{clock, plans};

use crate::arguments::Claims;
use crate::crew::Crew;
use crate::progress::{self, Suite};
use crate::{Done, failed, request};

/// What was measured, as JSON.
const TALLY: &str = "claims.json";

/// Measures claims one after another; what they came to is printed, and kept with all curves.
pub fn claims(arguments: &Claims, crew: &Crew) -> Done {
    if crew.processes().is_some() {
        return Err(request(anyhow::anyhow!(
            "claims are measured on threads of one process: start it without a launcher"
        )));
    }
    let claims = chosen(arguments).map_err(request)?;
    let out = arguments.out.clone().unwrap_or_else(|| plans::fresh("claims"));
    if out.join(TALLY).exists() || (out.exists() && !out.is_dir()) {
        return Err(request(anyhow::anyhow!("{} is taken; name another folder with --out", out.display())));
    }
    progress::listen(true);
    let clock = clock::real();
    let line = Suite::new(claims.iter().map(|(claim, _)| claim.runs()).sum(), arguments.quiet);
    let (mut tally, mut chapters) = (Tally { environment: plans::environment(), ..Tally::default() }, Vec::new());
    let mut broken = Vec::new();
    for (claim, text) in &claims {
        line.begin(&claim.row);
        match measure(claim, text, &line) {
            Ok(Some(measured)) => {
                let words = if arguments.json { String::new() } else { words(&measured.outcome) };
                line.ended(claim.runs(), &words);
                chapters.push(chapter(&measured));
                tally.claims.push(measured.outcome);
            }
            Ok(None) => break,
            // The others are measured all the same.
            Err(error) => {
                line.ended(claim.runs(), &format!("{}: {error:#}\n", claim.row));
                broken.push(claim.row.as_str());
            }
        }
        tally.seconds = clock.now();
        keep(&out, &tally, &chapters).map_err(failed)?;
    }
    line.clear();
    if arguments.json {
        say!("{:#}", serde_json::to_value(&tally).map_err(failed)?);
    } else {
        say!("{}", sum(&tally));
        say!("report: {}", out.join("report.html").display());
    }
    if progress::interrupted() {
        eprintln!("sordino: interrupted; {} of {} claims were measured", tally.claims.len(), claims.len());
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(failed(anyhow::anyhow!("could not be measured: {}", broken.join(", "))))
    }
}

/// The claims that are asked for, each with its file's text.
fn chosen(arguments: &Claims) -> anyhow::Result<Vec<(Claim, String)>> {
    let owned = |(claim, text): (Claim, &str)| (claim, text.to_owned());
    if arguments.methods.is_empty() {
        let all = all()?.into_iter().filter(|(claim, _)| claim.fast || !arguments.fast);
        return Ok(all.map(owned).collect());
    }
    let mut found: Vec<(Claim, String)> = Vec::new();
    for method in &arguments.methods {
        let claim = if Path::new(method).extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(method).with_context(|| format!("the claim {method} cannot be read"))?;
            (Claim::parse(&text).with_context(|| method.clone())?, text)
        } else {
            owned(named(method)?)
        };
        if found.iter().any(|(other, _)| other.row == claim.0.row) {
            bail!("the claim of {} is asked for twice", claim.0.row);
        }
        found.push(claim);
    }
    Ok(found)
}

/// Writes what is known so far.
fn keep(out: &Path, tally: &Tally, chapters: &[Chapter]) -> anyhow::Result<()> {
    if chapters.is_empty() {
        return Ok(());
    }
    files::make_directory(out)?;
    report::write_book(&out.join("report.html"), "What the papers claim, measured", chapters)?;
    let text = serde_json::to_string_pretty(tally)?;
    Ok(files::write_aside(&out.join(TALLY), (text + "\n").as_bytes())?)
}

/// What a claim came to, in lines.
fn words(outcome: &Outcome) -> String {
    let mut text = format!("{}: {}\n  {}\n", outcome.row, outcome.verdict, outcome.claim);
    for line in judged(outcome) {
        let _ = writeln!(text, "  {line}");
    }
    for arm in outcome.arms.iter().filter(|arm| !arm.searched.is_empty()) {
        let _ = writeln!(text, "  {}: {}", arm.name, arm.recipe);
    }
    let _ = writeln!(text, "  {}", outcome.source);
    text
}

/// Premises and conditions, in words and figures.
fn judged(outcome: &Outcome) -> Vec<String> {
    let line = |kind: &str, j: &Judged| {
        let mark = if j.is { "✓" } else { "✗" };
        format!("{mark} {kind}{}   [{}]", j.says, j.means)
    };
    let premises = outcome.premises.iter().map(|j| line("(premise) ", j));
    premises.chain(outcome.expects.iter().map(|j| line("", j))).collect()
}

/// A claim as a chapter of the report.
fn chapter(measured: &Measured) -> Chapter {
    let outcome = &measured.outcome;
    let mut lines = vec![outcome.claim.clone(), outcome.source.clone()];
    lines.extend(Some(outcome.why.clone()).filter(|why| !why.is_empty()));
    lines.extend(judged(outcome));
    let runs = measured.runs.clone();
    Chapter { title: outcome.row.clone(), verdict: outcome.verdict.to_string(), lines, runs }
}

/// How many claims came to what.
fn sum(tally: &Tally) -> String {
    let count = |verdict| tally.claims.iter().filter(|claim| claim.verdict == verdict).count();
    format!(
        "{} claims: {} hold, {} do not hold, {} cannot be judged at this size; {:.0} s",
        tally.claims.len(),
        count(Verdict::Holds),
        count(Verdict::DoesNot),
        count(Verdict::Cannot),
        tally.seconds
    )
}
