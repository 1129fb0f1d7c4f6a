//! The noise that a budget asks for, once the length of a run is known.

use std::sync::Arc;

use super::Recipe;
use crate::base::Result;
use crate::engine::{Parts, epoch_of};
use crate::fabric::Still;
use crate::grammar::{Element, Value};
use crate::privacy::{Unit, noise_for};
use crate::schedule::{self, Facts};

/// Replaces `privacy.noise=auto` by the least noise with which a run of `steps` steps on `ranks` ranks stays within
/// `privacy.epsilon`; `rows` are those of every client.
pub fn solve(recipe: &mut Recipe, steps: u64, ranks: usize, rows: &[f32]) -> Result<()> {
    let mut privacy = recipe.choice("privacy")?.clone();
    let auto = Value::Element(Element::word("auto"));
    if privacy.name != "gaussian" || privacy.named.get("noise").is_some_and(|noise| *noise != auto) {
        return Ok(());
    }
    // Everything but the noise is known; any will do to build the rest.
    let mut known = recipe.clone();
    privacy.named.insert("noise".into(), Value::Number(1.0));
    known.choose("privacy", &privacy)?;
    let parts = known.build(Arc::new(Still))?;
    let Some(mechanism) = &parts.privacy else { return Ok(()) };
    let Some(epsilon) = mechanism.budget() else { return Ok(()) };
    let rate = match (mechanism.unit(), parts.batch.rows()) {
        (Unit::Client, _) => parts.participation.poisson(ranks).unwrap_or(1.0),
        (Unit::Sample, None) => 1.0,
        (Unit::Sample, Some(batch)) => {
            let fewest = rows.iter().copied().fold(f32::INFINITY, f32::min);
            (batch as f64 / f64::from(fewest)).min(1.0)
        }
    };
    let noise = noise_for(epsilon, mechanism.delta(), rate, rounds(&parts, steps, epoch_of(rows, parts.batch)))?;
    privacy.named.insert("noise".into(), Value::Number(upward(noise)));
    recipe.choose("privacy", &privacy)
}

/// Six digits, never less: what is written down keeps the budget.
fn upward(noise: f64) -> f64 {
    let rounded: f64 = format!("{noise:.5e}").parse().unwrap_or(noise);
    if rounded >= noise { rounded } else { format!("{:.5e}", noise * (1.0 + 1e-5)).parse().unwrap_or(noise) }
}

/// How many rounds a run of so many steps has.
pub fn rounds(parts: &Parts, steps: u64, epoch: f64) -> u64 {
    let mut anneal = parts.optimizer.anneal.clone();
    anneal.over(Some(steps));
    let (mut round, mut step, mut previous) = (0, 0, None);
    while step < steps {
        let rate = anneal.rate(step);
        step += schedule::clamped(
            &*parts.schedule,
            &Facts {
                round,
                step,
                rate,
                previous_rate: previous,
                steps: Some(steps),
                warming: step < anneal.warmup(),
                epoch,
            },
        );
        (round, previous) = (round + 1, Some(rate));
    }
    round
}
