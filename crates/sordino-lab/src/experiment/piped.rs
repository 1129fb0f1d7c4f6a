//! Runs whose workers hold blocks of a network: what a layer costs, and when everybody meets.

use sordino::Result;
use sordino::engine::weigh;
use sordino::exchange::decree;
use sordino::fabric::Clock;
use sordino::placement::Cost;
use sordino::workload::{Batch, Draw, Flow, Piece, Workload};

use super::Observer;
use super::rank::{Bench, SAVE, STOP};

/// Seconds between two meetings of all ranks, about.
const MEETING_SECONDS: f64 = 0.25;
/// The most rounds between two of them.
const MEETING_ROUNDS: f64 = 1000.0;
/// Seconds that measuring takes, about.
const MEASURED_SECONDS: f64 = 0.5;
/// Passes that are measured at least.
const PASSES: u64 = 3;

impl Bench<'_> {
    /// The rounds of a pipelined run. Ranks of different blocks hear nothing from one another at the end of a round, so
    /// what rank 0 decides is told at meetings of their own, seldom, so that nobody waits for them.
    pub(super) fn piped(&mut self, workload: &mut dyn Workload, observer: &dyn Observer) -> Result<()> {
        let (mut meeting, mut met) = (1, self.clock.now());
        while !self.session.done() {
            let told = self.session.round(workload, 0)?;
            if self.rank == 0 {
                self.tell(&told, observer);
            }
            let done = self.session.done();
            let every = self.plan.checkpoint_every.is_some_and(|every| told.rounds.is_multiple_of(every.max(1)));
            let mut flags = if every && self.plan.out.is_some() { SAVE } else { 0 };
            if told.rounds >= meeting {
                let rounds = (told.rounds + 1).saturating_sub(meeting).max(1);
                let seconds = (self.clock.now() - met) / rounds as f64;
                let next = if seconds > 0.0 { (MEETING_SECONDS / seconds).clamp(1.0, MEETING_ROUNDS) } else { 1.0 };
                let words = [&[self.flags(observer)][..], &(next as u64).to_le_bytes()].concat();
                let words = decree(self.session.everyone()?, &words)?;
                flags |= words.first().copied().unwrap_or(0);
                let next = words.get(1..).and_then(|rest| rest.try_into().ok()).map_or(1, u64::from_le_bytes);
                (meeting, met) = (told.rounds + next.max(1), self.clock.now());
            }
            let stop = flags & STOP != 0;
            let mut reached = false;
            if told.rounds.is_multiple_of(self.plan.eval_every.max(1)) || done || stop {
                reached = self.look(workload, Some((&told, observer)))?;
            }
            if flags & SAVE != 0 || stop || reached || told.rounds == 1 {
                self.save(workload)?;
            }
            if stop || reached {
                self.desk.kept().interrupted |= stop && !self.session.done();
                break;
            }
        }
        if self.session.done() && self.plan.out.is_some() {
            self.save(workload)?;
        }
        Ok(())
    }
}

/// What each layer of a workload costs on this machine, in seconds; what it weighs, on a clock that stands still.
pub fn measure(workload: &dyn Workload, batch: Batch, seed: u64, clock: &dyn Clock) -> Result<Vec<Cost>> {
    let (layers, layout) = (workload.layers(), workload.layout().clone());
    let start = workload.start(seed).parameters;
    let mut stages = Vec::with_capacity(layers.len());
    for (at, layer) in layers.iter().enumerate() {
        let mut tensors = layer.clone();
        tensors.sort_unstable();
        tensors.dedup();
        let own: Vec<f32> = tensors.iter().flat_map(|t| &start[layout.ranges()[*t].clone()]).copied().collect();
        stages.push((workload.stage(at..at + 1)?, own));
    }
    let mut costs = vec![Cost { forward: f64::INFINITY, backward: f64::INFINITY }; layers.len()];
    let began = clock.now();
    let mut passes = 0;
    while passes < PASSES || clock.now() - began < MEASURED_SECONDS && passes < 100 * PASSES {
        // Far beyond any run: no batch of training is looked at twice for it.
        let piece = Piece::whole(Draw { seed, client: 0, step: (1 << 41) + passes, batch });
        let (mut flow, mut error) = (Flow::default(), Vec::new());
        for ((stage, own), cost) in stages.iter_mut().zip(&mut costs) {
            stage.load(own)?;
            let began = clock.now();
            flow = stage.forward(&piece, &flow, true)?;
            cost.forward = cost.forward.min(clock.now() - began);
        }
        for ((stage, own), cost) in stages.iter_mut().zip(&mut costs).rev() {
            let (mut gradient, began) = (vec![0.0; own.len()], clock.now());
            error = stage.backward(&piece, &error, &mut gradient)?.error;
            cost.backward = cost.backward.min(clock.now() - began);
        }
        passes += 1;
    }
    let Cost { forward, backward } = Cost::sum(&costs);
    Ok(if forward > 0.0 && backward > 0.0 { costs } else { weigh(workload) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use sordino::fabric::Still;
    use sordino::recipe::{Defaults, Recipe, check};
    use sordino::workload::{Chain, Split, Task};

    use super::super::{Header, Nobody, Plan, Progress, run};
    use super::*;

    fn plan(row: &str, sets: &[&str], workers: usize) -> Plan {
        let mut recipe = Recipe::named(row).unwrap();
        sets.iter().try_for_each(|set| recipe.set(set)).unwrap();
        recipe.resolve(&Defaults { batch: 8, ..Defaults::default() }).unwrap();
        check(&recipe).unwrap();
        Plan {
            recipe,
            workers,
            seed: 2,
            steps: 40,
            batch_rows: 8,
            until_loss: None,
            eval_every: 4,
            checkpoint_every: None,
            out: None,
            resume: false,
            replay: None,
            header: Header::default(),
            environment: BTreeMap::new(),
            cores: 0,
        }
    }

    /// Stops after so many rounds.
    struct Stopper(AtomicU64, u64);

    impl Observer for Stopper {
        fn round(&self, _: &Progress) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn stop(&self) -> bool {
            self.0.load(Ordering::Relaxed) >= self.1
        }
    }

    #[test]
    fn pipelined_runs_are_looked_at_whole_and_count_what_flows() {
        let (task, clock): (_, Arc<dyn Clock>) = (Chain { dropout: 0.1, ..Chain::default() }, Arc::new(Still));
        let exact = run(&task, &plan("pipeline-sync", &[], 3), &clock, &Nobody).unwrap();
        let whole = run(&task, &plan("pipeline-sync", &["placement=replicate"], 1), &clock, &Nobody).unwrap();
        assert_eq!(exact.model, whole.model, "blocks put together are the network");
        assert_eq!(exact.summary.train_loss, whole.summary.train_loss);
        assert_eq!(exact.points.len(), whole.points.len());
        assert_eq!(exact.summary.epochs, whole.summary.epochs);
        for (row, workers) in [("dsp", 3), ("gpipe", 2), ("ouroboros", 2), ("dsp", 4)] {
            let sets: &[&str] = if workers == 4 { &["placement.blocks=2", "schedule.every=2"] } else { &[] };
            let ended = run(&task, &plan(row, sets, workers), &clock, &Nobody).unwrap();
            assert!(ended.summary.train_loss < ended.points[0].train_loss, "{row}");
            let mut workload = task.workload(1, 2).unwrap();
            let again = workload.evaluate(&ended.model.parameters, &[], Split::Train).unwrap().unwrap();
            assert_eq!(again.loss, ended.summary.train_loss, "{row}: the model is the one that was looked at");
            let flows: Vec<&str> = ended.summary.flows.iter().map(|f| f.purpose.as_str()).collect();
            assert!(flows.contains(&"activations") && flows.contains(&"errors"), "{row}: {flows:?}");
            assert!(ended.summary.bytes_sent_per_worker > 0, "{row}");
        }
    }

    #[test]
    fn a_pipelined_run_that_is_stopped_goes_on_as_if_it_had_not_been() {
        let (task, clock): (_, Arc<dyn Clock>) = (Chain { tied: true, ..Chain::default() }, Arc::new(Still));
        let folder = std::env::temp_dir().join(format!("sordino-piped-{}", std::process::id()));
        for (i, (sets, workers)) in
            [(&["placement.ring=true"][..], 3), (&["placement=pipeline(stale=stash, ring=true)"], 2)]
                .into_iter()
                .enumerate()
        {
            let whole = run(&task, &plan("dsp", sets, workers), &clock, &Nobody).unwrap();
            let out = Some(folder.join(i.to_string()));
            let first = Plan { out, checkpoint_every: Some(5), ..plan("dsp", sets, workers) };
            let stopper = Stopper(AtomicU64::new(0), 17);
            let stopped = run(&task, &first, &clock, &stopper).unwrap();
            assert!(stopped.interrupted && stopped.summary.steps < 40, "{}", stopped.summary.steps);
            let ended = run(&task, &Plan { resume: true, ..first }, &clock, &Nobody).unwrap();
            assert_eq!(ended.model, whole.model);
            assert_eq!(ended.summary.bytes(), whole.summary.bytes());
            // Where it was stopped it was looked at once more.
            let mut points = ended.points.clone();
            points.retain(|point| point.round % 4 == 0);
            assert_eq!(points.len() + 1, ended.points.len());
            assert_eq!(format!("{points:?}"), format!("{:?}", whole.points));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn layers_weigh_what_they_are_where_nobody_measures() {
        let workload = Chain::default().workload(1, 0).unwrap();
        let costs = measure(&*workload, Batch::Rows(4), 0, &Still).unwrap();
        assert_eq!(costs, weigh(&*workload));
        assert_eq!(costs.len(), 6);
    }
}
