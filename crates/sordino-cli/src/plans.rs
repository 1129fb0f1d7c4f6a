//! From arguments to plans: the row or recipe file, what was set, the task's defaults, the length of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sordino::grammar::{Element, Value};
use sordino::recipe::{Recipe, check};
use sordino_lab::experiment::{Header, Plan};

use crate::arguments::{Scale, WORKERS};
use crate::tasks::{self, Length, Made};

/// The most steps of a run.
const STEPS: u64 = 1 << 40;

/// A plan with the task it is for.
pub struct Planned {
    /// What to call it in a table.
    pub label: String,
    /// The plan.
    pub plan: Plan,
    /// The task.
    pub made: Made,
}

/// Plans one run of `method` (a row, a recipe file, or either followed by its own choices) for one seed.
pub fn plan(method: &str, scale: &Scale, seed: u64) -> anyhow::Result<Planned> {
    let mut words = method.split_whitespace();
    let name = words.next().context("a method is needed, an empty one came")?;
    let own: Vec<&str> = words.collect();
    let is_file = Path::new(name).extension().is_some_and(|e| e == "toml");
    let mut given = BTreeMap::new();
    let mut recipe = if is_file {
        let text = std::fs::read_to_string(name).with_context(|| format!("the recipe {name} cannot be read"))?;
        let keys = ["workers", "steps", "seed", "data"];
        let table: toml::Table = text.parse().with_context(|| format!("{name} is not TOML"))?;
        for key in keys {
            given.extend(table.get(key).map(|v| (key, v.clone())));
        }
        // A run's own recipe.toml may be run again: what only a resumed run needs is left aside.
        let also = [&keys[..], sordino_lab::experiment::KEYS].concat();
        Recipe::from_toml(&text, &also).with_context(|| name.to_owned())?
    } else {
        Recipe::named(name)?
    };
    let from_file = |key: &str, most: u64| match given.get(key) {
        None => Ok(None),
        Some(value) => match value.as_integer().and_then(|n| u64::try_from(n).ok()) {
            Some(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ => bail!("`{key}` in {name} must be a whole number from 1 to {most}, `{value}` came"),
        },
    };
    let own_task = recipe.choice("task")?.clone();
    if let Some(task) = &scale.task {
        recipe.choose("task", &Element::parse(task)?)?;
    } else if !is_file {
        bail!("which task? add --task, for example --task digits-mlp; `sordino tasks` lists them");
    } else {
        recipe.choose("task", &own_task)?;
    }
    for set in own.iter().copied().chain(scale.sets.iter().map(String::as_str)) {
        recipe.set(set)?;
    }

    let element = recipe.choice("task")?.clone();
    let entry = tasks::entry(&element.name)?;
    recipe.choose("task", &entry.listing.normalise(&element)?)?;
    recipe.resolve(&entry.defaults)?;
    check(&recipe)?;

    let workers = scale.workers.map_or_else(|| from_file("workers", WORKERS), |n| Ok(Some(n)))?.unwrap_or(4) as usize;
    let data = match (&scale.data, given.get("data").and_then(toml::Value::as_str)) {
        (Some(path), _) => Some(path.clone()),
        (None, path) => path.map(PathBuf::from),
    };
    let data = data.map(|p| p.canonicalize().unwrap_or(p));
    let made = entry.make(recipe.choice("task")?, recipe.choice("partition")?, workers, seed, data.as_ref(), 0)?;
    made.task.workload(0, workers, seed)?;

    let rows = made.task.rows();
    let batch_rows = match recipe.choice("local")?.named.get("batch") {
        Some(Value::Number(b)) => *b as usize,
        _ => rows.div_ceil(workers),
    };
    let epoch = (rows / (batch_rows * workers).max(1)).max(1) as f64;
    let steps =
        match (scale.steps.map_or_else(|| from_file("steps", STEPS), |n| Ok(Some(n)))?, scale.epochs, entry.length) {
            (_, Some(epochs), _) if epochs > 0.0 && epochs.is_finite() => ((epochs * epoch).round() as u64).max(1),
            (_, Some(epochs), _) => bail!("--epochs must be above 0, {epochs} came"),
            (None, None, Length::Epochs(epochs)) => ((epochs * epoch).round() as u64).max(1),
            (Some(steps), None, _) | (None, None, Length::Steps(steps)) => steps,
        };
    let until_loss = scale.until.as_deref().map(until).transpose()?;
    let label = [&[recipe.method.as_str()][..], &own].concat().join(" ");
    let header = Header {
        label: label.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        data_hash: made.task.fingerprint(),
        data: data.map(|p| p.display().to_string()),
    };
    let eval_every = scale.eval_every.map_or_else(|| rounds_between(&recipe, steps, entry.looks), Ok)?;
    let plan = Plan {
        recipe,
        workers,
        seed,
        steps,
        batch_rows,
        until_loss,
        eval_every,
        checkpoint_every: scale.checkpoint_every,
        out: None,
        resume: false,
        header,
        environment: environment(),
        cores: cores(),
    };
    Ok(Planned { label, plan, made })
}

/// `loss=0.5` as a number.
fn until(text: &str) -> anyhow::Result<f64> {
    match text.split_once('=').map(|(what, value)| (what.trim(), value.trim().parse::<f64>())) {
        Some(("loss", Ok(loss))) if loss.is_finite() => Ok(loss),
        _ => bail!("--until takes loss=X with a number, `{text}` came"),
    }
}

/// Rounds between looks, so that a run is looked at about so often.
fn rounds_between(recipe: &Recipe, steps: u64, looks: u64) -> anyhow::Result<u64> {
    let schedule = recipe.choice("schedule")?;
    let key = |name: &str| match schedule.named.get(name) {
        Some(Value::Number(n)) => Some((*n as u64).max(1)),
        _ => None,
    };
    let steps_a_round = match schedule.name.as_str() {
        "constant" => key("every").unwrap_or(1),
        // Intervals grow: few rounds, each worth a look.
        "qsr" | "power" => 2 * key("base").unwrap_or(4),
        "growing" => 8,
        _ => 1,
    };
    Ok((steps / steps_a_round / looks).max(1))
}

/// Processor cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Words about where a run ran.
pub fn environment() -> BTreeMap<String, String> {
    let words = [
        ("program", format!("sordino {}", env!("CARGO_PKG_VERSION"))),
        ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("cores", cores().to_string()),
        ("tensors", "Burn 0.22, flex (CPU), one thread a worker".to_owned()),
    ];
    words.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// A label as the name of a folder: letters and digits, with single dashes between.
pub fn folder_name(label: &str) -> String {
    let parts: Vec<&str> = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty()).collect();
    parts.join("-")
}

/// A folder in runs/ that does not exist yet.
pub fn fresh(label: &str) -> PathBuf {
    let name = folder_name(label);
    let base = Path::new("runs").join(&name);
    let numbered = (2u32..).map(|n| Path::new("runs").join(format!("{name}-{n}")));
    std::iter::once(base).chain(numbered).find(|p| !p.exists()).unwrap_or_default()
}

/// Refuses a folder that already holds a run: nothing is overwritten.
pub fn vacant(out: &Path) -> anyhow::Result<()> {
    if out.exists() && !out.is_dir() {
        bail!("{} is a file; name a folder with --out", out.display());
    }
    if out.join("recipe.toml").exists() || out.join("summary.json").exists() {
        bail!("{} already holds a run; go on with it (--resume {0}) or name another folder with --out", out.display());
    }
    Ok(())
}
