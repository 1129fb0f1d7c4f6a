//! What the accountant of privacy cannot certify, each by its name.

use super::super::auto::row_clip;
use super::{Recipe, Refuse};
use crate::base::Result;
use crate::compress::Class;
use crate::privacy::{self, Unit};

/// Refuses mixes with `privacy`.
pub fn check(recipe: &Recipe, class: Class, refuse: &Refuse) -> Result<()> {
    let per_sample = estimate(recipe)?.is_some_and(|name| name == "per_sample");
    let Some(mechanism) = privacy::build(recipe.choice("privacy")?)? else { return Ok(()) };
    let participation = recipe.participation()?;
    let aggregate = recipe.choice("aggregate")?;
    if mechanism.unit() == Unit::Sample {
        rows(recipe, per_sample, refuse)?;
    }
    if recipe.choice("payload")?.name == "parameters" {
        return refuse(
            "privacy",
            "payload",
            "what is bounded replaces the model, which would be cut to the length of one contribution",
            "offer displacement",
        );
    }
    if participation.federated() && participation.poisson(1).is_none() {
        return refuse(
            "privacy",
            "participation",
            "the accountant certifies clients that are drawn each by itself, and a draw of a fixed number is not",
            "set participation=poisson(10)",
        );
    }
    let by_expected = aggregate.named.get("by").is_some_and(|by| by.to_string() == "expected");
    if participation.federated() && !(aggregate.name == "mean" && by_expected) {
        return refuse(
            "privacy",
            "aggregate",
            "dividing by how many came, or by their rows, tells of one client more than the noise hides",
            "set aggregate=mean(by=expected)",
        );
    }
    if aggregate.name == "weighted" {
        return refuse("privacy", "aggregate", "numbers of rows travel, and nothing hides them", "set aggregate=mean");
    }
    if aggregate.name != "mean" && mechanism.trusts_server() {
        return refuse(
            "privacy",
            "aggregate",
            "with privacy.trust=server only the sum of all messages is private, and this is no sum",
            "set privacy.trust=nobody, or aggregate=mean",
        );
    }
    if mechanism.remembers_clean() && class != Class::Lossless {
        return refuse(
            "privacy",
            "compress",
            "feedback takes the vector before noise for what was said, but less than that was said",
            "set privacy.remember=said, or compress=dense",
        );
    }
    if recipe.choice("local")?.name == "scaffold" || estimate(recipe)?.is_some_and(|name| name == "micro_norms") {
        return refuse(
            "privacy",
            "local",
            "what travels beside the update is not hidden",
            "set local=descent without micro_norms",
        );
    }
    let feedback = recipe.choice("feedback")?;
    let shares = feedback.named.get("every").is_some_and(|every| every.to_string() != "0");
    if shares || feedback.named.get("evaluate").is_some_and(|at| at.to_string() == "mean") {
        return refuse(
            "privacy",
            "feedback",
            "residuals that are averaged travel without noise",
            "set feedback.every=0 and feedback.evaluate=x",
        );
    }
    if recipe.choice("local")?.named.get("state").is_some_and(|state| state.to_string() == "average") {
        return refuse(
            "privacy",
            "local",
            "moments that are averaged travel without noise",
            "set local.state=keep or reset",
        );
    }
    Ok(())
}

/// What hiding one row asks for.
fn rows(recipe: &Recipe, per_sample: bool, refuse: &Refuse) -> Result<()> {
    let batch = recipe.choice("local")?.named.get("batch").map(ToString::to_string).unwrap_or_default();
    if !per_sample {
        return refuse(
            "privacy",
            "local",
            "one row moves a gradient by any amount unless rows are clipped one by one",
            "set local.estimate=per_sample, or privacy.unit=client",
        );
    }
    let bound = recipe.choice("privacy")?.named.get("clip").map(ToString::to_string).unwrap_or_default();
    if row_clip(recipe)?.is_none_or(|clip| clip.to_string() != bound) {
        return refuse(
            "privacy",
            "local",
            "noise is measured by privacy.clip, and rows are clipped at another length",
            "leave the clip out of local.estimate=per_sample, or set both to the same number",
        );
    }
    if recipe.choice("payload")?.name != "gradient" {
        return refuse(
            "privacy",
            "payload",
            "a row that is looked at in many local steps moves what they add up to by more than one clipped gradient",
            "set payload=gradient and schedule=constant(1), or privacy.unit=client",
        );
    }
    if batch != "full" && !batch.starts_with("poisson") {
        return refuse(
            "privacy",
            "local",
            "the accountant certifies rows that are drawn each by itself, and mini-batches of a fixed size are not",
            "set local.batch=poisson(32) or full",
        );
    }
    if recipe.choice("feedback")?.name != "none" {
        return refuse(
            "privacy",
            "feedback",
            "what feedback remembers of rows travels later and is not bounded by one row's clip",
            "set feedback=none, or privacy.unit=client",
        );
    }
    if recipe.participation()?.federated() {
        return refuse(
            "privacy",
            "participation",
            "rows of clients that are drawn have a rate of their own for every client, which is not accounted for",
            "set participation=everyone, or privacy.unit=client",
        );
    }
    Ok(())
}

/// The estimate that is chosen, if any.
fn estimate(recipe: &Recipe) -> Result<Option<String>> {
    use crate::grammar::Value;
    Ok(match recipe.choice("local")?.named.get("estimate") {
        Some(Value::Element(element)) => Some(element.name.clone()),
        _ => None,
    })
}
