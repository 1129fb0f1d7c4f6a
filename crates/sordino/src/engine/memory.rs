//! Everything a worker remembers, and back.

use super::ahead::Ahead;
use super::told::Times;
use super::worker::Worker;
use crate::base::{Error, Former, Result, State};
use crate::buffers::Buffers;
use crate::optim::Transform as _;
use crate::payload::Payload;
use crate::workload::Workload;

impl Worker {
    /// Everything this worker remembers.
    pub fn save(&mut self) -> Result<State> {
        let mut state = State::default();
        state.put("model", &self.model);
        state.put("buffers", &self.buffers);
        if !self.weights.is_empty() {
            state.put("weights", &self.weights);
        }
        let rate = self.previous_rate.map_or(f64::NAN, |r| r);
        state.put_numbers("position", &[self.round, self.step, rate.to_bits()]);
        state.put_numbers(
            "times",
            &[self.times.compute, self.times.cpu, self.times.close, self.times.waited].map(f64::to_bits),
        );
        let part = |save: &dyn Fn(&mut State)| {
            let mut inner = State::default();
            save(&mut inner);
            inner
        };
        state.put_all("optim", part(&|s| self.optimizer.chain.save(s)));
        state.put_all("outer", part(&|s| self.fragments.save(s)));
        state.put_all("feedback", part(&|s| self.feedback.save(s)));
        state.put_all("exchange", part(&|s| self.exchange.save(s)));
        state.put_all("compress", part(&|s| self.compressor.save(s)));
        state.put_all("aggregate", part(&|s| self.aggregator.save(s)));
        state.put_all("beside", part(&|s| self.beside.save(s)));
        state.put_all("ahead", part(&|s| self.ahead.save(s)));
        if let Some(guard) = &self.guard {
            state.put_all("privacy", part(&|s| guard.save(s)));
        }
        let mut local = State::default();
        self.local.save(&mut local)?;
        state.put_all("local", local);
        self.clients.each(&mut |client, theirs| {
            state.put_all(&format!("clients/{client}"), theirs.clone());
            Ok(())
        })?;
        Ok(state)
    }

    /// Takes back what [`Worker::save`] gave; what follows is what would have followed.
    pub fn load(&mut self, state: &State) -> Result<()> {
        state.take("model", &mut self.model)?;
        state.take("buffers", &mut self.buffers)?;
        // Told once a run; of another number of ranks they are asked for anew.
        self.weights = state.vectors.get("weights").cloned().unwrap_or_default();
        let [round, step, rate] = state.take_numbers("position")?;
        (self.round, self.step, self.draws) = (round, step, step);
        self.compared = false;
        // What was on its way to the worker that this state replaces is nothing to it.
        self.caller = None;
        self.previous_rate = Some(f64::from_bits(rate)).filter(|r| !r.is_nan());
        let [compute, cpu, close, waited] = state.take_numbers("times")?.map(f64::from_bits);
        self.times = Times { compute, cpu, close, waited };
        self.optimizer.chain.load(&state.part("optim"), &self.layout)?;
        self.fragments.load(&state.part("outer"))?;
        self.feedback.load(&state.part("feedback"), &self.layout)?;
        self.exchange.load(&state.part("exchange"), &self.layout)?;
        self.compressor.load(&state.part("compress"), &self.layout)?;
        self.aggregator.load(&state.part("aggregate"), &self.layout)?;
        self.local.load(&state.part("local"), &self.layout)?;
        if let Some(guard) = &mut self.guard {
            guard.load(&state.part("privacy"))?;
        }
        self.beside.load(&state.part("beside"), &self.lanes())?;
        self.ahead.load(&state.part("ahead"), &self.layout, &self.asides)?;
        self.common.copy_from_slice(&self.buffers);
        for (client, theirs) in state.part("clients").families() {
            let client =
                client.parse().map_err(|_| Error::mismatch(format!("the checkpoint has a client `{client}`")))?;
            self.clients.put(client, theirs)?;
        }
        Ok(())
    }

    /// Takes what the workers of a run with another number of ranks gave, in rank order; `ranks` there are now.
    pub fn load_from(&mut self, states: &[&State], ranks: usize, workload: &mut dyn Workload) -> Result<()> {
        let state = self.deal(states, ranks, workload)?;
        self.load(&state)
    }

    /// What this worker would remember, had the run gone on from `states` with `ranks` ranks.
    fn deal(&mut self, states: &[&State], ranks: usize, workload: &mut dyn Workload) -> Result<State> {
        let (old, new, federated) = (states.len() as f64, ranks as f64, self.federated());
        if self.participation.served().is_some() {
            return Err(Error::request(format!(
                "`participation`: workers that come to a server at their own pace have words on their way to it, each worker its \
                 own; resume with as many workers as the checkpoint is of, {}",
                states.len().saturating_sub(1)
            )));
        }
        let Some(first) = states.first() else {
            return Err(Error::mismatch("a run goes on from the states of its ranks, and none came"));
        };
        let gain = |voices: f64| self.aggregator.gain(voices, voices);
        // Clients are as many as they were.
        let crowd = if federated { 1.0 } else { gain(old) / gain(new) };
        let weights = first.vectors.get("weights").map_or(&[][..], |weights| &weights[..]);
        let (former, alike) = (Former::new(states.to_vec(), weights, crowd), Former::new(states.to_vec(), &[], 1.0));
        let heads: Vec<State> = states.iter().map(|theirs| head(theirs)).collect();
        let mut state = Former::new(heads.iter().collect(), &[], 1.0).same_but(&[])?;
        match self.buffer_rule {
            Buffers::Root => drop(first.vectors.get("buffers").map(|buffers| state.put("buffers", buffers))),
            // A meeting averages buffers plainly, whatever the aggregator does.
            _ => alike.put_mean("buffers", 1.0, &mut state)?,
        }
        state.put_numbers("times", &mean_times(states, new)?);
        let optim = former.part("optim");
        state.put_all(
            "optim",
            match self.payload {
                // A client brings its own.
                Payload::Parameters | Payload::Displacement if federated => first.part("optim"),
                _ => self.optimizer.chain.deal(&optim)?,
            },
        );
        state.put_all("outer", alike.part("outer").same_but(&[])?);
        state.put_all("feedback", self.feedback.deal(&former.part("feedback"))?);
        state.put_all("exchange", self.exchange.deal(&former.part("exchange"), self.rank)?);
        state.put_all("compress", self.compressor.deal(&former.part("compress"))?);
        state.put_all("aggregate", self.aggregator.deal(&former.part("aggregate"))?);
        state.put_all("beside", alike.part("beside").same_but(&[])?);
        state.put_all("ahead", Ahead::deal(&former.part("ahead"))?);
        if let Some(guard) = &self.guard {
            state.put_all("privacy", guard.deal(&alike.part("privacy"), federated)?);
        }
        let client = self.rank as u64;
        state.put_all("local", self.local.deal(&former.part("local"), workload, self.seed, client)?);
        for (client, theirs) in states.iter().flat_map(|theirs| theirs.part("clients").families()) {
            // Who remembers is always played by the same rank.
            if client.parse::<usize>().is_ok_and(|client| client % ranks == self.rank) {
                state.put_all(&format!("clients/{client}"), theirs);
            }
        }
        Ok(state)
    }
}

/// What a worker knows of the run.
fn head(state: &State) -> State {
    let mut head = State::default();
    head.vectors.extend(state.vectors.get("model").map(|model| ("model".to_owned(), model.clone())));
    head.numbers.extend(state.numbers.get("position").map(|at| ("position".to_owned(), at.clone())));
    head
}

/// Seconds as they are told: means over workers go on as they were, and of processors the sum.
fn mean_times(states: &[&State], ranks: f64) -> Result<[u64; 4]> {
    let mut sums = [0.0; 4];
    for state in states {
        let times: [u64; 4] = state.take_numbers("times")?;
        sums.iter_mut().zip(times).for_each(|(sum, seconds)| *sum += f64::from_bits(seconds));
    }
    let [compute, cpu, close, waited] = sums;
    let old = states.len() as f64;
    Ok([compute / old, cpu / ranks, close / old, waited / old].map(f64::to_bits))
}
