//! What coding and aggregating a vector chunk by chunk asks of the other choices.

use super::{Recipe, Refuse};
use crate::aggregate;
use crate::base::{Layout, Result, Role, Tensor};
use crate::compress::{self, Class};
use crate::exchange::{self, Plan};
use crate::feedback;

/// Refuses mixes with `exchange=two_phase`.
pub fn check(recipe: &Recipe, refuse: &Refuse) -> Result<()> {
    let Plan::TwoPhase { down, feedback: way_down, .. } = exchange::plan(recipe.choice("exchange")?)? else {
        return Ok(());
    };
    // Long enough for whatever a code does to long vectors, and for a matrix to be one.
    let square = Layout::new([Tensor::new("square", &[64, 64], Role::Weight)]);
    let mut up = compress::build(recipe.choice("compress")?)?;
    let aggregator = aggregate::build(recipe.choice("aggregate")?)?;
    if up.grain(&square).is_none() {
        let cure = if up.linear().is_some() && aggregator.linear() { "reduce" } else { "gather" };
        return refuse(
            "exchange",
            "compress",
            "this code looks at the whole vector at once, and chunks are coded one by one",
            &format!("use exchange={cure} or star, or a code of tensors or buckets"),
        );
    }
    if !aggregator.by_entry() {
        return refuse(
            "exchange",
            "aggregate",
            "it judges whole vectors, and the owner of a chunk hears chunks",
            "use exchange=gather or star, or aggregate=median or trimmed",
        );
    }
    let coded = compress::build(&down)?;
    if coded.grain(&square).is_none() {
        return refuse(
            "exchange",
            "compress",
            "the code on the way down looks at the whole vector at once, and every owner has a chunk",
            "set exchange.down=dense, or a code of tensors or buckets",
        );
    }
    let (lossy, memory) = (coded.class(&square) != Class::Lossless, &recipe.choice("feedback")?.name);
    if feedback::build(&way_down)?.looks_ahead() || way_down.named.values().any(|value| value.to_string() != "0") {
        return refuse(
            "exchange",
            "feedback",
            "an owner adds what it left unsaid to what it says next, and nobody looks ahead of that or averages it",
            "set exchange.feedback=residual, ef21 or none, without arguments",
        );
    }
    if memory == "ef21" && lossy && way_down.name != "ef21" {
        return refuse(
            "feedback",
            "exchange",
            "EF21's shifts add up what was agreed, so what is lost on the way down is lost for good",
            "set exchange.feedback=ef21 as well, or exchange.down=dense",
        );
    }
    if way_down.name != "none" && way_down.name != *memory {
        return refuse(
            "exchange",
            "feedback",
            "owners of chunks remember as workers do, or nothing",
            &format!("set exchange.feedback={memory}, or feedback={}", way_down.name),
        );
    }
    if recipe.choice("payload")?.name == "parameters" && lossy && down.name != "half" {
        return refuse(
            "payload",
            "exchange",
            "what is agreed replaces the model, so whatever is left unsaid on the way down is lost from it",
            "offer displacement, or set exchange.down=dense",
        );
    }
    Ok(())
}
