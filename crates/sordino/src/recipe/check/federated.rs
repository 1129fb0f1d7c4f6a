//! What makes no sense with clients that are not always there, or with a clock that is not virtual.

use super::{Recipe, Refuse};
use crate::base::Result;
use crate::exchange::{self, Plan};
use crate::fabric::Medium;
use crate::feedback::Feedback;

/// Refuses mixes with `participation` and `fabric`.
pub fn check(recipe: &Recipe, memory: &dyn Feedback, refuse: &Refuse) -> Result<()> {
    let (participation, medium) = (recipe.participation()?, recipe.medium()?);
    if participation.hurries() && matches!(medium, Medium::Threads(_)) {
        return refuse(
            "participation",
            "fabric",
            "who is late is decided by a virtual clock, and threads have none",
            "set fabric=sim, or participation.over=1 and participation.deadline=none",
        );
    }
    if !participation.federated() {
        return Ok(());
    }
    if matches!(medium, Medium::Threads(slow) if slow.count > 0) {
        return refuse(
            "participation",
            "fabric",
            "a thread plays one client after another, and how long a client of its own would take is a virtual clock's to say",
            "set fabric.slow=0, or fabric=sim(slow=1)",
        );
    }
    match exchange::plan(recipe.choice("exchange")?)? {
        Plan::Star { down, feedback } if down.name == "dense" && down.named.is_empty() && feedback.name == "none" => {}
        Plan::Star { .. } => {
            return refuse(
                "participation",
                "exchange",
                "a client that comes back after some rounds needs the whole model, and a compressed difference is of no use to it",
                "set exchange=star",
            );
        }
        _ => {
            return refuse(
                "participation",
                "exchange",
                "clients that are not always there meet at a server",
                "set exchange=star",
            );
        }
    }
    if let Some(estimate) = super::remembering(recipe)? {
        return refuse(
            "participation",
            "local",
            &format!("{estimate} remembers the rows of one client, and a rank plays many"),
            "set local.estimate to what it is made of, or participation=everyone",
        );
    }
    let by_expected = recipe.choice("aggregate")?.named.get("by").is_some_and(|by| by.to_string() == "expected");
    if recipe.choice("payload")?.name == "parameters" && by_expected {
        return refuse(
            "payload",
            "aggregate",
            "a sum of models over another number than came is no model",
            "offer displacement, or set aggregate=mean",
        );
    }
    let buffers = recipe.choice("buffers")?;
    if buffers.name != "average" {
        return refuse(
            "participation",
            "buffers",
            "a client's running statistics are agreed on or lost: nobody keeps them until it is asked again",
            "set buffers=average",
        );
    }
    let averages = recipe.choice("feedback")?.named.get("every").is_some_and(|every| every.to_string() != "0");
    if averages || memory.evaluates_ahead() {
        return refuse(
            "participation",
            "feedback",
            "averaging what everybody remembers needs everybody",
            "set feedback.every=0 and feedback.evaluate=x, or participation=everyone",
        );
    }
    if recipe.choice("local")?.named.get("state").is_some_and(|state| state.to_string() == "average") {
        return refuse(
            "participation",
            "local",
            "averaging optimizer state needs everybody",
            "set local.state=reset, or keep, which every client keeps for itself",
        );
    }
    Ok(())
}
