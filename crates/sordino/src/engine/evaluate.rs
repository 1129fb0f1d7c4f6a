//! The model that an evaluation uses.

use super::worker::Worker;
use crate::base::{Purpose, Result, flat};
use crate::buffers::Buffers;
use crate::fabric::Port;
use crate::workload::{Draw, Start, Workload};

/// One rank's part of the duality gap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap {
    /// What the rank's rows add to it where the model is that of the dual variables.
    pub slack: f64,
    /// How far the model is from that at most, because of what this rank has not said yet, in units of a gap's root.
    pub owed: f64,
}

impl Gap {
    /// The gap that all ranks' parts make together: how far the loss of the model is above the least there is, at most.
    /// Exact where everything has been said.
    pub fn whole(parts: impl IntoIterator<Item = Self>) -> f64 {
        let add = |sum: Self, part: Self| Self { slack: sum.slack + part.slack, owed: sum.owed + part.owed };
        let sum = parts.into_iter().fold(Self::default(), add);
        sum.slack + sum.owed * sum.owed
    }
}

impl Worker {
    /// This rank's part of the duality gap at `model`, what an evaluation uses, where local work can tell it: no word is
    /// said for it.
    pub fn certificate(&mut self, workload: &mut dyn Workload, model: &[f32]) -> Result<Option<Gap>> {
        if self.federated() || self.feedback.evaluates_ahead() {
            return Ok(None);
        }
        let Some(found) = self.local.certificate(workload, self.seed, self.rank as u64, model)? else {
            return Ok(None);
        };
        // What is owed of a sum is γ times what each has left unsaid, and what the server has.
        let voices = self.rows.len() as f64;
        let gamma = self.aggregator.gain(voices, voices) / voices;
        let unsaid = gamma * self.feedback.owed().map_or(0.0, flat::norm) + self.exchange.owed();
        Ok(Some(Gap { slack: found.slack, owed: libm::sqrt(0.5 * found.l2) * unsaid }))
    }

    /// The model and the buffers that an evaluation uses: a collective call, counted as `evaluate`.
    pub fn evaluated(&mut self, port: &mut dyn Port, workload: &mut dyn Workload) -> Result<Start> {
        let frame = self.frame(0);
        let mut parameters = self.model.clone();
        if self.feedback.evaluates_ahead() {
            let mut owed = self.feedback.owed().map_or_else(|| vec![0.0; parameters.len()], <[f32]>::to_vec);
            self.average.alike(port, &Purpose::Evaluate, frame, &mut owed)?;
            flat::subtract(&mut parameters, &owed);
        }
        let mut buffers = self.buffers.clone();
        if !buffers.is_empty() {
            if let Buffers::Reestimate(batches) = self.buffer_rule {
                self.reestimate(&parameters, &mut buffers, batches, workload)?;
            }
            if matches!(self.buffer_rule, Buffers::Local | Buffers::Reestimate(_)) {
                self.average.of(port, &Purpose::Evaluate, frame, &mut buffers)?;
            }
        }
        Ok(Start { parameters, buffers })
    }

    /// Averages what `batches` batches say of the buffers at `parameters`, nothing of the old ones left.
    ///
    /// A running statistic moves as b ← ρb + (1 − ρ)s. From b = 0 a batch leaves (1 − ρ)s; from b = 1 it leaves ρ more.
    fn reestimate(
        &self,
        parameters: &[f32],
        buffers: &mut [f32],
        batches: u64,
        workload: &mut dyn Workload,
    ) -> Result<()> {
        let mut unused = vec![0.0; parameters.len()];
        // Steps far beyond any run, so that no training batch is looked at twice for it.
        let client = self.rank() as u64;
        let draw = |i| Draw { seed: self.seed, client, step: (1 << 40) + i, batch: self.batch };
        let mut sum = vec![0.0; buffers.len()];
        let mut ones = vec![1.0; buffers.len()];
        workload.gradient(parameters, &mut ones, &draw(0), &mut unused)?;
        let mut first = Vec::new();
        for i in 0..batches {
            let mut zeros = vec![0.0; buffers.len()];
            workload.gradient(parameters, &mut zeros, &draw(i), &mut unused)?;
            flat::add(&mut sum, &zeros);
            if i == 0 {
                first = zeros;
            }
        }
        for (((b, s), one), zero) in buffers.iter_mut().zip(&sum).zip(&ones).zip(&first) {
            let moves = 1.0 - (one - zero);
            // What does not move is no statistic (a constant, a counter) and stays.
            if moves > 1e-6 {
                *b = s / batches as f32 / moves;
            }
        }
        Ok(())
    }
}
