//! What `auto` stands for: numbers from the task's defaults, choices from the other choices.

use super::{Recipe, meeting};
use crate::base::Result;
use crate::grammar::{Element, Value};
use crate::{aggregate, local, optim};

/// What a task suggests where a recipe says `auto`.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Peak rate for SGD with the task's momentum; another momentum keeps rate/(1 - momentum).
    pub sgd_rate: f64,
    /// Peak rate for Adam and AdamW; LARS, CLARS and LAMB get theirs from it.
    pub adam_rate: f64,
    /// Momentum for SGD.
    pub momentum: f64,
    /// The rate over time, as an element of `optim.schedule`.
    pub anneal: &'static str,
    /// Rows per worker and step.
    pub batch: usize,
    /// Threshold on gradient norms, γ/η of CELGC.
    pub threshold: f64,
    /// Threshold τ of clipping before sending.
    pub tau: f64,
    /// Federated clients: the data's own, where they have any.
    pub clients: usize,
    /// Parameters of the model, or a guess that is rather too large: what rates for zeroth-order estimates carry.
    pub parameters: usize,
    /// Ranks that meet; 1 where that is not known.
    pub ranks: usize,
}

impl Defaults {
    /// Plain SGD at a rate of 0.1 on batches of 32.
    pub const PLAIN: Self = Self {
        sgd_rate: 0.1,
        adam_rate: 1e-3,
        momentum: 0.0,
        anneal: "constant",
        batch: 32,
        threshold: 1.0,
        tau: 1.0,
        clients: 100,
        parameters: 1000,
        ranks: 1,
    };
}

impl Default for Defaults {
    fn default() -> Self {
        Self::PLAIN
    }
}

fn number(element: &Element, key: &str) -> Option<f64> {
    match element.named.get(key) {
        Some(Value::Number(x)) => Some(*x),
        _ => None,
    }
}

/// Six decimal digits: what an `auto` is written down as.
fn rounded(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

/// Replaces `key` where it says `auto`; an absent key counts as `auto` if `absent` says so.
pub(super) fn fill(element: &mut Element, key: &str, absent: bool, value: Value) {
    let auto = Value::Element(Element::word("auto"));
    match element.named.get(key) {
        Some(v) if *v == auto => {}
        None if absent => {}
        _ => return,
    }
    element.named.insert(key.to_owned(), value);
}

/// The clip of `local.estimate=per_sample`, where it is given.
pub(super) fn row_clip(recipe: &Recipe) -> Result<Option<f64>> {
    Ok(match recipe.choice("local")?.named.get("estimate") {
        Some(Value::Element(e)) if e.name == "per_sample" => match e.named.get("clip").or_else(|| e.positional.first())
        {
            Some(Value::Number(clip)) => Some(*clip),
            _ => None,
        },
        _ => None,
    })
}

/// Clips rows one by one at `clip`, if `local.estimate` clips rows at all.
fn clip_rows(recipe: &mut Recipe, clip: Value) -> Result<()> {
    let mut local = recipe.choice("local")?.clone();
    if let Some(Value::Element(e)) = local.named.get_mut("estimate")
        && e.name == "per_sample"
    {
        e.named.insert("clip".into(), clip);
    }
    recipe.choose("local", &local)
}

/// How much longer than the gradient its estimate is, in mean square: 1 + (d + 1)/q where q Gaussian directions stand for
/// d parameters, by themselves or for every row.
fn stretch(recipe: &Recipe, parameters: usize) -> Result<f64> {
    let mut estimate = recipe.choice("local")?.named.get("estimate");
    if let Some(Value::Element(e)) = estimate
        && ["svrg", "saga"].contains(&e.name.as_str())
    {
        estimate = e.named.get("of").or_else(|| e.positional.first());
    }
    let Some(Value::Element(e)) = estimate.filter(|e| matches!(e, Value::Element(e) if e.name == "gausge")) else {
        return Ok(1.0);
    };
    let directions = match e.named.get("directions").or_else(|| e.positional.get(1)) {
        Some(Value::Number(directions)) if *directions >= 1.0 => *directions,
        _ => 1.0,
    };
    Ok(1.0 + (parameters as f64 + 1.0) / directions)
}

/// How many steps a server makes of the gradients of four workers, which make one where everybody waits for everybody:
/// each is to be so much shorter.
fn crowd(recipe: &Recipe) -> Result<f64> {
    let participation = recipe.choice("participation")?;
    let key = match participation.name.as_str() {
        "first_b" => "count",
        "buffered" => "size",
        _ => return Ok(1.0),
    };
    if recipe.choice("payload")?.name != "gradient" {
        return Ok(1.0);
    }
    let count = match participation.named.get(key).or_else(|| participation.positional.first()) {
        Some(Value::Number(count)) => count.clamp(1.0, 4.0),
        _ if key == "size" => 4.0,
        _ => 1.0,
    };
    Ok(4.0 / count)
}

/// The root mean square of weights that rates are converted by: between the 0.03 and the 0.3 of the usual
/// initialisations of layers with a thousand and with ten inputs.
const WEIGHT: f64 = 0.1;

/// A number of the optimizer, or its default.
fn setting(optim: &Element, key: &str) -> f64 {
    let keys = optim::ENTRIES.iter().filter(|e| e.name == optim.name).flat_map(|e| e.keys);
    let default = || keys.into_iter().find(|k| k.name == key)?.default.parse().ok();
    number(optim, key).or_else(default).unwrap_or(0.0)
}

/// The peak rate of an optimizer, from the task's.
///
/// ```text
/// sgd          (1 − μ)·r        r = sgd_rate/(1 − the task's μ), what a steady gradient is stepped along with
/// mixclip      r                its momentum is dampened, so a steady gradient is stepped along with the rate itself
/// lars, clars  (1 − μ)/τ · a    a = adam_rate/0.1, what Adam moves a weight by under a steady gradient, relative to
///                               a weight; here rate·τ/(1 − μ) is that
/// lamb         √((1 − β₁)/(1 + β₁)) · a     its steps have this length always, Adam's where gradients are all noise
/// ```
///
/// r is divided by `stretch`; the others do not depend on how long gradients are.
fn peak(optim: &Element, defaults: &Defaults, stretch: f64) -> f64 {
    let steady = defaults.sgd_rate / (1.0 - defaults.momentum) / stretch;
    let relative = defaults.adam_rate / WEIGHT;
    match optim.name.as_str() {
        "sgd" => {
            let rate = defaults.sgd_rate * (1.0 - setting(optim, "momentum")) / (1.0 - defaults.momentum);
            rounded(rate / stretch)
        }
        "mixclip" => rounded(steady),
        "lars" | "clars" => rounded(relative * (1.0 - setting(optim, "momentum")) / setting(optim, "trust")),
        "lamb" => {
            let beta = setting(optim, "beta1");
            rounded(relative * libm::sqrt((1.0 - beta) / (1.0 + beta)))
        }
        _ => defaults.adam_rate,
    }
}

/// Replaces `feedback.lambda=auto` by what local work takes its own moves for, among `ranks` ranks.
pub fn pace(recipe: &mut Recipe, ranks: usize) -> Result<()> {
    let mut feedback = recipe.choice("feedback")?.clone();
    if feedback.name != "residual" {
        return Ok(());
    }
    fill(&mut feedback, "lambda", false, Value::Number(ahead(recipe, ranks)?));
    recipe.choose("feedback", &feedback)
}

/// Replaces a `feedback.lambda` that is what `auto` was among `old` ranks by what it is among `new`.
pub fn repace(recipe: &mut Recipe, old: usize, new: usize) -> Result<()> {
    let mut feedback = recipe.choice("feedback")?.clone();
    if number(&feedback, "lambda") == Some(ahead(recipe, old)?) {
        feedback.named.insert("lambda".into(), Value::Number(ahead(recipe, new)?));
        recipe.choose("feedback", &feedback)?;
    }
    Ok(())
}

/// What local work takes its own moves for, among `ranks` ranks; 0 where it does not ask.
fn ahead(recipe: &Recipe, ranks: usize) -> Result<f64> {
    let voices = recipe.participation()?.expected(ranks);
    let gain = aggregate::build(recipe.choice("aggregate")?)?.gain(voices, voices);
    Ok(local::build(recipe.choice("local")?)?.local(false).ahead(gain))
}

/// Resolves every `auto` of a recipe but those that wait for the size of the run.
pub fn resolve(recipe: &mut Recipe, defaults: &Defaults) -> Result<()> {
    let mut optim = recipe.choice("optim")?.clone();
    // Dual ascent has no optimizer to give momentum to.
    let dual = recipe.choice("local")?.name == "dual";
    if optim.name == "sgd" {
        fill(&mut optim, "momentum", true, Value::Number(if dual { 0.0 } else { defaults.momentum }));
    }
    let rate = peak(&optim, defaults, stretch(recipe, defaults.parameters)? * crowd(recipe)?);
    fill(&mut optim, "rate", true, Value::Number(rate));
    let rate = number(&optim, "rate").unwrap_or(rate);
    fill(&mut optim, "schedule", true, Value::parse(defaults.anneal)?);
    let gamma = rounded(rate * defaults.threshold);
    // A rate of 0 makes no step that could be clipped.
    let clip = if gamma > 0.0 { Value::Number(gamma) } else { Value::Element(Element::word("none")) };
    fill(&mut optim, "clip", false, clip);
    fill(&mut optim, "gamma", false, Value::Number(if gamma > 0.0 { gamma } else { defaults.threshold }));
    let adaptive = matches!(optim.name.as_str(), "adam" | "adamw" | "lamb");
    recipe.choose("optim", &optim)?;

    let mut local = recipe.choice("local")?.clone();
    let keep = Value::Element(Element::word(if adaptive { "keep" } else { "reset" }));
    fill(&mut local, "state", false, keep);
    if !dual {
        fill(&mut local, "batch", true, Value::Number(defaults.batch as f64));
        let mut feedback = recipe.choice("feedback")?.clone();
        if feedback.name == "residual" {
            fill(&mut feedback, "lambda", false, Value::Number(0.0));
            recipe.choose("feedback", &feedback)?;
        }
    }
    recipe.choose("local", &local)?;

    let mut schedule = recipe.choice("schedule")?.clone();
    if matches!(schedule.name.as_str(), "qsr" | "power") {
        let base = number(&schedule, "base").unwrap_or(4.0);
        fill(&mut schedule, "alpha", true, Value::Number(rounded(rate * libm::sqrt(1.2 * base))));
        recipe.choose("schedule", &schedule)?;
    }

    let mut codec = recipe.choice("compress")?.clone();
    fill(&mut codec, "clip", false, Value::Number(defaults.tau));
    if codec.name == "clipped" {
        fill(&mut codec, "tau", true, Value::Number(defaults.tau));
    }
    recipe.choose("compress", &codec)?;

    let mut participation = recipe.choice("participation")?.clone();
    if !matches!(participation.name.as_str(), "everyone" | "first_b") {
        let drawn = participation.name != "buffered";
        fill(&mut participation, "clients", drawn, Value::Number(defaults.clients as f64));
        recipe.choose("participation", &participation)?;
    }

    let mut staleness = recipe.choice("staleness")?.clone();
    if staleness.name == "distance" {
        // What eight steps along gradients of the usual size go: four workers are three steps late on average.
        fill(&mut staleness, "threshold", true, Value::Number(rounded(8.0 * gamma)));
        recipe.choose("staleness", &staleness)?;
    }

    let mut privacy = recipe.choice("privacy")?.clone();
    if privacy.name != "none" {
        let samples = privacy.named.get("unit").is_some_and(|unit| unit.to_string() == "sample");
        // Noise is as large as the bound in every round: many short steps average it, few long ones do not. Rows are
        // bounded where they are clipped one by one, and by the same number.
        let bound = if samples { row_clip(recipe)?.unwrap_or(1.0) } else { rounded(0.1 * defaults.tau) };
        fill(&mut privacy, "clip", true, Value::Number(bound));
        if let (true, None, Some(clip)) = (samples, row_clip(recipe)?, privacy.named.get("clip")) {
            clip_rows(recipe, clip.clone())?;
        }
        // With a budget the noise is solved for once the length of the run is known.
        if !privacy.named.contains_key("epsilon") {
            fill(&mut privacy, "noise", true, Value::Number(1.0));
        }
        recipe.choose("privacy", &privacy)?;
    }

    if recipe.choice("payload")?.name == "auto" {
        let plain = codec.name == "dense" && codec.named.is_empty();
        let plain = plain && recipe.choice("feedback")?.name == "none" && recipe.choice("exchange")?.name != "star";
        let plain = plain && participation.name == "everyone" && privacy.name == "none" && !dual;
        recipe.choose("payload", &Element::word(if plain { "parameters" } else { "displacement" }))?;
    }
    meeting::resolve(recipe, defaults)
}
