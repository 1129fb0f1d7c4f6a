//! From arguments to plans: the row or recipe file, what was set, the task's defaults, the length of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sordino::engine::{epoch_of, weigh};
use sordino::grammar::{Element, Value};
use sordino::placement::Placement;
use sordino::recipe::{Defaults, Recipe, check};
use sordino::workload::{Batch, Task};
use sordino_lab::experiment::{self, Header, Plan};
use sordino_lab::model_file;

use crate::clock;
use crate::tasks::{self, Made};

/// The most workers of one machine: every pair of threads has its own channels.
pub const WORKERS: u64 = 256;

/// Rounds of a federated run unless told.
const FEDERATED_ROUNDS: u64 = 100;
/// The most steps of a run.
const STEPS: u64 = 1 << 40;

/// What is asked for beside a method; what is left open is the task's or the program's to say.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The task, as an element.
    pub task: Option<String>,
    /// Workers.
    pub workers: Option<u64>,
    /// Local steps of each worker.
    pub steps: Option<u64>,
    /// Meetings.
    pub rounds: Option<u64>,
    /// Passes over the training rows, all workers together.
    pub epochs: Option<f64>,
    /// Where to stop, such as `loss=0.5`.
    pub until: Option<String>,
    /// Choices, as `axis=element(key=value)` or `axis.key=value`.
    pub sets: Vec<String>,
    /// A data file or folder.
    pub data: Option<PathBuf>,
    /// The model to start from.
    pub start: Option<PathBuf>,
    /// Rounds between looks at the model.
    pub eval_every: Option<u64>,
    /// Rounds between checkpoints.
    pub checkpoint_every: Option<u64>,
    /// How many ranks there are, where a launcher has started them: the workers, and a server if the recipe has one.
    pub ranks: Option<usize>,
}

/// A plan with the task it is for.
pub struct Planned {
    /// What to call it in a table.
    pub label: String,
    /// The plan.
    pub plan: Plan,
    /// The task.
    pub made: Made,
    /// What was chosen by numbers of bytes, in a sentence.
    pub told: Option<String>,
}

/// Plans one run of `method` (a row, a recipe file, or either followed by its own choices) for one seed.
pub fn plan(method: &str, wish: &Wish, seed: u64) -> anyhow::Result<Planned> {
    let mut words = words(method).into_iter();
    let name = words.next().context("a method is needed, an empty one came")?;
    let own: Vec<&str> = words.collect();
    let is_file = Path::new(name).extension().is_some_and(|e| e == "toml");
    let mut given = BTreeMap::new();
    let mut recipe = if is_file {
        let text = std::fs::read_to_string(name).with_context(|| format!("the recipe {name} cannot be read"))?;
        let keys = ["workers", "steps", "seed", "data", "start"];
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
    if let Some(task) = &wish.task {
        recipe.choose("task", &Element::parse(task)?)?;
    } else if !is_file {
        bail!("which task? add --task, for example --task digits-mlp; `sordino tasks` lists them");
    } else {
        recipe.choose("task", &own_task)?;
    }
    // What is set for all methods first: what a method carries itself is the more particular.
    for set in wish.sets.iter().map(String::as_str).chain(own.iter().copied()) {
        recipe.set(set)?;
    }

    let element = recipe.choice("task")?.clone();
    let entry = tasks::entry(&element.name)?;
    recipe.choose("task", &entry.listing.normalise(&element)?)?;
    let open = recipe.clone();
    recipe.resolve(&entry.defaults)?;

    let asked = wish.workers.map_or_else(|| from_file("workers", WORKERS), |n| Ok(Some(n)))?;
    let workers = crew(&recipe, asked, wish.ranks)?;
    let data = match (&wish.data, given.get("data").and_then(toml::Value::as_str)) {
        (Some(path), _) => Some(path.clone()),
        (None, path) => path.map(PathBuf::from),
    };
    let data = data.map(|p| p.canonicalize().unwrap_or(p));
    if privacy_is_known(&recipe)? {
        check(&recipe)?;
    }
    let layers = place(&mut recipe, entry, workers, seed, data.as_ref())?;
    let clients = recipe.clients(workers, layers)?;
    let made = entry.make(recipe.choice("task")?, recipe.choice("partition")?, clients, seed, data.as_ref(), 0)?;
    let mut workload = made.task.workload(clients, seed)?;
    recipe.suits(&mut *workload)?;
    // Some rates, and how ranks meet, depend on how many parameters there are; where the network is cut is settled.
    let defaults = Defaults { parameters: workload.layout().len(), ranks: clients, ..entry.defaults.clone() };
    let told;
    (recipe, told) = settled(&open, recipe.choice("placement")?, &defaults)?;
    let held: Vec<f32> = (0..clients as u64).map(|client| workload.rows(client) as f32).collect();

    let given_steps = wish.steps.map_or_else(|| from_file("steps", STEPS), |n| Ok(Some(n)))?;
    let Length { steps, batch_rows, pass } = length(&recipe, wish, entry, &*made.task, &held, workers, given_steps)?;
    recipe.solve(steps, workers, &held)?;
    check(&recipe)?;
    let start = wish.start.clone().or_else(|| given.get("start").and_then(toml::Value::as_str).map(PathBuf::from));
    let start = start.map(|path| path.canonicalize().unwrap_or(path));
    if let Some(path) = &start {
        model_file::read(path, workload.layout())?;
    }
    let until_loss = wish.until.as_deref().map(until).transpose()?;
    let label = [&[recipe.method.as_str()][..], &own].concat().join(" ");
    let header = Header {
        label: label.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        data_hash: made.task.fingerprint(),
        data: data.map(|p| p.display().to_string()),
        start: start.map(|p| p.display().to_string()),
        before: Vec::new(),
    };
    let eval_every = match wish.eval_every {
        Some(every) => every,
        None => (updates(&recipe, recipe.rounds(steps, pass)?, workers)? / entry.looks).max(1),
    };
    let plan = Plan {
        recipe,
        workers,
        seed,
        steps,
        batch_rows,
        until_loss,
        eval_every,
        checkpoint_every: wish.checkpoint_every,
        out: None,
        resume: false,
        replay: None,
        header,
        environment: environment(),
        cores: cores(),
    };
    Ok(Planned { label, plan, made, told })
}

/// The recipe with every `auto` replaced that does not wait for the length of the run, and what is to be told of that.
fn settled(open: &Recipe, placement: &Element, defaults: &Defaults) -> anyhow::Result<(Recipe, Option<String>)> {
    let mut recipe = open.clone();
    recipe.choose("placement", placement)?;
    recipe.resolve(defaults)?;
    let told = recipe.told_of_meeting(open, defaults)?;
    Ok((recipe, told))
}

/// How many workers there are: as many as asked for, or as a launcher has started.
pub fn crew(recipe: &Recipe, asked: Option<u64>, ranks: Option<usize>) -> anyhow::Result<usize> {
    let Some(ranks) = ranks else { return Ok(asked.unwrap_or(4) as usize) };
    let server = usize::from(recipe.participation()?.served().is_some());
    let Some(workers) = ranks.checked_sub(server).filter(|workers| *workers > 0) else {
        bail!("{} has a server beside its workers, which is a process of its own: start at least 2", recipe.method);
    };
    match asked {
        Some(asked) if asked as usize != workers => bail!(
            "{asked} workers were asked for, but {ranks} processes were started{}; leave --workers out, or start {}",
            if server > 0 { ", one of them for the server" } else { "" },
            asked as usize + server
        ),
        _ => Ok(workers),
    }
}

/// A complete plan with its task made: one that a run's folder holds, or that another process has made.
///
/// # Errors
/// Where the data are not those that the plan was made with.
pub fn remade(mut plan: Plan) -> anyhow::Result<Planned> {
    let element = plan.recipe.choice("task")?.clone();
    let entry = tasks::entry(&element.name)?;
    let data = plan.header.data.as_ref().map(PathBuf::from);
    let clients = plan.recipe.clients(plan.workers, 0)?;
    let made = entry.make(&element, plan.recipe.choice("partition")?, clients, plan.seed, data.as_ref(), 0)?;
    if made.task.fingerprint() != plan.header.data_hash {
        bail!("the data of task {element} are not those that the run began with; put them back");
    }
    plan.environment = environment();
    plan.cores = cores();
    Ok(Planned { label: plan.header.label.clone(), plan, made, told: None })
}

/// The words of a method: at spaces outside parentheses, so that `krum(3, best=2)` is one.
fn words(method: &str) -> Vec<&str> {
    let (mut words, mut from, mut depth) = (Vec::new(), 0, 0i32);
    for (at, c) in method.char_indices().chain([(method.len(), ' ')]) {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if c.is_whitespace() && (depth <= 0 || at == method.len()) {
            words.extend(Some(method[from..at].trim()).filter(|word| !word.is_empty()));
            from = at;
        }
    }
    words
}

/// How long a run is.
struct Length {
    /// Local steps of each worker.
    steps: u64,
    /// Rows of one step of one worker.
    batch_rows: usize,
    /// Steps of one pass over the rows of a client, on average.
    pass: f64,
}

/// How long a run is: as told, or as its task or its federated clients suggest.
fn length(
    recipe: &Recipe,
    wish: &Wish,
    entry: &tasks::Entry,
    task: &dyn Task,
    held: &[f32],
    workers: usize,
    given: Option<u64>,
) -> anyhow::Result<Length> {
    let participation = recipe.participation()?;
    let rows = task.rows();
    let batch_rows = match recipe.choice("local")?.named.get("batch") {
        Some(Value::Number(b)) => *b as usize,
        Some(Value::Element(e)) if e.name == "poisson" => match e.named.get("rows").or_else(|| e.positional.first()) {
            Some(Value::Number(b)) => *b as usize,
            _ => 32,
        },
        // A step of dual ascent is one row.
        None if recipe.choice("local")?.name == "dual" => 1,
        _ => rows.div_ceil(held.len().max(1)),
    };
    // Those whose steps count at the same time: where workers hold blocks, copies of the network.
    let voices = match participation.served() {
        Some(_) => workers as f64,
        None if participation.federated() => participation.expected(workers),
        None => held.len() as f64,
    };
    let epoch = (rows as f64 / (batch_rows as f64 * voices).max(1.0)).floor().max(1.0);
    let pass = epoch_of(held, if batch_rows == 0 { Batch::Full } else { Batch::Rows(batch_rows) });
    let steps = match (given, wish.epochs) {
        (_, Some(epochs)) if epochs > 0.0 && epochs.is_finite() => ((epochs * epoch).round() as u64).max(1),
        (_, Some(epochs)) => bail!("--epochs must be above 0, {epochs} came"),
        (Some(steps), None) => steps,
        (None, None) => match (wish.rounds, entry.length) {
            (Some(rounds), _) => steps_of(recipe, rounds, pass)?,
            // Steps that are silent in between make a federated run long: it is counted in rounds.
            (None, _) if participation.federated() => steps_of(recipe, FEDERATED_ROUNDS, pass)?,
            (None, tasks::Length::Epochs(epochs)) => ((epochs * epoch).round() as u64).max(1),
            (None, tasks::Length::Steps(steps)) => steps,
        },
    };
    Ok(Length { steps, batch_rows, pass })
}

/// `loss=0.5` as a number.
fn until(text: &str) -> anyhow::Result<f64> {
    match text.split_once('=').map(|(what, value)| (what.trim(), value.trim().parse::<f64>())) {
        Some(("loss", Ok(loss))) if loss.is_finite() => Ok(loss),
        _ => bail!("--until takes loss=X with a number, `{text}` came"),
    }
}

/// Rounds, or the updates of a server to which workers come one by one.
fn updates(recipe: &Recipe, rounds: u64, workers: usize) -> anyhow::Result<u64> {
    let served = recipe.participation()?.served();
    Ok(served.map_or(rounds, |served| rounds * workers as u64 / served.count.max(1) as u64))
}

/// Settles where the layers live: how many there are, and, where the recipe leaves it open, where the network is cut, by
/// what layers cost on this machine.
fn place(
    recipe: &mut Recipe,
    entry: &tasks::Entry,
    workers: usize,
    seed: u64,
    data: Option<&PathBuf>,
) -> anyhow::Result<usize> {
    let Placement::Pipeline(pipeline) = recipe.placement()? else { return Ok(0) };
    let made = entry.make(recipe.choice("task")?, &Element::word("iid"), 1, seed, data, 0)?;
    let layers = made.task.layers()?;
    // Refused before anything is measured.
    pipeline.blocks_on(workers, layers)?;
    let workload = made.task.workload(1, seed)?;
    let costs = if pipeline.cuts.is_none() {
        let batch = recipe.build(clock::real())?.batch;
        experiment::measure(&*workload, batch, seed, &*clock::real())?
    } else {
        weigh(&*workload)
    };
    recipe.place(workers, &costs)?;
    Ok(layers)
}

/// Whether nothing of `privacy` waits for the length of the run.
fn privacy_is_known(recipe: &Recipe) -> anyhow::Result<bool> {
    let noise = recipe.choice("privacy")?.named.get("noise");
    Ok(recipe.choice("privacy")?.name == "none" || noise.is_some_and(|noise| matches!(noise, Value::Number(_))))
}

/// The steps of so many rounds.
fn steps_of(recipe: &Recipe, rounds: u64, pass: f64) -> anyhow::Result<u64> {
    let mut known = recipe.clone();
    if !privacy_is_known(recipe)? {
        known.choose("privacy", &Element::word("none"))?;
    }
    // The most steps that make no more rounds: the last round is as long as the others.
    let (mut low, mut high) = (rounds, 2 * rounds);
    while high < STEPS && known.rounds(high, pass)? <= rounds {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if known.rounds(middle, pass)? <= rounds {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
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
