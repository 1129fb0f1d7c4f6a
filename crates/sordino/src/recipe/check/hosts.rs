//! What makes no sense where the ranks of a host make their steps together: mixes with `topology=hosts`.

use super::super::axes;
use super::{Recipe, Refuse, remembering, sums};
use crate::base::Result;
use crate::grammar::Value;
use crate::{aggregate, topology};

/// Refuses mixes with hosts of several ranks.
pub fn check(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    if topology::build(recipe.choice("topology")?)?.size() == 1 {
        return Ok(());
    }
    let participation = recipe.participation()?;
    if participation.federated() || participation.served().is_some() {
        return refuse(
            "topology",
            "participation",
            "ranks of a host are one worker that is always there",
            "set participation=everyone, or topology=complete",
        );
    }
    if recipe.choice("placement")?.name != "replicate" {
        return refuse(
            "topology",
            "placement",
            "ranks of a host hold the same network, and here they hold blocks of one",
            "set placement=replicate, or topology=complete",
        );
    }
    if recipe.choice("privacy")?.name != "none" {
        return refuse(
            "topology",
            "privacy",
            "gradients inside a host travel as they are, and nothing hides them",
            "set privacy=none, or topology=complete",
        );
    }
    if axes::attack(recipe.choice("fabric")?)?.1.is_some() {
        return refuse(
            "topology",
            "fabric",
            "a host speaks with one voice, and its ranks cannot lie by themselves",
            "set fabric.attack=none, or topology=complete",
        );
    }
    let aggregator = aggregate::build(recipe.choice("aggregate")?)?;
    if aggregator.weighs() || sums(&*aggregator) {
        return refuse(
            "topology",
            "aggregate",
            "inside a host gradients are averaged, every rank's alike",
            "set aggregate=mean, or topology=complete",
        );
    }
    if recipe.needs_engine()? {
        return refuse(
            "topology",
            "exchange",
            "an engine's collective is of all ranks, and here leaders meet",
            "use exchange=reduce",
        );
    }
    if recipe.choice("schedule")?.name == "epochs" {
        return refuse(
            "topology",
            "schedule",
            "ranks of a host make every step together, and passes over rows of their own are not equally long",
            "set schedule=constant, or topology=complete",
        );
    }
    let local = recipe.choice("local")?;
    if local.name != "descent" {
        return refuse(
            "topology",
            "local",
            "these local steps go by what a worker remembers of its own rows, and ranks of a host share theirs",
            "set local=descent, or topology=complete",
        );
    }
    let estimate = match local.named.get("estimate") {
        Some(Value::Element(estimate)) => estimate.name.as_str(),
        _ => "plain",
    };
    if remembering(recipe)?.is_some() || !["plain", "coosge"].contains(&estimate) {
        return refuse(
            "topology",
            "local",
            "what this estimate tells beside a gradient, or remembers, is of a worker's own rows",
            "set local.estimate=plain, or topology=complete",
        );
    }
    Ok(())
}
