//! What cannot go on while words travel: mixes with `staleness=delayed`.

use super::{Recipe, Refuse};
use crate::base::Result;
use crate::local;
use crate::staleness;

/// Refuses mixes with words that are late on purpose.
pub fn check(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    if staleness::build(recipe.choice("staleness")?)?.delay() == 0 {
        return Ok(());
    }
    if recipe.participation()?.federated() {
        return refuse(
            "staleness",
            "participation",
            "who has spoken may not be asked in the next round, so nobody goes on meanwhile",
            "set staleness=fresh, or participation=everyone",
        );
    }
    if recipe.choice("placement")?.name != "replicate" {
        return refuse(
            "staleness",
            "placement",
            "blocks hear their neighbours while they work, and words are heard in the order in which they were sent",
            "set staleness=fresh, or placement=replicate",
        );
    }
    if !local::build(recipe.choice("local")?)?.local(false).is_plain() {
        return refuse(
            "staleness",
            "local",
            "these local steps go by where a round began, and here it begins before all have agreed on that",
            "set local=descent without prox, or staleness=fresh",
        );
    }
    if recipe.choice("schedule")?.name == "epochs" {
        return refuse(
            "staleness",
            "schedule",
            "every worker makes a number of steps of its own, and words are late by the same number for all",
            "set schedule=constant, or staleness=fresh",
        );
    }
    if recipe.needs_engine()? {
        return refuse(
            "staleness",
            "exchange",
            "an engine's collective begins when all have come to it, so nothing would travel meanwhile",
            "use exchange=reduce, or staleness=fresh",
        );
    }
    Ok(())
}
