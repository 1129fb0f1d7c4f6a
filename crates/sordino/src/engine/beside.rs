//! What travels dense beside the payload, aggregated as the payload is.

use std::collections::BTreeMap;

use super::seats::Seats;
use crate::aggregate::Aggregator;
use crate::base::{Layout, Purpose, Result, State};
use crate::compress::{Compressor, Dense};
use crate::exchange::{Exchange, Frame, Talk, Voice};
use crate::fabric::Port;

/// Makes the exchange and the aggregator of one lane: those of the recipe, with nothing compressed.
pub type Lanes = Box<dyn Fn() -> Result<(Box<dyn Exchange>, Box<dyn Aggregator>)> + Send>;

struct Lane {
    exchange: Box<dyn Exchange>,
    aggregator: Box<dyn Aggregator>,
    layout: Layout,
    /// What the voices of this rank have to say. It is said once the payload is agreed on: messages between two ranks
    /// are heard in the order in which they were sent.
    waiting: Vec<(Voice, Vec<f32>)>,
    said: Vec<f32>,
    agreed: Vec<f32>,
}

/// One lane for each purpose, made when it is first used.
pub struct Beside {
    make: Lanes,
    lanes: BTreeMap<Purpose, Lane>,
}

/// Where one talks: the port, the meeting and who is there.
pub struct Table<'a> {
    pub port: &'a mut dyn Port,
    pub frame: Frame,
    pub seed: u64,
    pub seats: &'a Seats,
}

impl Table<'_> {
    /// What a vector of this meeting is said and heard with.
    pub fn talk<'a>(
        &'a mut self,
        purpose: &'a Purpose,
        compressor: &'a mut dyn Compressor,
        aggregator: &'a mut dyn Aggregator,
        layout: &'a Layout,
    ) -> Talk<'a> {
        Talk {
            port: &mut *self.port,
            compressor,
            aggregator,
            layout,
            seed: self.seed,
            frame: self.frame,
            purpose,
            voices: &self.seats.voices,
            expected: self.seats.expected,
            clients: self.seats.clients,
            weights: &self.seats.weights,
        }
    }
}

impl Beside {
    pub fn new(make: Lanes) -> Self {
        Self { make, lanes: BTreeMap::new() }
    }

    fn lane(&mut self, purpose: &Purpose, len: usize) -> Result<&mut Lane> {
        if !self.lanes.contains_key(purpose) {
            let (exchange, aggregator) = (self.make)()?;
            let (said, agreed) = (vec![0.0; len], vec![0.0; len]);
            let layout = Layout::vector(len);
            let lane = Lane { exchange, aggregator, layout, waiting: Vec::new(), said, agreed };
            self.lanes.insert(purpose.clone(), lane);
        }
        self.lanes.get_mut(purpose).ok_or_else(|| crate::base::Error::request("a lane that was just made is gone"))
    }

    /// One voice of this rank will say `values`.
    pub fn say(&mut self, purpose: &Purpose, voice: Voice, values: &[f32]) -> Result<()> {
        self.lane(purpose, values.len())?.waiting.push((voice, values.to_vec()));
        Ok(())
    }

    /// What all voices agree on: `len` numbers, the same on every rank.
    pub fn agree(&mut self, at: &mut Table, purpose: &Purpose, len: usize) -> Result<&[f32]> {
        let lane = self.lane(purpose, len)?;
        let (exchange, said, agreed) = (&mut lane.exchange, &mut lane.said, &mut lane.agreed);
        let mut dense = Dense;
        let mut talk = at.talk(purpose, &mut dense, &mut *lane.aggregator, &lane.layout);
        for (voice, values) in lane.waiting.drain(..) {
            exchange.begin(&mut talk, voice, &values, said)?;
        }
        exchange.finish(&mut talk, said, agreed)?;
        Ok(agreed)
    }

    /// What aggregators remember.
    pub fn save(&self, state: &mut State) {
        for (purpose, lane) in &self.lanes {
            let mut inner = State::default();
            lane.aggregator.save(&mut inner);
            state.put_all(&purpose.to_string(), inner);
        }
    }

    /// Takes it back: `lens` says how long each lane's vectors are.
    pub fn load(&mut self, state: &State, lens: &[(Purpose, usize)]) -> Result<()> {
        for (purpose, len) in lens {
            let lane = self.lane(purpose, *len)?;
            let layout = lane.layout.clone();
            lane.aggregator.load(&state.part(&purpose.to_string()), &layout)?;
        }
        Ok(())
    }
}
