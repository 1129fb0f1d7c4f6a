//! One line of a record.

use serde::{Deserialize, Serialize};

use super::number;

/// What was known after a round. Everything that grows (bytes, seconds) is counted from the start of the run.
///
/// A loss that was not measured in this round, or is not finite, is NaN here and null in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The round that ended, from 1; 0 is the model before training.
    pub round: u64,
    /// Local steps of each worker so far.
    pub step: u64,
    /// Rows looked at so far by all workers, over the rows there are.
    pub epoch: f64,
    /// Mean loss of training, nats per example.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub train_loss: f64,
    /// Mean loss over held-out rows.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub eval_loss: f64,
    /// Fraction of right answers over held-out rows, 0..1.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Training bytes sent so far by the busiest worker.
    pub bytes_sent: u64,
    /// Training bytes received so far by the busiest worker.
    pub bytes_received: u64,
    /// Wall-clock seconds since the start.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub seconds: f64,
    /// Seconds spent computing so far, mean over workers.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub compute_seconds: f64,
    /// Seconds spent waiting for a peer's first byte so far, mean over workers.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub wait_seconds: f64,
    /// Seconds spent in the rest of the exchanges so far, mean over workers.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub exchange_seconds: f64,
    /// The learning rate of the round's first step.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub rate: f64,
    /// H: the local steps of this round.
    pub silence: u64,
    /// Fraction of this round's steps or rows that were clipped, 0..1.
    #[serde(default)]
    pub clip_fraction: Option<f64>,
    /// ‖residual‖₂ after the round, mean over workers.
    #[serde(default)]
    pub residual_norm: Option<f64>,
    /// Mean loss of the worst tenth of the federated clients, each on its own training rows (100 clients, evenly over
    /// all, where there are more).
    #[serde(default)]
    pub client_loss_worst: Option<f64>,
    /// The standard deviation of the clients' mean losses.
    #[serde(default)]
    pub client_loss_spread: Option<f64>,
    /// How many federated clients reported in this round.
    #[serde(default)]
    pub reports: Option<u64>,
    /// The epsilon spent so far, where contributions are hidden.
    #[serde(default)]
    pub epsilon: Option<f64>,
    /// Updates of the server since a worker was given the model, mean over the words since the last point, where workers
    /// come at their own pace.
    #[serde(default)]
    pub delay_mean: Option<f64>,
    /// The most of them.
    #[serde(default)]
    pub delay_most: Option<u64>,
    /// The workers in the order in which they came since the last point, as ranks with spaces between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<String>,
    /// How far the loss is above the least there is, at most, where dual variables tell.
    #[serde(default)]
    pub duality_gap: Option<f64>,
}

impl Default for Point {
    fn default() -> Self {
        Self {
            round: 0,
            step: 0,
            epoch: 0.0,
            train_loss: f64::NAN,
            eval_loss: f64::NAN,
            accuracy: None,
            bytes_sent: 0,
            bytes_received: 0,
            seconds: 0.0,
            compute_seconds: 0.0,
            wait_seconds: 0.0,
            exchange_seconds: 0.0,
            rate: f64::NAN,
            silence: 0,
            clip_fraction: None,
            residual_norm: None,
            client_loss_worst: None,
            client_loss_spread: None,
            reports: None,
            epsilon: None,
            delay_mean: None,
            delay_most: None,
            arrivals: None,
            duality_gap: None,
        }
    }
}

impl Point {
    /// The columns of a table of points: name and number; `None` where there is no finite number. The order of arrivals is
    /// no number and stands in `record.jsonl` alone.
    pub fn columns(&self) -> [(&'static str, Option<f64>); 23] {
        let whole = |v: u64| Some(v as f64);
        let finite = |v: f64| Some(v).filter(|v| v.is_finite());
        [
            ("round", whole(self.round)),
            ("step", whole(self.step)),
            ("epoch", finite(self.epoch)),
            ("train_loss", finite(self.train_loss)),
            ("eval_loss", finite(self.eval_loss)),
            ("accuracy", self.accuracy.and_then(finite)),
            ("bytes_sent", whole(self.bytes_sent)),
            ("bytes_received", whole(self.bytes_received)),
            ("seconds", finite(self.seconds)),
            ("compute_seconds", finite(self.compute_seconds)),
            ("wait_seconds", finite(self.wait_seconds)),
            ("exchange_seconds", finite(self.exchange_seconds)),
            ("rate", finite(self.rate)),
            ("silence", whole(self.silence)),
            ("clip_fraction", self.clip_fraction.and_then(finite)),
            ("residual_norm", self.residual_norm.and_then(finite)),
            ("client_loss_worst", self.client_loss_worst.and_then(finite)),
            ("client_loss_spread", self.client_loss_spread.and_then(finite)),
            ("reports", self.reports.map(|n| n as f64)),
            ("epsilon", self.epsilon.and_then(finite)),
            ("delay_mean", self.delay_mean.and_then(finite)),
            ("delay_most", self.delay_most.map(|n| n as f64)),
            ("duality_gap", self.duality_gap.and_then(finite)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_null_and_comes_back() {
        let point = Point { round: 3, train_loss: f64::INFINITY, accuracy: Some(f64::NAN), ..Point::default() };
        let line = serde_json::to_string(&point).unwrap();
        assert!(line.contains(r#""train_loss":null"#) && line.contains(r#""accuracy":null"#), "{line}");
        let back: Point = serde_json::from_str(&line).unwrap();
        assert!(back.train_loss.is_nan() && back.eval_loss.is_nan() && back.accuracy.is_none());
        assert_eq!(back.round, 3);
    }

    #[test]
    fn the_table_has_every_field_of_a_line() {
        let point = Point::default();
        let value = serde_json::to_value(&point).unwrap();
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns = point.columns().map(|(name, _)| name);
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
    }
}
