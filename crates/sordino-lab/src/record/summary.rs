//! `summary.json`: a run in numbers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sordino::{Error, Result};

use super::{FlowRow, number};
use crate::files;

/// The summary's file in a run's directory.
pub const SUMMARY: &str = "summary.json";

/// How many workers there were before a run went on with another number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// So many.
    pub workers: usize,
    /// Up to this local step.
    pub steps: u64,
}

/// What a run came to. Losses are of the agreed model at the end; bytes are those of the busiest worker, training
/// only; seconds of compute, exchange and wait are means over workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The method's name.
    pub method: String,
    /// What to call the run in tables and reports; empty for the method's name.
    #[serde(default)]
    pub label: String,
    /// The task's name.
    pub task: String,
    /// How many workers.
    pub workers: usize,
    /// How many there were earlier, one after another, where the run was resumed with another number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers_before: Vec<Before>,
    /// The run's seed.
    pub seed: u64,
    /// Local steps of each worker.
    pub steps: u64,
    /// Exchanges.
    pub rounds: u64,
    /// Rows looked at by all workers, over the rows there are.
    pub epochs: f64,
    /// How many parameters were trained.
    pub parameters: usize,
    /// Mean loss over training rows, nats per example; null where it is not finite.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub train_loss: f64,
    /// Mean loss over held-out rows.
    #[serde(default = "number::nan", deserialize_with = "number::or_nan")]
    pub eval_loss: f64,
    /// Fraction of right answers over held-out rows; null where the task has none.
    pub accuracy: Option<f64>,
    /// How many federated clients there are; null where the workers themselves take part. Bytes of a worker are then
    /// those of one place at the server's table.
    #[serde(default)]
    pub clients: Option<usize>,
    /// Mean loss of the worst tenth of the clients, each on its own rows.
    #[serde(default)]
    pub client_loss_worst: Option<f64>,
    /// The standard deviation of the clients' losses.
    #[serde(default)]
    pub client_loss_spread: Option<f64>,
    /// Whether seconds are those of a simulated world and not of this machine.
    #[serde(default)]
    pub simulated: bool,
    /// The epsilon spent, where contributions are hidden; null where it is infinite.
    #[serde(default)]
    pub epsilon: Option<f64>,
    /// How far the training loss is above the least there is, at most; null where no dual variables tell.
    #[serde(default)]
    pub duality_gap: Option<f64>,
    /// Whether a vector to be sent was not finite, which ended the run.
    pub diverged: bool,
    /// Bytes the busiest worker sent.
    pub bytes_sent_per_worker: u64,
    /// Bytes the busiest worker received.
    pub bytes_received_per_worker: u64,
    /// Bytes that a dense average of f32 gradients in every step would have cost each way.
    pub bytes_sync_fp32_per_worker: u64,
    /// Seconds of computing.
    pub compute_seconds: f64,
    /// Seconds of exchanging, without waiting.
    pub exchange_seconds: f64,
    /// Seconds of waiting for a peer's first byte.
    pub wait_seconds: f64,
    /// Seconds from start to end.
    pub wall_seconds: f64,
    /// Processor seconds of the local steps, all workers together, where they are known.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// Processor cores of the machine; with more workers than these, wall-clock comparisons say little.
    pub cores: usize,
    /// Seconds that the busiest worker's bytes would take on a link of 100 Mbit/s.
    pub link_seconds_100mbit: f64,
    /// The model that training started from, if it was not a fresh one.
    #[serde(default)]
    pub started_from: Option<String>,
    /// The whole ledger.
    pub flows: Vec<FlowRow>,
    /// Where it ran: versions, machine, data, by name.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Summary {
    /// Training bytes of the busiest worker, sent and received.
    pub fn bytes(&self) -> u64 {
        self.bytes_sent_per_worker + self.bytes_received_per_worker
    }

    /// How many times fewer bytes than the dense average in every step; `None` where nothing was sent.
    pub fn times_fewer_bytes(&self) -> Option<f64> {
        let bytes = self.bytes();
        (bytes > 0).then(|| 2.0 * self.bytes_sync_fp32_per_worker as f64 / bytes as f64)
    }

    /// Writes `summary.json` into a run's directory, aside and renamed.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).map_err(|e| Error::data(format!("a summary cannot be written: {e}")))?;
        files::write_aside(&directory.join(SUMMARY), (text + "\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diverged_run_can_be_summed_up() {
        let summary = Summary { train_loss: f64::NAN, eval_loss: f64::INFINITY, diverged: true, ..Summary::default() };
        let text = serde_json::to_string(&summary).unwrap();
        assert!(text.contains(r#""eval_loss":null"#) && text.contains(r#""accuracy":null"#), "{text}");
        let back: Summary = serde_json::from_str(&text).unwrap();
        assert!(back.train_loss.is_nan() && back.diverged);
    }

    #[test]
    fn the_ratio_is_over_both_ways() {
        let summary = Summary {
            bytes_sync_fp32_per_worker: 400,
            bytes_sent_per_worker: 30,
            bytes_received_per_worker: 10,
            ..Summary::default()
        };
        assert_eq!(summary.times_fewer_bytes(), Some(20.0));
        assert_eq!(Summary::default().times_fewer_bytes(), None);
    }
}
