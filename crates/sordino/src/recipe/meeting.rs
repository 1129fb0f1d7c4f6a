//! How ranks meet, where a recipe leaves it open: by what it costs every rank in bytes.

use super::auto::{Defaults, fill};
use super::{Recipe, check};
use crate::base::{Layout, Result};
use crate::exchange::{self, Plan};
use crate::grammar::{Element, Value};
use crate::{aggregate, compress, topology};

/// Bytes of a frame at the most, or nearly: round, silence, flags, length, number, checksum.
const FRAME: f64 = 20.0;

/// Replaces `exchange=auto`, and what `two_phase` leaves open.
pub fn resolve(recipe: &mut Recipe, defaults: &Defaults) -> Result<()> {
    if matches!(exchange::plan(recipe.choice("exchange")?)?, Plan::Auto) {
        let chosen = chosen(recipe, defaults)?;
        recipe.choose("exchange", &Element::word(chosen))?;
    }
    let mut exchange = recipe.choice("exchange")?.clone();
    if exchange.name == "two_phase" {
        fill(&mut exchange, "down", true, Value::Element(recipe.choice("compress")?.clone()));
        let lossy = exchange.named.get("down").is_none_or(|down| down.to_string() != "dense");
        let feedback = if lossy { recipe.choice("feedback")?.name.as_str() } else { "none" };
        fill(&mut exchange, "feedback", true, Value::Element(Element::word(feedback)));
        recipe.choose("exchange", &exchange)?;
    }
    Ok(())
}

/// What `exchange=auto` of the `open` recipe became and why, in a sentence, where numbers of bytes decided.
pub fn told(recipe: &Recipe, open: &Recipe, defaults: &Defaults) -> Result<Option<String>> {
    let chosen = recipe.choice("exchange")?;
    let open = matches!(exchange::plan(open.choice("exchange")?)?, Plan::Auto);
    let ranks = who_meet(recipe, defaults)?;
    if !open || ranks < 2 || !["gather", "two_phase"].contains(&chosen.name.as_str()) {
        return Ok(None);
    }
    let [gather, phases] = sent(message(recipe, defaults)?, ranks).map(|bytes| bytes / 1e6);
    let parameters = defaults.parameters;
    Ok(Some(format!(
        "exchange=auto is {chosen}: of {parameters} parameters a rank of {ranks} sends {gather:.3} MB a meeting by gather and \
         {phases:.3} MB by two_phase{}",
        if chosen.name == "gather" && phases < gather { ", which these choices do not allow" } else { "" }
    )))
}

/// How many ranks meet: all, or the leaders of hosts. A number of ranks that makes no whole hosts is refused when they join.
fn who_meet(recipe: &Recipe, defaults: &Defaults) -> Result<usize> {
    Ok((defaults.ranks / topology::build(recipe.choice("topology")?)?.size()).max(1))
}

/// Bytes of a message, at the most.
fn message(recipe: &Recipe, defaults: &Defaults) -> Result<f64> {
    Ok(compress::build(recipe.choice("compress")?)?.bound(&Layout::vector(defaults.parameters)) as f64)
}

/// Clients meet at a server; what is linear is added up on the way; of what is not, every rank tells everybody or, where
/// that is fewer bytes a rank, the owner of each chunk.
fn chosen(recipe: &Recipe, defaults: &Defaults) -> Result<&'static str> {
    if recipe.choice("participation")?.name != "everyone" {
        return Ok("star");
    }
    let mut codec = compress::build(recipe.choice("compress")?)?;
    let linear = codec.linear().is_some() && aggregate::build(recipe.choice("aggregate")?)?.linear();
    if linear {
        return Ok("reduce");
    }
    let [gather, phases] = sent(message(recipe, defaults)?, who_meet(recipe, defaults)?);
    if phases >= gather {
        return Ok("gather");
    }
    // Who may not speak chunk by chunk tells everybody.
    let mut other = recipe.clone();
    other.choose("exchange", &Element::word("two_phase"))?;
    resolve(&mut other, defaults)?;
    Ok(if check::by_chunks(&other).is_ok() { "two_phase" } else { "gather" })
}

/// What a rank sends of a message of so many bytes by `gather`, and by `two_phase` with the same code both ways.
fn sent(message: f64, ranks: usize) -> [f64; 2] {
    let others = ranks as f64 - 1.0;
    [others * (message + FRAME), 2.0 * others * (message / ranks as f64 + FRAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sets: &[&str], ranks: usize, parameters: usize) -> String {
        let mut recipe = Recipe::default();
        for set in [&["exchange=auto"][..], sets].concat() {
            recipe.set(set).unwrap();
        }
        recipe.resolve(&Defaults { parameters, ranks, ..Defaults::default() }).unwrap();
        super::super::check(&recipe).unwrap();
        assert_eq!(Recipe::from_toml(&recipe.to_toml(), &[]).unwrap(), recipe, "it is written down");
        recipe.choice("exchange").unwrap().to_string()
    }

    #[test]
    fn the_exchange_with_the_fewest_bytes_is_chosen() {
        for (sets, ranks, parameters, expected) in [
            (&["compress=sign"][..], 2, 1_000_000, "gather"),
            (&["compress=sign"], 3, 1_000_000, "two_phase(down=sign, feedback=none)"),
            (&["compress=orq", "feedback=residual"], 16, 1_000_000, "two_phase(down=orq, feedback=residual)"),
            (&["compress=orq", "feedback=ef21"], 16, 1_000_000, "two_phase(down=orq, feedback=ef21)"),
            // Frames cost more than they carry.
            (&["compress=sign"], 16, 100, "gather"),
            // Of a host its leader meets.
            (&["compress=sign", "topology=hosts(8)"], 16, 1_000_000, "gather"),
            (&["aggregate=median"], 3, 100_000, "two_phase(down=dense, feedback=none)"),
            // Who looks at whole vectors.
            (&["aggregate=krum"], 16, 100_000, "gather"),
            (&["compress=topk(0.01, scope=model)"], 16, 100_000, "gather"),
            (&["compress=sign(clip=1)"], 16, 100_000, "gather"),
            (&["compress=powersgd", "aggregate=median"], 16, 100_000, "gather"),
            (&[], 16, 1_000_000, "reduce"),
            (&["compress=powersgd", "feedback=residual"], 16, 1_000_000, "reduce"),
            (&["participation=sampled(3, clients=9)", "compress=sign"], 16, 1_000_000, "star"),
        ] {
            assert_eq!(chosen(sets, ranks, parameters), expected, "{sets:?}, {ranks} ranks, {parameters} parameters");
        }
    }

    #[test]
    fn what_bytes_decided_is_told() {
        let told = |sets: &[&str], ranks| {
            let mut open = Recipe::default();
            for set in sets {
                open.set(set).unwrap();
            }
            let (mut recipe, defaults) = (open.clone(), Defaults { parameters: 8_000_000, ranks, ..Defaults::PLAIN });
            recipe.resolve(&defaults).unwrap();
            recipe.told_of_meeting(&open, &defaults).unwrap()
        };
        let text = told(&["exchange=auto", "compress=sign"], 4).unwrap();
        assert!(text.starts_with("exchange=auto is two_phase(down=sign, feedback=none): of 8000000"), "{text}");
        assert!(text.contains("3.000 MB a meeting by gather and 1.500 MB by two_phase"), "{text}");
        let text = told(&["exchange=auto", "compress=sign", "aggregate=krum"], 8).unwrap();
        assert!(text.starts_with("exchange=auto is gather") && text.ends_with("do not allow"), "{text}");
        assert!(told(&["exchange=auto", "compress=sign"], 2).is_some_and(|text| text.ends_with("by two_phase")));
        assert_eq!(told(&["exchange=gather", "compress=sign"], 4), None);
        assert_eq!(told(&["exchange=auto"], 4), None);
    }

    #[test]
    fn the_crossover_is_where_the_bytes_are() {
        assert!(sent(1e6, 2)[0] <= sent(1e6, 2)[1]);
        assert!(sent(1e6, 3)[0] > sent(1e6, 3)[1]);
        let [gather, phases] = sent(1e6, 32);
        assert!((gather / phases - 16.0).abs() < 0.05, "{gather} {phases}");
    }
}
