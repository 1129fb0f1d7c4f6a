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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use sordino::fabric::{Clock, Still};
    use sordino::recipe::{Defaults, Recipe, check};
    use sordino::workload::{Deal, Made, Quadratic, Ridge, Task};

    use super::super::{Ended, Header, Nobody, Observer, Progress, run};
    use super::*;
    use crate::files::Scratch;

    fn plan(row: &str, sets: &[&str], workers: usize, out: &Path) -> Plan {
        let mut recipe = Recipe::named(row).unwrap();
        sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
        recipe.resolve(&Defaults::default()).unwrap();
        recipe.solve(60, workers, &vec![30.0; workers]).unwrap();
        check(&recipe).unwrap();
        Plan {
            recipe,
            workers,
            seed: 2,
            steps: 60,
            batch_rows: 1,
            until_loss: None,
            eval_every: 2,
            checkpoint_every: Some(2),
            out: Some(out.to_path_buf()),
            resume: false,
            replay: None,
            header: Header::default(),
            environment: BTreeMap::new(),
            cores: 0,
        }
    }

    /// Stops after so many rounds.
    struct Stopper(u64, AtomicU64);

    impl Observer for Stopper {
        fn round(&self, progress: &Progress) {
            self.1.store(progress.rounds, Ordering::Relaxed);
        }

        fn stop(&self) -> bool {
            self.1.load(Ordering::Relaxed) >= self.0
        }
    }

    fn until(task: &dyn Task, plan: &Plan, rounds: u64) -> Ended {
        let clock: Arc<dyn Clock> = Arc::new(Still);
        match rounds {
            u64::MAX => run(task, plan, &clock, &Nobody).unwrap(),
            rounds => run(task, plan, &clock, &Stopper(rounds, 0.into())).unwrap(),
        }
    }

    fn rows() -> Ridge {
        let made = Made { rows: 120, features: 30, nonzeros: 5, noise: 0.3, signs: true, seed: 3 };
        let train = Arc::new(made.make().unwrap());
        Ridge { name: "ridge".into(), train, test: None, features: 30, deal: Deal::Iid, l2: 0.02, data: 1 }
    }

    #[test]
    fn the_record_adds_up_what_all_have_done() {
        let (scratch, task) = (Scratch::new("regrouped"), rows());
        let sets = ["schedule.every=3", "local.batch=4", "compress=topk(0.2)", "feedback=residual", "exchange=gather"];
        let first = until(&task, &plan("local-sgd", &sets, 6, &scratch.0), 5);
        let all = |ended: &Ended, from: &str| {
            let training = |f: &&crate::record::FlowRow| f.from == from && f.purpose == "payload";
            ended.summary.flows.iter().filter(training).map(|f| f.bytes).sum::<u64>()
        };
        let at = first.summary.steps;
        let mut steps = vec![(6, at)];
        // What the ranks of every stretch come to.
        for (workers, rounds) in [(2, 10), (4, u64::MAX)] {
            let mut next = Plan::read(&scratch.0).unwrap();
            next.regroup(workers).unwrap();
            // Asked for something else at first: that has left nothing.
            let mut twice = next.clone();
            twice.regroup(5).unwrap();
            twice.regroup(workers).unwrap();
            assert_eq!(twice.to_toml(), next.to_toml());
            let ended = until(&task, &next, rounds);
            let s = &ended.summary;
            let before: Vec<(usize, u64)> = s.workers_before.iter().map(|b| (b.workers, b.steps)).collect();
            assert_eq!((s.workers, before), (workers, steps.clone()));
            assert_eq!(Plan::read(&scratch.0).unwrap().to_toml(), next.to_toml(), "recipe.toml says so");
            assert_eq!(all(&ended, "5"), all(&first, "5"), "what those said who are gone is kept");
            assert!(all(&ended, "0") > all(&first, "0"));
            let epochs: Vec<f64> = ended.points.iter().map(|p| p.epoch).collect();
            assert!(epochs.is_sorted(), "{epochs:?}");
            steps.push((workers, s.steps));
            let (mut looked, mut sync, mut from) = (0, 0, 0);
            for (workers, to) in &steps {
                looked += (to - from) * *workers as u64;
                sync += (to - from) * 8 * (*workers as u64 - 1) * 30 / *workers as u64;
                from = *to;
            }
            assert!((s.epochs - looked as f64 / 120.0).abs() < 1e-9, "{} {looked}", s.epochs);
            assert_eq!(s.bytes_sync_fp32_per_worker, sync);
            assert!(s.train_loss <= first.summary.train_loss, "{} {}", s.train_loss, first.summary.train_loss);
        }
        assert_eq!(steps.last(), Some(&(4, 60)));
        // Resumed with no word of it, it goes on with as many as it has now; nobody else is taken.
        let same = Plan::read(&scratch.0).unwrap();
        assert_eq!(same.workers, 4);
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let refused = run(&task, &Plan { workers: 3, ..same }, &clock, &Nobody).unwrap_err().to_string();
        assert!(refused.contains("is of 4 ranks, 3 came") && refused.contains("--workers"), "{refused}");
    }

    #[test]
    fn what_dual_ascent_looks_ahead_of_follows_the_number_of_workers() {
        let (scratch, task) = (Scratch::new("repaced"), rows());
        let sets = ["schedule=constant(8)", "compress=topk(0.3)", "feedback=residual(lambda=auto)", "exchange=gather"];
        let first = plan("cocoa-plus", &sets, 4, &scratch.0);
        let lambda = |plan: &Plan| plan.recipe.choice("feedback").unwrap().named["lambda"].to_string();
        assert_eq!(lambda(&first), "4");
        let half = until(&task, &first, 3);
        let mut next = Plan::read(&scratch.0).unwrap();
        next.regroup(6).unwrap();
        assert_eq!(lambda(&next), "6");
        let rest = until(&task, &next, u64::MAX);
        let gap = |ended: &Ended| ended.points.last().unwrap().duality_gap.unwrap();
        assert!(gap(&rest) < 0.7 * gap(&half), "{} {}", gap(&rest), gap(&half));
        assert_eq!(lambda(&Plan::read(&scratch.0).unwrap()), "6");
        // What was chosen by hand stays.
        let mut own = plan("cocoa-plus", &[&sets[..], &["feedback.lambda=2"]].concat(), 4, &scratch.0.join("none"));
        own.regroup(6).unwrap();
        assert_eq!((lambda(&own).as_str(), own.workers), ("2", 6));
    }

    #[test]
    fn virtual_seconds_go_on_where_they_were() {
        let task = Quadratic { noise: 0.3, ..Quadratic::default() };
        let sets = ["fabric=sim(step=0.1, rate=1e6)", "schedule.every=3"];
        let (whole, broken) = (Scratch::new("virtual-whole"), Scratch::new("virtual-broken"));
        let whole = until(&task, &plan("local-sgd", &sets, 4, &whole.0), u64::MAX);
        let half = until(&task, &plan("local-sgd", &sets, 4, &broken.0), 10);
        for workers in [4, 6] {
            let mut next = Plan::read(&broken.0).unwrap();
            next.regroup(workers).unwrap();
            let rest = until(&task, &next, if workers == 4 { 15 } else { u64::MAX });
            let seconds: Vec<f64> = rest.points.iter().map(|p| p.seconds).collect();
            assert!(seconds.is_sorted(), "{seconds:?}");
            assert!(rest.summary.wall_seconds > half.summary.wall_seconds);
            // With as many workers as before they are those of a run that was not stopped.
            let twelfth = |ended: &Ended| ended.points.iter().find(|p| p.round == 12).unwrap().seconds;
            assert_eq!(twelfth(&rest), twelfth(&whole));
            assert!(rest.summary.wall_seconds < 1.2 * whole.summary.wall_seconds, "{seconds:?}");
        }
    }
}
