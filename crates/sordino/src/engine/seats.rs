//! Who speaks in a round, and which rank speaks for whom.

use crate::base::Layout;
use crate::compress::Compressor;
use crate::exchange::Voice;
use crate::fabric::{Clock, Trip};
use crate::participation::Participation;
use crate::schedule::Schedule;
use crate::workload::Batch;

/// Bytes of a frame around a vector, at most.
const FRAME: u64 = 40;

/// The table of a round.
///
/// Where everybody takes part a voice is a rank. Else voices are federated clients; each is played by one rank, for this
/// round alone where clients remember nothing, and always by the same one (its number modulo the ranks) where they do,
/// so that what a client remembers never travels. Nothing that is computed depends on who plays whom.
#[derive(Clone, Debug, Default)]
pub struct Seats {
    /// Those that speak, ascending by client.
    pub voices: Vec<Voice>,
    /// Rows of each voice, where the aggregator weighs.
    pub weights: Vec<f32>,
    /// How many were asked.
    pub asked: usize,
    /// How many speak on average.
    pub expected: f64,
    /// Whether voices are clients and not ranks.
    pub clients: bool,
    /// How long the round takes on a virtual clock, where reports are waited for.
    pub seconds: f64,
}

/// What the table of a round is laid from.
pub struct Guests<'a> {
    pub participation: &'a dyn Participation,
    pub clock: &'a dyn Clock,
    pub schedule: &'a dyn Schedule,
    pub compressor: &'a dyn Compressor,
    pub layout: &'a Layout,
    /// Rows of every client.
    pub rows: &'a [f32],
    pub batch: Batch,
    pub seed: u64,
    pub round: u64,
    /// Local steps of a client that has no count of its own.
    pub silence: u64,
    /// How many ranks there are.
    pub ranks: usize,
    /// Whether clients remember anything.
    pub remembering: bool,
    /// Bytes of what travels beside the payload, each way.
    pub beside: u64,
    /// Whether somebody must speak though nobody was drawn.
    pub hides_absence: bool,
}

/// Who speaks where noise must hide that nobody was drawn: it holds nothing and remembers nothing.
pub const NOBODY: u64 = u64::MAX;

impl Seats {
    /// Everybody, always.
    pub fn everyone(ranks: usize) -> Self {
        Self {
            voices: Voice::ranks(ranks),
            weights: Vec::new(),
            asked: ranks,
            expected: ranks as f64,
            clients: false,
            seconds: 0.0,
        }
    }

    /// The clients of a round: from seed, round and, on a virtual clock, from when their reports would be in.
    pub fn sampled(guests: &Guests) -> Self {
        let mut asked = Vec::new();
        guests.participation.asked(guests.seed, guests.round, guests.ranks, &mut asked);
        let trip = |client: &u64| Trip {
            client: *client,
            steps: steps_of(guests.schedule, guests.rows, *client, guests.batch, guests.silence),
            down: 4 * guests.layout.len() as u64 + FRAME + guests.beside,
            up: guests.compressor.bound(guests.layout) as u64 + FRAME + guests.beside,
        };
        let trips: Vec<Trip> = asked.iter().map(trip).collect();
        let (mut taken, mut seconds) = (asked.clone(), 0.0);
        if let Some(reports) = guests.clock.reports(guests.round, &trips) {
            let reports: Vec<(u64, f64)> = asked.iter().copied().zip(reports).collect();
            (taken, seconds) = guests.participation.taken(&reports);
        }
        let rank = |at: usize, client: u64| if guests.remembering { client as usize } else { at } % guests.ranks;
        let mut voices: Vec<Voice> =
            taken.iter().enumerate().map(|(at, c)| Voice { client: *c, rank: rank(at, *c) }).collect();
        if voices.is_empty() && guests.hides_absence {
            voices.push(Voice { client: NOBODY, rank: 0 });
        }
        Self {
            voices,
            weights: taken.iter().map(|c| guests.rows.get(*c as usize).copied().unwrap_or(1.0)).collect(),
            asked: asked.len(),
            expected: guests.participation.expected(guests.ranks),
            clients: true,
            seconds,
        }
    }

    /// The voices of one rank.
    pub fn of(&self, rank: usize) -> impl Iterator<Item = Voice> + use<> {
        let mine: Vec<Voice> = self.voices.iter().copied().filter(|v| v.rank == rank).collect();
        mine.into_iter()
    }
}

/// Local steps of one pass over the rows of a client, on average over clients.
pub fn epoch_of(rows: &[f32], batch: Batch) -> f64 {
    let mean = rows.iter().map(|r| f64::from(*r)).sum::<f64>() / rows.len().max(1) as f64;
    batch.rows().map_or(1.0, |batch| mean / batch.max(1) as f64)
}

/// The local steps of a client in a round of `silence` steps.
pub fn steps_of(schedule: &dyn Schedule, rows: &[f32], client: u64, batch: Batch, silence: u64) -> u64 {
    own(schedule, rows, client, batch).unwrap_or(silence).max(1)
}

/// The numbers of a client's draws in a round: where every client makes the same number of steps, the run's own steps;
/// else its own count, so that it passes over its rows again and again in order.
pub fn draws_of(schedule: &dyn Schedule, rows: &[f32], client: u64, batch: Batch, round: u64, step: u64) -> u64 {
    own(schedule, rows, client, batch).map_or(step, |own| round * own.max(1))
}

fn own(schedule: &dyn Schedule, rows: &[f32], client: u64, batch: Batch) -> Option<u64> {
    let rows = *rows.get(client as usize)? as u64;
    schedule.own(batch.rows().map_or(1, |batch| rows.div_ceil(batch.max(1) as u64)))
}
