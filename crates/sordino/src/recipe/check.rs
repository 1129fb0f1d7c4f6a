//! Refusals: mixes that make no sense, each with its reason and a cure.

mod chunked;
mod dual;
mod federated;
mod fragments;
mod hosts;
mod late;
mod piped;
mod private;
mod served;

use super::Recipe;
use crate::aggregate::Aggregator;
use crate::base::{Error, Layout, Result, Role, Tensor};
use crate::compress::{self, Class, Compressor};
use crate::exchange::{self, Plan};
use crate::fabric::Medium;
use crate::grammar::Value;
use crate::optim::Transform;
use crate::payload::Payload;
use crate::{aggregate, feedback, optim, payload};

/// Refuses a resolved recipe that makes no sense, with a reason and a cure.
pub fn check(recipe: &Recipe) -> Result<()> {
    // Every choice must build by itself: wrong values are named here.
    recipe.build(std::sync::Arc::new(crate::fabric::Still))?;
    let refuse = refusing(recipe);
    let partition = recipe.choice("partition")?;
    let flip = super::flips(partition)?;
    if flip > 0 && partition.name == "iid" {
        return Err(Error::request(format!(
            "`partition={partition}`: rows that are dealt anew each epoch belong to no client, so no client's labels can be \
             flipped; use partition=contiguous(flip={flip}), dirichlet or natural"
        )));
    }
    let payload = payload::build(recipe.choice("payload")?)?;
    let memory = feedback::build(recipe.choice("feedback")?)?;
    let mut codec = compress::build(recipe.choice("compress")?)?;
    let aggregator = aggregate::build(recipe.choice("aggregate")?)?;
    let schedule = recipe.choice("schedule")?;
    let remembers = recipe.choice("feedback")?.name != "none";

    if payload == Payload::Gradient && memory.looks_ahead() {
        return refuse(
            "payload",
            "feedback",
            "looking ahead subtracts a residual in gradient units from parameters",
            "offer displacement, or set feedback.lambda=0",
        );
    }
    let every_step =
        schedule.name == "constant" && !matches!(schedule.named.get("every"), Some(v) if v.to_string() != "1");
    if payload == Payload::Gradient && !every_step {
        return refuse(
            "payload",
            "schedule",
            "a gradient is offered at the point where everybody stands, so there are no silent steps",
            "offer displacement or parameters, or set schedule=constant(1)",
        );
    }
    // What a compressor promises does not depend on the layout's size here: any matrix large enough shows its class.
    let square = Layout::new([Tensor::new("square", &[64, 64], Role::Weight)]);
    let class = codec.class(&square);
    let faithful = class == Class::Lossless || recipe.choice("compress")?.name == "half";
    if payload == Payload::Parameters {
        parameters(faithful, remembers, &*aggregator, &refuse)?;
    }
    exchanged(recipe, &mut *codec, &*aggregator, &square, &refuse)?;
    let by_expected = divides_by_expected(recipe)?;
    if recipe.choice("feedback")?.name == "ef21" && (recipe.choice("aggregate")?.name != "mean" || by_expected) {
        return refuse(
            "feedback",
            "aggregate",
            "the mean of EF21's shifts is kept by adding up means of differences",
            "use aggregate=mean",
        );
    }
    local(recipe, payload, &refuse)?;
    if recipe.choice("local")?.name == "dual" {
        dual::check(recipe, payload, class, &square, &refuse)?;
    }
    piped::check(recipe, &refuse)?;
    federated::check(recipe, &*memory, &refuse)?;
    served::check(recipe, payload, &*memory, &refuse)?;
    late::check(recipe, &refuse)?;
    fragments::check(recipe, &refuse)?;
    hosts::check(recipe, &refuse)?;
    private::check(recipe, class, &refuse)
}

/// What an exchange asks of what travels by it.
fn exchanged(
    recipe: &Recipe,
    codec: &mut dyn Compressor,
    aggregator: &dyn Aggregator,
    square: &Layout,
    refuse: &Refuse,
) -> Result<()> {
    match exchange::plan(recipe.choice("exchange")?)? {
        Plan::Reduce { engine, .. } => {
            if codec.linear().is_none() {
                return refuse(
                    "exchange",
                    "compress",
                    "an all-reduce adds messages up on the way, and these cannot be added",
                    "use exchange=gather or exchange=star, or exchange=auto",
                );
            }
            if !aggregator.linear() {
                return refuse(
                    "exchange",
                    "aggregate",
                    "an all-reduce can only add up",
                    "use exchange=gather or exchange=star, or exchange=auto",
                );
            }
            if engine {
                by_engine(recipe, aggregator, refuse)?;
            }
        }
        Plan::Star { down, feedback: way_down } => {
            let down_class = compress::build(&down)?.class(square);
            let differences = recipe.choice("feedback")?.name == "ef21";
            if differences && down_class != Class::Lossless && way_down.name == "none" {
                return refuse(
                    "feedback",
                    "exchange",
                    "EF21's shifts add up what was agreed, so what is lost on the way down is lost for good",
                    "set exchange.feedback=ef21 as well, or exchange.down=dense",
                );
            }
            if feedback::build(&way_down)?.looks_ahead() {
                return refuse(
                    "exchange",
                    "feedback",
                    "nobody takes gradients on the way down, so nobody looks ahead there",
                    "set exchange.feedback=residual",
                );
            }
        }
        Plan::TwoPhase { .. } => chunked::check(recipe, refuse)?,
        Plan::Gather { .. } => {}
        Plan::Auto => return Err(Error::request("exchange=auto is resolved before a recipe is checked")),
    }
    Ok(())
}

/// Refuses a resolved recipe whose vectors, or fragments of them, may not be coded and aggregated chunk by chunk.
pub(super) fn by_chunks(recipe: &Recipe) -> Result<()> {
    chunked::check(recipe, &refusing(recipe))?;
    fragments::check(recipe, &refusing(recipe))
}

/// The refusal of two choices of a recipe, as a sentence.
fn refusing(recipe: &Recipe) -> impl Fn(&str, &str, &str, &str) -> Result<()> {
    let text = |axis: &str| recipe.choice(axis).map(ToString::to_string);
    move |a, b, why, cure| Err(Error::request(format!("`{a}={}` with `{b}={}`: {why}; {cure}", text(a)?, text(b)?)))
}

/// What the engine's own all-reduce asks of the other choices.
fn by_engine(recipe: &Recipe, aggregator: &dyn Aggregator, refuse: &Refuse) -> Result<()> {
    if aggregator.weighs() {
        return refuse(
            "exchange",
            "aggregate",
            "an engine adds up without weights",
            "use exchange=reduce, or aggregate=mean",
        );
    }
    if recipe.choice("placement")?.name != "replicate" {
        return refuse(
            "exchange",
            "placement",
            "the engine's collective is of all ranks, and here those meet that hold the same blocks",
            "use exchange=reduce",
        );
    }
    if matches!(recipe.medium()?, Medium::Sim(_)) {
        return refuse("exchange", "fabric", "a simulated world has no engine", "use exchange=reduce");
    }
    Ok(())
}

/// What offering parameters asks of the other choices.
fn parameters(faithful: bool, remembers: bool, aggregator: &dyn Aggregator, refuse: &Refuse) -> Result<()> {
    if !faithful || remembers {
        return refuse(
            "payload",
            if remembers { "feedback" } else { "compress" },
            "what is agreed replaces the model, so whatever is left unsaid is lost from it",
            "offer displacement",
        );
    }
    if sums(aggregator) {
        return refuse(
            "payload",
            "aggregate",
            "a sum of models is no model",
            "offer displacement, or set aggregate=mean",
        );
    }
    if aggregator.remembers() {
        return refuse(
            "payload",
            "aggregate",
            "it pulls everybody towards what was agreed last, which for parameters is the model before the round",
            "offer displacement",
        );
    }
    Ok(())
}

/// Whether it gains with every voice; half of the sum of two is their mean by chance.
fn sums(aggregator: &dyn Aggregator) -> bool {
    aggregator.gain(4.0, 4.0) > aggregator.gain(2.0, 2.0)
}

/// Whether the mean divides by how many speak on average.
fn divides_by_expected(recipe: &Recipe) -> Result<bool> {
    Ok(recipe.choice("aggregate")?.named.get("by").is_some_and(|by| by.to_string() == "expected"))
}

/// What local work asks of the other choices.
fn local(recipe: &Recipe, payload: Payload, refuse: &Refuse) -> Result<()> {
    let needs = optim::build(recipe.choice("optim")?)?.chain.needs();
    let estimate = match recipe.choice("local")?.named.get("estimate") {
        Some(Value::Element(element)) => element.name.clone(),
        _ => "plain".into(),
    };
    if let Some(needed) = needs.filter(|needed| **needed != estimate) {
        return refuse(
            "optim",
            "local",
            "the step is measured by norms of micro-batch gradients, and nobody takes them",
            &format!("set local.estimate={needed}"),
        );
    }
    if let (Some(estimate), "reestimate") = (remembering(recipe)?, recipe.choice("buffers")?.name.as_str()) {
        return refuse(
            "buffers",
            "local",
            &format!("an evaluation takes gradients to reestimate them, and {estimate} would remember these"),
            "set buffers=average",
        );
    }
    let state = recipe.choice("local")?.named.get("state").map(ToString::to_string);
    if payload == Payload::Gradient && state.is_some_and(|s| s != "keep") {
        return refuse(
            "local",
            "payload",
            "the optimizer runs after the exchange, alike on every rank, so a meeting has nothing to do to its state",
            "set local.state=keep",
        );
    }
    if recipe.choice("local")?.name == "scaffold" && payload == Payload::Gradient {
        return refuse(
            "local",
            "payload",
            "control variates correct local steps, and where gradients are offered there are none",
            "offer displacement, or set local=descent",
        );
    }
    if recipe.choice("local")?.name == "scaffold"
        && (recipe.choice("aggregate")?.name != "mean" || divides_by_expected(recipe)?)
    {
        return refuse(
            "local",
            "aggregate",
            "the mean of all clients' variates is kept by adding up means of what they changed by",
            "use aggregate=mean",
        );
    }
    if recipe.choice("local")?.name == "scaffold" && !sgd_without_momentum(recipe)? {
        return refuse(
            "local",
            "optim",
            "a variate is the mean gradient along the local steps, which only plain SGD lets be read off them",
            "set optim=sgd(momentum=0) without clip, max_norm, decay or prox",
        );
    }
    Ok(())
}

/// The estimate that remembers what rows said, if there is one.
fn remembering(recipe: &Recipe) -> Result<Option<String>> {
    Ok(match recipe.choice("local")?.named.get("estimate") {
        Some(Value::Element(e)) if ["svrg", "saga"].contains(&e.name.as_str()) => Some(e.name.clone()),
        _ => None,
    })
}

fn sgd_without_momentum(recipe: &Recipe) -> Result<bool> {
    let optim = recipe.choice("optim")?;
    let zero = |key: &str| optim.named.get(key).is_none_or(|v| ["0", "none"].contains(&v.to_string().as_str()));
    Ok(optim.name == "sgd" && ["momentum", "clip", "max_norm", "decay", "prox"].iter().all(|key| zero(key)))
}

/// Refuses two choices, with a reason and a cure.
type Refuse<'a> = dyn Fn(&str, &str, &str, &str) -> Result<()> + 'a;
