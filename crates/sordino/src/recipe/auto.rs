//! What `auto` stands for: numbers from the task's defaults, choices from the other choices.

use super::Recipe;
use crate::base::Result;
use crate::exchange::{self, Plan};
use crate::grammar::{Element, Value};
use crate::{aggregate, compress};

/// What a task suggests where a recipe says `auto`.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Peak rate for SGD with the task's momentum; another momentum keeps rate/(1 - momentum).
    pub sgd_rate: f64,
    /// Peak rate for Adam and AdamW.
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
fn fill(element: &mut Element, key: &str, absent: bool, value: Value) {
    let auto = Value::Element(Element::word("auto"));
    match element.named.get(key) {
        Some(v) if *v == auto => {}
        None if absent => {}
        _ => return,
    }
    element.named.insert(key.to_owned(), value);
}

/// Resolves every `auto` of a recipe.
pub fn resolve(recipe: &mut Recipe, defaults: &Defaults) -> Result<()> {
    let mut optim = recipe.choice("optim")?.clone();
    let mut rate = defaults.adam_rate;
    if optim.name == "sgd" {
        fill(&mut optim, "momentum", true, Value::Number(defaults.momentum));
        // A step grows by 1/(1 - mu) under momentum: another mu keeps the task's effective rate.
        let mu = number(&optim, "momentum").unwrap_or(defaults.momentum);
        rate = rounded(defaults.sgd_rate * (1.0 - mu) / (1.0 - defaults.momentum));
    }
    fill(&mut optim, "rate", true, Value::Number(rate));
    let rate = number(&optim, "rate").unwrap_or(rate);
    fill(&mut optim, "schedule", true, Value::parse(defaults.anneal)?);
    let gamma = rounded(rate * defaults.threshold);
    // A rate of 0 makes no step that could be clipped.
    let gamma = if gamma > 0.0 { Value::Number(gamma) } else { Value::Element(Element::word("none")) };
    fill(&mut optim, "clip", false, gamma);
    let optim_is_sgd = optim.name == "sgd";
    recipe.choose("optim", &optim)?;

    let mut local = recipe.choice("local")?.clone();
    let keep = Value::Element(Element::word(if optim_is_sgd { "reset" } else { "keep" }));
    fill(&mut local, "state", false, keep);
    fill(&mut local, "batch", true, Value::Number(defaults.batch as f64));
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
    if participation.name != "everyone" {
        fill(&mut participation, "clients", true, Value::Number(defaults.clients as f64));
        recipe.choose("participation", &participation)?;
    }

    let mut privacy = recipe.choice("privacy")?.clone();
    if privacy.name != "none" {
        // Noise is as large as the bound in every round: many short steps average it, few long ones do not.
        fill(&mut privacy, "clip", true, Value::Number(rounded(0.1 * defaults.tau)));
        // With a budget the noise is solved for once the length of the run is known.
        if !privacy.named.contains_key("epsilon") {
            fill(&mut privacy, "noise", true, Value::Number(1.0));
        }
        recipe.choose("privacy", &privacy)?;
    }

    if recipe.choice("payload")?.name == "auto" {
        let plain = codec.name == "dense" && codec.named.is_empty();
        let plain = plain && recipe.choice("feedback")?.name == "none" && recipe.choice("exchange")?.name != "star";
        let plain = plain && participation.name == "everyone" && privacy.name == "none";
        recipe.choose("payload", &Element::word(if plain { "parameters" } else { "displacement" }))?;
    }
    if matches!(exchange::plan(recipe.choice("exchange")?)?, Plan::Auto) {
        let federated = participation.name != "everyone";
        let linear = compress::build(&codec)?.linear().is_some();
        let linear = linear && aggregate::build(recipe.choice("aggregate")?)?.linear();
        let exchange = if federated {
            "star"
        } else if linear {
            "reduce"
        } else {
            "gather"
        };
        recipe.choose("exchange", &Element::word(exchange))?;
    }
    Ok(())
}
