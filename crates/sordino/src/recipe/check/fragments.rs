//! What needs the whole model at every meeting: mixes with `payload.fragments`.

use super::{Recipe, Refuse};
use crate::aggregate;
use crate::base::Result;
use crate::exchange::{self, Plan};
use crate::payload;

/// Refuses mixes with fragments of the model that take turns.
pub fn check(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    if payload::offer(recipe.choice("payload")?)?.fragments == 1 {
        return Ok(());
    }
    let participation = recipe.participation()?;
    if participation.federated() || participation.served().is_some() {
        return refuse(
            "payload",
            "participation",
            "who is not there in a fragment's turn has no other",
            "set payload.fragments=1, or participation=everyone",
        );
    }
    if recipe.choice("placement")?.name != "replicate" {
        return refuse(
            "payload",
            "placement",
            "a worker's blocks are a fragment of the network already",
            "set payload.fragments=1, or placement=replicate",
        );
    }
    if recipe.choice("privacy")?.name != "none" {
        return refuse(
            "payload",
            "privacy",
            "what a fragment says has gathered over several rounds, and one round's is what is bounded",
            "set payload.fragments=1, or privacy=none",
        );
    }
    if recipe.choice("feedback")?.name != "residual" {
        return refuse(
            "payload",
            "feedback",
            "what was not said of a fragment whose turn it is not must be remembered",
            "set feedback=residual(lambda=1), which goes on from where the worker has come to",
        );
    }
    if recipe.choice("compress")?.name == "powersgd" {
        return refuse(
            "payload",
            "compress",
            "it goes on from what it said last, which was of another fragment",
            "set payload.fragments=1, or another compress",
        );
    }
    if let Plan::Star { down, feedback } | Plan::TwoPhase { down, feedback, .. } =
        exchange::plan(recipe.choice("exchange")?)?
        && (feedback.name != "none" || down.name == "powersgd")
    {
        return refuse(
            "payload",
            "exchange",
            "what a server remembers is of the fragment before",
            "set exchange.feedback=none and exchange.down=dense, or payload.fragments=1",
        );
    }
    if aggregate::build(recipe.choice("aggregate")?)?.remembers() {
        return refuse(
            "payload",
            "aggregate",
            "it goes on from what was agreed last, which was of another fragment",
            "set payload.fragments=1, or aggregate=median",
        );
    }
    Ok(())
}
