//! Everything a worker remembers, and back.

use super::told::Times;
use super::worker::Worker;
use crate::base::{Error, Result, State};
use crate::optim::Transform as _;

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
        state.put_all("outer", part(&|s| self.outer.save(s)));
        state.put_all("feedback", part(&|s| self.feedback.save(s)));
        state.put_all("exchange", part(&|s| self.exchange.save(s)));
        state.put_all("compress", part(&|s| self.compressor.save(s)));
        state.put_all("aggregate", part(&|s| self.aggregator.save(s)));
        state.put_all("beside", part(&|s| self.beside.save(s)));
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
        self.previous_rate = Some(f64::from_bits(rate)).filter(|r| !r.is_nan());
        let [compute, cpu, close, waited] = state.take_numbers("times")?.map(f64::from_bits);
        self.times = Times { compute, cpu, close, waited };
        self.optimizer.chain.load(&state.part("optim"), &self.layout)?;
        self.outer.load(&state.part("outer"), &self.layout)?;
        self.feedback.load(&state.part("feedback"), &self.layout)?;
        self.exchange.load(&state.part("exchange"), &self.layout)?;
        self.compressor.load(&state.part("compress"), &self.layout)?;
        self.aggregator.load(&state.part("aggregate"), &self.layout)?;
        self.local.load(&state.part("local"), &self.layout)?;
        if let Some(guard) = &mut self.guard {
            guard.load(&state.part("privacy"))?;
        }
        self.beside.load(&state.part("beside"), &self.lanes())?;
        self.common.copy_from_slice(&self.buffers);
        for (client, theirs) in state.part("clients").families() {
            let client =
                client.parse().map_err(|_| Error::mismatch(format!("the checkpoint has a client `{client}`")))?;
            self.clients.put(client, theirs)?;
        }
        Ok(())
    }
}
