//! What makes no sense where workers hold blocks of a network.

use super::{Recipe, Refuse};
use crate::base::Result;
use crate::grammar::Value;
use crate::placement::{Pipeline, Placement, Stale};

/// Refuses mixes with `placement`.
pub fn check(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    let Placement::Pipeline(pipeline) = recipe.placement()? else { return Ok(()) };
    let Pipeline { capacity, stale, .. } = pipeline;
    if recipe.choice("payload")?.name == "gradient" && stale == Stale::Recompute && capacity > 0 {
        return refuse(
            "placement",
            "payload",
            "a block makes no step before an error has come to it, and where gradients are offered everybody steps",
            "offer displacement",
        );
    }
    if recipe.participation()?.federated() || recipe.participation()?.served().is_some() {
        return refuse(
            "placement",
            "participation",
            "blocks of a network live on workers that are always there and work together",
            "set participation=everyone, or placement=replicate",
        );
    }
    if recipe.choice("privacy")?.name != "none" {
        return refuse(
            "placement",
            "privacy",
            "activations and errors tell of rows, and nothing hides them",
            "set privacy=none, or placement=replicate",
        );
    }
    let local = recipe.choice("local")?;
    if local.name != "descent" {
        return refuse(
            "placement",
            "local",
            "these local steps find gradients, or rows, by themselves, and a block finds none alone",
            "set local=descent",
        );
    }
    if matches!(local.named.get("estimate"), Some(Value::Element(estimate)) if estimate.name != "plain") {
        return refuse(
            "placement",
            "local",
            "an estimate asks a whole network for gradients, and workers hold blocks of one",
            "set local.estimate=plain",
        );
    }
    if recipe.clips_steps() {
        return refuse(
            "placement",
            "optim",
            "steps are clipped by the norm of the whole gradient, and every worker has its blocks' alone",
            "leave clip and max_norm out and use no mixclip; lars and lamb go by the norms of single tensors",
        );
    }
    Ok(())
}
