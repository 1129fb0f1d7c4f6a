//! A run that goes on with another number of workers.
//!
//! The library deals what the old ranks remembered to the new ones; here is what the files say of it. `recipe.toml` is
//! written anew once every rank has taken its part, so that a run that cannot go on so is still the one it was. A run that
//! is killed before its next checkpoint goes on from the old one, with the new number.

use std::path::Path;

use sordino::exchange::report;
use sordino::{Error, Result};

use super::Plan;
use super::rank::Bench;
use crate::checkpoint::{self, Manifest};
use crate::record::Before;

impl Plan {
    /// Takes another number of workers for what is left of the run in its folder; local steps stay as they were planned.
    /// Where there is no checkpoint yet the run begins with them.
    pub fn regroup(&mut self, workers: usize) -> Result<()> {
        let old = self.workers;
        let manifest = self.out.as_deref().filter(|out| checkpoint::exists(out)).map(checkpoint::load_manifest);
        let manifest = manifest.transpose()?;
        if workers != old && manifest.is_some() && self.recipe.participation()?.served().is_some() {
            return Err(Error::request(format!(
                "`participation={}`: workers that come to a server at their own pace have words on their way to it; resume with \
                 as many as before, {old}",
                self.recipe.choice("participation")?
            )));
        }
        self.recipe.regroup(old, workers)?;
        self.workers = workers;
        let ranks = self.ranks()?;
        let before = &mut self.header.before;
        let Some(manifest) = manifest else {
            before.clear();
            return Ok(());
        };
        // Who came after the checkpoint has left nothing.
        let was = Before { workers: manifest.ranks, steps: manifest.step };
        before.retain(|b| b.steps < was.steps || (b.steps == was.steps && b.workers != was.workers));
        if ranks != manifest.ranks {
            before.push(was);
        }
        Ok(())
    }

    /// Refuses a checkpoint of another number of ranks that nobody has spoken of.
    pub(super) fn goes_on_from(&self, manifest: &Manifest, out: &Path) -> Result<()> {
        let was = Before { workers: manifest.ranks, steps: manifest.step };
        if manifest.ranks == self.ranks()? || self.header.before.last() == Some(&was) {
            return Ok(());
        }
        Err(Error::request(format!(
            "the checkpoint in {} is of {} ranks, {} came; resume with as many, or say how many with --workers \
             (Plan::regroup)",
            out.display(),
            manifest.ranks,
            self.ranks()?
        )))
    }

    /// The most ranks there have been: whoever was busiest may be gone.
    pub(super) fn places(&self) -> usize {
        self.header.before.iter().map(|b| b.workers).fold(self.workers, usize::max)
    }

    /// How many workers made how many of the first `step` local steps, in order.
    pub(super) fn stretches(&self, step: u64) -> impl Iterator<Item = (usize, u64)> {
        let now = Before { workers: self.workers, steps: step };
        let mut from = 0;
        self.header.before.iter().copied().chain([now]).map(move |b| {
            let steps = b.steps.min(step).saturating_sub(from);
            from += steps;
            (b.workers, steps)
        })
    }

    /// Local steps of as many workers as there are now that look at as many rows as the first `step` steps. Federated
    /// clients are as many whoever plays them.
    pub(super) fn shared(&self, step: u64) -> Result<f64> {
        if self.recipe.participation()?.federated() {
            return Ok(step as f64);
        }
        let all = self.stretches(step).map(|(workers, steps)| steps as f64 * (workers as f64 / self.workers as f64));
        Ok(all.sum())
    }
}

/// Seconds that a rank has waited when the checkpoint was made: of another number of ranks the mean.
pub(super) fn waited(manifest: &Manifest, rank: usize, ranks: usize) -> Option<f64> {
    let of = |rank: usize| manifest.clocks.get(&format!("wait-{rank}")).copied();
    if manifest.ranks == ranks {
        return of(rank);
    }
    let all: Option<Vec<f64>> = (0..manifest.ranks).map(of).collect();
    all.map(|all| all.iter().sum::<f64>() / all.len() as f64)
}

impl Bench<'_> {
    /// Writes down with how many workers the run goes on, once all of them have taken their part.
    pub(super) fn regrouped(&mut self, out: &Path, manifest: &Manifest) -> Result<()> {
        if manifest.ranks != self.plan.workers {
            report(self.session.everyone()?, &[])?;
        }
        if self.rank > 0 || Plan::read(out)?.workers == self.plan.workers {
            return Ok(());
        }
        // Scratch of ranks that are no more; what stays is of no use to anybody and does no harm.
        for rank in self.plan.workers..manifest.ranks {
            let _ = std::fs::remove_dir_all(out.join("clients").join(format!("rank-{rank}")));
        }
        self.plan.write(out)
    }
}
