//! What breaks the tie between dual variables and the model, each by its name.

use super::super::axes;
use super::{Recipe, Refuse, sgd_without_momentum};
use crate::base::{Layout, Result};
use crate::compress::{self, Class};
use crate::exchange::{self, Plan};
use crate::payload::Payload;

/// Refuses mixes with `local=dual`; a compressor's class is that on a `square`.
pub fn check(recipe: &Recipe, payload: Payload, class: Class, square: &Layout, refuse: &Refuse) -> Result<()> {
    if payload != Payload::Displacement {
        return refuse(
            "local",
            "payload",
            "dual variables have moved by what is offered, and only a displacement is that",
            "set payload=displacement",
        );
    }
    if !sgd_without_momentum(recipe)? {
        return refuse(
            "local",
            "optim",
            "every step goes to the best there is for its row, and no optimizer has a say in it",
            "set optim=sgd(momentum=0) without clip, max_norm or decay",
        );
    }
    if !["mean", "sum"].contains(&recipe.choice("aggregate")?.name.as_str()) {
        return refuse(
            "local",
            "aggregate",
            "dual variables are scaled by what a worker's word counts for, and here nobody knows it",
            "set aggregate=mean or sum",
        );
    }
    if recipe.choice("outer")?.name != "none" {
        return refuse(
            "local",
            "outer",
            "an outer step moves the model by other than what dual variables moved by",
            "set outer=none",
        );
    }
    if recipe.choice("privacy")?.name != "none" {
        return refuse(
            "local",
            "privacy",
            "noise moves the model and no dual variable",
            "set privacy=none, or local=descent",
        );
    }
    if axes::attack(recipe.choice("fabric")?)?.1.is_some() {
        return refuse(
            "local",
            "fabric",
            "a lie moves the model and no dual variable, and neither mean nor sum withstands one",
            "set fabric.attack=none, or local=descent",
        );
    }
    let feedback = &recipe.choice("feedback")?.name;
    if feedback == "ef21" || (class != Class::Lossless && feedback == "none") {
        return refuse(
            "local",
            if feedback == "ef21" { "feedback" } else { "compress" },
            "dual variables have moved by all that is offered, so what is left unsaid has to be said later",
            "set feedback=residual(lambda=auto)",
        );
    }
    match exchange::plan(recipe.choice("exchange")?)? {
        Plan::Star { down, feedback } | Plan::TwoPhase { down, feedback, .. }
            if compress::build(&down)?.class(square) != Class::Lossless && feedback.name != "residual" =>
        {
            refuse(
                "local",
                "exchange",
                "dual variables have moved by all that was agreed on, so what is left out on the way down has to be told later",
                "set exchange.feedback=residual, or exchange.down=dense",
            )
        }
        _ => Ok(()),
    }
}
