//! What a method sends, in words: what, as what, when, by what way.

use sordino::grammar::{Element, Value};
use sordino::recipe::{AXES, Row};
use sordino::{Error, Result};

/// What a named row sends, in words.
pub fn sends(row: &Row) -> Result<String> {
    let of = |axis: &str| -> Result<Element> {
        let neutral = AXES.iter().find(|a| a.name == axis).map(|a| a.neutral);
        let neutral = neutral.ok_or_else(|| Error::request(format!("there is no axis {axis}")))?;
        let chosen = row.choices.iter().find(|(a, _)| *a == axis).map_or(neutral, |(_, element)| element);
        Element::parse(chosen)
    };
    let (payload, compress, schedule) = (of("payload")?, of("compress")?, of("schedule")?);
    let what = match payload.name.as_str() {
        _ if of("placement")?.name == "pipeline" => "activations and errors between blocks; between copies, parameters",
        _ if of("local")?.name == "dual" => "moves of the primal vector",
        "gradient" => "gradients",
        "parameters" => "parameters",
        "auto" => "parameters (displacements, where they are compressed)",
        _ => "displacements",
    };
    let code = match compress.name.as_str() {
        "dense" => "32 bits an entry".to_owned(),
        "sign" | "bingrad" => format!("one bit an entry (`{compress}`)"),
        "span" => "one number".to_owned(),
        _ => format!("as `{compress}`"),
    };
    let number = schedule.positional.first().or_else(|| schedule.named.values().next());
    let served = ["buffered", "first_b"].contains(&of("participation")?.name.as_str());
    let when = match (schedule.name.as_str(), number) {
        _ if served && schedule == Element::word("constant") => "whenever a worker is done".to_owned(),
        ("constant", None) => "every step".to_owned(),
        ("constant", Some(Value::Number(every))) => format!("every {every} steps"),
        ("epochs", _) => "after a pass over the worker's rows".to_owned(),
        ("post_local", _) => "every step, later every few".to_owned(),
        ("qsr", _) => "ever less often as the rate falls".to_owned(),
        _ => format!("as `{schedule}` says"),
    };
    let exchange = of("exchange")?;
    let down = match exchange.named.get("down") {
        Some(down) => format!(", back as `{down}`"),
        None => String::new(),
    };
    let way = match exchange.name.as_str() {
        "gather" => "to everybody".to_owned(),
        "reduce" => "by all-reduce".to_owned(),
        "star" => format!("through a server{down}"),
        "auto" => "by all-reduce, or to everybody".to_owned(),
        other => format!("by {other}"),
    };
    Ok(format!("{what}, {code}, {when}, {way}"))
}

#[cfg(test)]
mod tests {
    use sordino::recipe::{ROWS, row};

    use super::*;

    #[test]
    fn every_row_says_what_it_sends() {
        for row in ROWS {
            sends(row).unwrap();
        }
        let says = |name: &str| sends(row(name).unwrap()).unwrap();
        assert_eq!(says("celgc"), "parameters, 32 bits an entry, every 8 steps, by all-reduce");
        assert_eq!(
            says("saef"),
            "displacements, one bit an entry (`sign`), every step, through a server, back as `sign`"
        );
        assert_eq!(says("orq"), "gradients, as `orq(9)`, every step, to everybody");
        assert_eq!(says("async-sgd"), "gradients, 32 bits an entry, whenever a worker is done, through a server");
        assert_eq!(says("zo-seeded"), "gradients, one number, every step, by all-reduce");
    }
}
