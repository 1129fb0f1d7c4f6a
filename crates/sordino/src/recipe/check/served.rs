//! What makes no sense with a server that serves whoever comes, or without one.

use super::{Recipe, Refuse};
use crate::base::Result;
use crate::exchange::{self, Plan};
use crate::feedback::Feedback;
use crate::local;
use crate::payload::Payload;
use crate::staleness::{self, Staleness};

/// Refuses mixes with `participation` and `staleness`.
pub fn check(recipe: &Recipe, payload: Payload, memory: &dyn Feedback, refuse: &Refuse) -> Result<()> {
    let Some(served) = recipe.participation()?.served() else {
        if matches!(staleness::build(recipe.choice("staleness")?)?, Staleness::Fresh | Staleness::Delayed(_)) {
            return Ok(());
        }
        return refuse(
            "participation",
            "staleness",
            "where everybody is waited for no word is older than others",
            "set staleness=fresh or delayed, or participation=first_b(1)",
        );
    };
    let Plan::Star { down, feedback } = exchange::plan(recipe.choice("exchange")?)? else {
        return refuse("participation", "exchange", "who comes at its own pace comes to a server", "set exchange=star");
    };
    let coded = down.name != "dense" || !down.named.is_empty();
    let untold = feedback.name == "residual" && feedback.named.values().all(|v| v.to_string() == "0");
    if coded && !untold {
        return refuse(
            "participation",
            "exchange",
            "every worker is told differences since it came last, and what a code leaves of them is told later",
            "set exchange.feedback=residual, or exchange.down=dense",
        );
    }
    if !coded && feedback.name != "none" {
        return refuse(
            "participation",
            "exchange",
            "the whole model goes down, so nothing is left untold",
            "set exchange.feedback=none, or a code with exchange.down",
        );
    }
    if payload == Payload::Parameters {
        return refuse(
            "participation",
            "payload",
            "the model has moved on when a worker comes, and a whole model would take it back",
            "offer displacement or gradient",
        );
    }
    if recipe.choice("privacy")?.name != "none" {
        return refuse(
            "participation",
            "privacy",
            "accounting asks for rounds of which everybody knows who is in them",
            "set privacy=none, or participation=poisson",
        );
    }
    if recipe.build(std::sync::Arc::new(crate::fabric::Still))?.attack.is_some() {
        return refuse("participation", "fabric", "liars hear everybody first", "set fabric.attack=none");
    }
    if recipe.choice("feedback")?.name == "ef21"
        || memory.evaluates_ahead()
        || recipe.choice("feedback")?.named.get("every").is_some_and(|every| every.to_string() != "0")
    {
        return refuse(
            "participation",
            "feedback",
            "what this feedback needs of all workers at the same time there is not",
            "set feedback=residual with every=0 and evaluate=x, or feedback=none",
        );
    }
    beside(recipe, refuse)?;
    let staleness = staleness::build(recipe.choice("staleness")?)?;
    if matches!(staleness, Staleness::Delayed(_)) {
        return refuse(
            "participation",
            "staleness",
            "a worker goes on with what the server has just told it, so nobody is late by a number of steps",
            "set staleness=any, fresh or delay_adaptive, or participation=everyone",
        );
    }
    if recipe.choice("local")?.name == "dual" {
        dual(recipe, staleness, refuse)?;
    }
    if matches!(staleness, Staleness::Bounded(_)) && !served.waits {
        return refuse(
            "participation",
            "staleness",
            "everybody can be waited for only where those that have come wait",
            "use participation=first_b",
        );
    }
    let weighs = matches!(staleness, Staleness::DelayAdaptive | Staleness::Discount(_));
    let scale_free = ["adam", "adamw", "lamb", "lars", "clars"].contains(&recipe.choice("optim")?.name.as_str());
    if weighs && payload == Payload::Gradient && scale_free {
        return refuse(
            "optim",
            "staleness",
            "it divides by the size of gradients, so that a late one's weight is lost",
            "use optim=sgd, or offer displacement",
        );
    }
    if served.clients > 0 { played(recipe, coded, refuse) } else { Ok(()) }
}

/// What clients that workers play cannot do.
fn played(recipe: &Recipe, coded: bool, refuse: &Refuse) -> Result<()> {
    if let Some(estimate) = super::remembering(recipe)? {
        return refuse(
            "participation",
            "local",
            &format!("{estimate} remembers the rows of one client, and a worker plays many"),
            "set local.estimate to what it is made of, or participation.clients=0",
        );
    }
    if coded || recipe.choice("feedback")?.name != "none" || recipe.choice("local")?.name != "descent" {
        return refuse(
            "participation",
            if coded { "exchange" } else { "feedback" },
            "clients that workers play remember nothing",
            "set feedback=none, local=descent and exchange=star, or participation.clients=0",
        );
    }
    if recipe.choice("buffers")?.name != "average" {
        return refuse(
            "participation",
            "buffers",
            "a client's running statistics are agreed on or lost: nobody keeps them until it is played again",
            "set buffers=average, or participation.clients=0",
        );
    }
    Ok(())
}

/// What dual variables ask of a server that serves whoever comes.
fn dual(recipe: &Recipe, staleness: Staleness, refuse: &Refuse) -> Result<()> {
    if recipe.choice("aggregate")?.name != "sum" {
        return refuse(
            "participation",
            "aggregate",
            "dual variables move by their share of everybody's moves, and a mean over those that came is another share",
            "use aggregate=sum(0.5)",
        );
    }
    if !matches!(staleness, Staleness::Any | Staleness::Bounded(_)) {
        return refuse(
            "local",
            "staleness",
            "dual variables have moved by all of a word, and a late one is left out or counts for less",
            "set staleness=bounded(20), or any",
        );
    }
    Ok(())
}

/// What would have to travel beside the words.
fn beside(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    let settings = local::build(recipe.choice("local")?)?;
    if recipe.choice("local")?.name == "scaffold" || settings.state == local::Meeting::Average {
        return refuse(
            "participation",
            "local",
            "what travels beside the words is agreed on by everybody, and there is no everybody",
            "set local=descent with state=keep or reset",
        );
    }
    if settings.estimate.name == "micro_norms" {
        return refuse(
            "participation",
            "local",
            "norms that travel beside gradients are agreed on by everybody, and there is no everybody",
            "set local.estimate=plain and another optim",
        );
    }
    if !["average", "local"].contains(&recipe.choice("buffers")?.name.as_str()) {
        return refuse(
            "participation",
            "buffers",
            "the server has the mean of what workers told it last, and nothing else",
            "set buffers=average or buffers=local",
        );
    }
    Ok(())
}
