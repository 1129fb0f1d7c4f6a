//! The guard: hides what is given, and keeps the account of what that has spent.

use crate::base::{Error, Former, Result, State};
use crate::privacy::{Accountant, Event, Mechanism, Unit, Voiced, steps_for};

/// A mechanism with its account.
pub struct Guard {
    mechanism: Box<dyn Mechanism>,
    accountant: Accountant,
    /// The rate with which a unit is drawn into a round: the largest of any.
    rate: f64,
    /// Rows that a message is divided by.
    lot: f64,
    /// Rounds that the budget allows.
    allowed: Option<u64>,
    /// The epsilon after the last round.
    epsilon: f64,
    /// What was given, bounded, before noise.
    pub(super) clean: Vec<f32>,
    /// The same with noise: what goes to the exchange.
    pub(super) hidden: Vec<f32>,
    pub(super) shortened: u64,
}

impl Guard {
    /// Units are clients drawn at `clients`, or rows drawn at `rows`; a message is a mean over `lot` rows.
    pub fn new(mechanism: Box<dyn Mechanism>, clients: f64, rows: f64, lot: f64) -> Self {
        let sample = mechanism.unit() == Unit::Sample;
        Self {
            rate: if sample { rows } else { clients },
            lot,
            mechanism,
            accountant: Accountant::new(),
            allowed: None,
            epsilon: 0.0,
            clean: Vec::new(),
            hidden: Vec::new(),
            shortened: 0,
        }
    }

    /// Takes entropy for the noise.
    pub fn key(&mut self, key: [u8; 32]) {
        self.mechanism.key(key);
    }

    /// Bounds and hides what a voice gives: `hidden` is what it sends.
    pub fn hide(&mut self, client: u64, round: u64, voices: usize, given: &[f32]) -> Result<()> {
        self.clean.clear();
        self.clean.extend_from_slice(given);
        self.shortened += u64::from(self.mechanism.bound(&mut self.clean));
        self.hidden.clear();
        self.hidden.extend_from_slice(&self.clean);
        self.mechanism.hide(&Voiced { client, round, voices, lot: self.lot }, &mut self.hidden)
    }

    /// What feedback is to take for said.
    pub fn heard<'a>(&'a self, said: &'a [f32]) -> &'a [f32] {
        if self.mechanism.remembers_clean() { &self.clean } else { said }
    }

    /// A round is over: it has spent what it spends, whoever came.
    pub fn spend(&mut self) -> Result<()> {
        self.accountant.compose(&self.mechanism.event(self.rate))?;
        self.epsilon = self.accountant.epsilon(self.mechanism.delta());
        Ok(())
    }

    /// The epsilon so far.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Whether a round more would overdraw the budget.
    pub fn exhausted(&mut self, rounds: u64) -> Result<bool> {
        let Some(budget) = self.mechanism.budget() else { return Ok(false) };
        let next = self.mechanism.event(self.rate);
        let alike = |event: &Event| event.rate == next.rate && event.multiplier == next.multiplier;
        if !self.accountant.history().iter().all(alike) {
            // With another number of workers a row is drawn at another rate: rounds cannot be counted.
            let mut after = self.accountant.clone();
            after.compose(&next)?;
            return Ok(after.epsilon(self.mechanism.delta()) > budget);
        }
        if self.allowed.is_none() {
            let event = self.mechanism.event(self.rate);
            let allowed = steps_for(budget, self.mechanism.delta(), self.rate, event.multiplier)?;
            if allowed == 0 {
                return Err(Error::request(format!(
                    "a single round with noise {} at a rate of {} spends more than epsilon {budget}; raise privacy.epsilon or \
                     privacy.noise, or leave privacy.noise=auto to solve for it",
                    event.multiplier, self.rate
                )));
            }
            self.allowed = Some(allowed);
        }
        Ok(self.allowed.is_some_and(|allowed| rounds >= allowed))
    }

    /// Whether somebody must speak though nobody was drawn, so that an empty round looks like any other.
    pub fn hides_absence(&self) -> bool {
        self.mechanism.unit() == Unit::Client
    }

    /// What every rank of a run with another number of ranks takes back: what has been spent. Refused where what is
    /// hidden is all that a worker holds.
    pub fn deal(&self, former: &Former, federated: bool) -> Result<State> {
        if !federated && self.mechanism.unit() == Unit::Client {
            return Err(Error::request(format!(
                "`privacy.unit=client` hides all that a worker holds, and with another number of workers its rows would be \
                 parted among several; resume with as many workers as the checkpoint is of, {}",
                former.each().count()
            )));
        }
        former.same_but(&[])
    }

    /// Puts the history of events into `state`.
    pub fn save(&self, state: &mut State) {
        for (i, event) in self.accountant.history().iter().enumerate() {
            let words = [event.rate.to_bits(), event.multiplier.to_bits(), event.count];
            state.put_numbers(&format!("event-{i:06}"), &words);
        }
    }

    /// Takes it back.
    pub fn load(&mut self, state: &State) -> Result<()> {
        let mut history = Vec::with_capacity(state.numbers.len());
        for name in state.numbers.keys() {
            let [rate, multiplier, count] = state.take_numbers(name)?;
            history.push(Event { rate: f64::from_bits(rate), multiplier: f64::from_bits(multiplier), count });
        }
        self.accountant = Accountant::replay(&history)?;
        if !history.is_empty() {
            self.epsilon = self.accountant.epsilon(self.mechanism.delta());
        }
        Ok(())
    }
}
