//! The runs as the page's script reads them: columns of numbers, no more points than a screen can show.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Chapter, RunView, groups};
use crate::record::Point;

/// The most points of a run with an evaluation that a page holds, and the most without.
const MOST_POINTS: usize = 800;

/// The data of a page.
pub(super) fn of(title: &str, runs: &[RunView]) -> Value {
    let groups: Vec<Value> =
        groups::of(runs).into_iter().map(|g| json!({ "label": g.label, "runs": g.runs })).collect();
    json!({ "title": title, "groups": groups, "runs": runs.iter().map(view).collect::<Vec<_>>() })
}

/// The data of a page of several comparisons.
pub(super) fn book(title: &str, chapters: &[Chapter]) -> Value {
    let chapter = |chapter: &Chapter| {
        let mut data = of(&chapter.title, &chapter.runs);
        data["verdict"] = json!(chapter.verdict);
        data["lines"] = json!(chapter.lines);
        data
    };
    json!({ "title": title, "chapters": chapters.iter().map(chapter).collect::<Vec<_>>() })
}

fn view(run: &RunView) -> Value {
    let mut columns = BTreeMap::<&str, Vec<Value>>::new();
    for point in thinned(&run.points) {
        for (name, value) in point.columns() {
            columns.entry(name).or_default().push(value.map_or(Value::Null, rounded));
        }
    }
    // A column without a single number is no column.
    columns.retain(|_, column| column.iter().any(|v| !v.is_null()));
    let mut summary = serde_json::to_value(&run.summary).unwrap_or_else(|_| Value::Object(Map::new()));
    if let Some(map) = summary.as_object_mut() {
        map.remove("environment");
        map.insert("times_fewer_bytes".into(), json!(run.summary.times_fewer_bytes()));
    }
    json!({
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "columns": columns,
        "summary": summary,
        "recipe": run.recipe,
        "environment": run.environment,
    })
}

/// Every so many points: counted apart with an evaluation and without, so that a few evaluations among many rounds
/// all stay. The last point always does.
fn thinned(points: &[Point]) -> impl Iterator<Item = &Point> {
    let evaluated = |p: &Point| p.eval_loss.is_finite() || p.accuracy.is_some();
    let with = points.iter().filter(|p| evaluated(p)).count();
    let strides = [points.len() - with, with].map(|n| n.div_ceil(MOST_POINTS).max(1));
    let mut seen = [0usize; 2];
    points.iter().enumerate().filter_map(move |(at, point)| {
        let kind = usize::from(evaluated(point));
        seen[kind] += 1;
        ((seen[kind] - 1) % strides[kind] == 0 || at + 1 == points.len()).then_some(point)
    })
}

/// Whole numbers as they are, others to seven digits.
fn rounded(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return json!(value as i64);
    }
    format!("{value:.6e}").parse::<f64>().map_or(Value::Null, |v| json!(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_thinned_and_keep_their_evaluations_and_their_end() {
        let point = |round: u64| Point {
            round,
            train_loss: 1.0 / 3.0,
            eval_loss: if round.is_multiple_of(1000) { 1.0 } else { f64::NAN },
            ..Point::default()
        };
        let run = RunView { points: (0..50_000).map(point).collect(), ..RunView::default() };
        let data = of("t", &[run]);
        let columns = &data["runs"][0]["columns"];
        let rounds = columns["round"].as_array().unwrap();
        assert!(rounds.len() <= 2 * MOST_POINTS + 1, "{}", rounds.len());
        assert_eq!(rounds.last().unwrap(), 49_999);
        assert_eq!(columns["eval_loss"].as_array().unwrap().iter().filter(|v| !v.is_null()).count(), 50);
        assert_eq!(columns["train_loss"][0], 0.333_333_3);
        assert!(columns.get("accuracy").is_none(), "an empty column is left out");
    }
}
