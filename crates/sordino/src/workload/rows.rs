//! Which rows make a mini-batch.

use std::sync::Arc;

use super::{Batch, Draw, stranger};
use crate::base::{Error, Result, Stream, Use};

/// The training rows of all clients.
///
/// # What it does
/// Dealt rows (`iid`) are shuffled anew each epoch over *all* clients and dealt out like cards, client after client, so
/// that N clients with batches of b look at the same N·b rows in step t as one client with a batch of N·b. A shard
/// (any other partition) is shuffled anew each epoch on its own. A full batch is always the same rows in ascending
/// order: the shard, or the hand dealt in epoch 0. A Poisson batch takes every row of a full batch with probability
/// batch/rows, each by itself. A single row is one of a full batch, by its place there.
///
/// # Contract
/// Rows are a function of (seed, client, step, batch) alone: nothing depends on what was picked before. Every row is
/// looked at once an epoch, except the few that are left over when batches do not divide the rows.
#[derive(Clone, Debug)]
pub struct Rows {
    supply: Supply,
    order: Vec<u32>,
    /// The (seed, client, epoch) that `order` was shuffled for.
    shuffled: Option<(u64, u64, u64)>,
    /// The hand of epoch 0, in ascending order, and the (seed, client) it was dealt for.
    hand: Option<(u64, u64, Vec<u32>)>,
    picked: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Supply {
    Dealt { total: usize, clients: usize },
    Shards(Arc<Vec<Vec<u32>>>),
}

/// All clients share the shuffle of dealt rows.
const EVERYBODY: u64 = u64::MAX;

impl Rows {
    /// `total` rows dealt to `clients` anew each epoch.
    pub fn dealt(total: usize, clients: usize) -> Self {
        Self::new(Supply::Dealt { total, clients })
    }

    /// Fixed shards of row numbers, one a client, each in ascending order and not empty.
    pub fn shards(shards: Arc<Vec<Vec<u32>>>) -> Self {
        Self::new(Supply::Shards(shards))
    }

    fn new(supply: Supply) -> Self {
        Self { supply, order: Vec::new(), shuffled: None, hand: None, picked: Vec::new() }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        match &self.supply {
            Supply::Dealt { clients, .. } => *clients,
            Supply::Shards(shards) => shards.len(),
        }
    }

    /// How many rows a client holds; 0 for one that there is not.
    pub fn len(&self, client: u64) -> usize {
        match &self.supply {
            Supply::Dealt { total, clients } if (client as usize) < *clients => {
                total / clients + usize::from((client as usize) < total % clients)
            }
            Supply::Dealt { .. } => 0,
            Supply::Shards(shards) => shards.get(client as usize).map_or(0, Vec::len),
        }
    }

    /// The rows of one draw.
    pub fn pick(&mut self, draw: &Draw) -> Result<&[u32]> {
        if draw.client >= self.clients() as u64 {
            return Err(stranger(draw.client, self.clients()));
        }
        match draw.batch {
            Batch::Full => {
                self.deal_hand(draw);
                Ok(self.all(draw))
            }
            Batch::Rows(batch) => Ok(self.some(draw, batch.max(1))),
            Batch::Row(place) => {
                self.deal_hand(draw);
                let all = self.all(draw);
                all.get(place..=place).ok_or_else(|| {
                    Error::mismatch(format!(
                        "client {} holds {} rows, so there is no row {place}",
                        draw.client,
                        all.len()
                    ))
                })
            }
            Batch::Poisson(batch) => {
                self.deal_hand(draw);
                let mut picked = std::mem::take(&mut self.picked);
                picked.clear();
                let all = self.all(draw);
                let chance = batch as f64 / all.len() as f64;
                let mut stream = Stream::new(draw.seed, Use::Inclusion, draw.client, draw.step);
                picked.extend(all.iter().filter(|_| stream.uniform64() < chance));
                self.picked = picked;
                Ok(&self.picked)
            }
        }
    }

    /// Deals the hand of epoch 0, where rows are dealt and it was not dealt before.
    fn deal_hand(&mut self, draw: &Draw) {
        let Supply::Dealt { clients, .. } = self.supply else { return };
        if self.hand.as_ref().is_some_and(|(seed, client, _)| (*seed, *client) == (draw.seed, draw.client)) {
            return;
        }
        self.shuffle(draw.seed, draw.client, 0);
        let mut hand: Vec<u32> = self.order.iter().skip(draw.client as usize).step_by(clients).copied().collect();
        hand.sort_unstable();
        self.hand = Some((draw.seed, draw.client, hand));
    }

    /// All rows of a client in ascending order.
    fn all(&self, draw: &Draw) -> &[u32] {
        match (&self.supply, &self.hand) {
            (Supply::Shards(shards), _) => &shards[draw.client as usize],
            (_, Some((_, _, hand))) => hand,
            _ => &[],
        }
    }

    fn some(&mut self, draw: &Draw, batch: usize) -> &[u32] {
        let (pool, hands, hand) = match &self.supply {
            Supply::Dealt { total, clients } => (*total, *clients, draw.client as usize),
            Supply::Shards(shards) => (shards[draw.client as usize].len(), 1, 0),
        };
        // A batch that exceeds what there is wraps around within the epoch's order.
        let steps_per_epoch = (pool / (batch * hands)).max(1) as u64;
        self.shuffle(draw.seed, draw.client, draw.step / steps_per_epoch);
        let first = (draw.step % steps_per_epoch) as usize * batch * hands + hand * batch;
        self.picked.clear();
        self.picked.extend((first..first + batch).map(|i| self.order[i % pool]));
        &self.picked
    }

    fn shuffle(&mut self, seed: u64, client: u64, epoch: u64) {
        let client = if matches!(self.supply, Supply::Dealt { .. }) { EVERYBODY } else { client };
        if self.shuffled == Some((seed, client, epoch)) {
            return;
        }
        self.order.clear();
        match &self.supply {
            Supply::Dealt { total, .. } => self.order.extend(0..*total as u32),
            Supply::Shards(shards) => self.order.extend(&shards[client as usize]),
        }
        Stream::new(seed, Use::Batch, client, epoch).shuffle(&mut self.order);
        self.shuffled = Some((seed, client, epoch));
    }
}

/// How training rows come to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deal {
    /// Dealt anew each epoch, so that every client sees the same distribution.
    Iid,
    /// One fixed list of row numbers per client, in ascending order.
    Shards(Arc<Vec<Vec<u32>>>),
}

impl Deal {
    /// The rows of `clients` clients out of `total`.
    pub fn rows(&self, total: usize, clients: usize) -> Result<Rows> {
        let rows = match self {
            Self::Iid => Rows::dealt(total, clients),
            Self::Shards(shards) if shards.len() == clients => Rows::shards(Arc::clone(shards)),
            Self::Shards(shards) => {
                return Err(Error::mismatch(format!("{} shards cannot be dealt to {clients} clients", shards.len())));
            }
        };
        if let Some(client) = (0..clients as u64).find(|client| rows.len(*client) == 0) {
            return Err(Error::request(format!(
                "client {client} of {clients} holds no training rows: use fewer clients or workers, or another partition"
            )));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(client: u64, step: u64, batch: Batch) -> Draw {
        Draw { seed: 1, client, step, batch }
    }

    fn shards(rows: &[&[u32]]) -> Rows {
        Rows::shards(Arc::new(rows.iter().map(|r| r.to_vec()).collect()))
    }

    #[test]
    fn four_clients_look_at_the_rows_of_one_with_the_large_batch() {
        let (mut one, mut four) = (Rows::dealt(103, 1), Rows::dealt(103, 4));
        for step in 0..20 {
            let whole = one.pick(&draw(0, step, Batch::Rows(16))).unwrap().to_vec();
            let parts: Vec<u32> =
                (0..4).flat_map(|r| four.pick(&draw(r, step, Batch::Rows(4))).unwrap().to_vec()).collect();
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn an_epoch_looks_at_every_row_of_a_shard_once() {
        let mine: Vec<u32> = (10..30).collect();
        let mut rows = shards(&[&[1], &[2], &mine]);
        let mut seen: Vec<u32> =
            (0..4).flat_map(|s| rows.pick(&draw(2, s, Batch::Rows(5))).unwrap().to_vec()).collect();
        seen.sort_unstable();
        assert_eq!(seen, mine);
    }

    #[test]
    fn picks_do_not_depend_on_earlier_picks() {
        let mine: Vec<u32> = (0..20).collect();
        for mut rows in [Rows::dealt(50, 2), shards(&[&mine, &mine])] {
            let late = rows.pick(&draw(1, 40, Batch::Rows(3))).unwrap().to_vec();
            let chance = rows.pick(&draw(1, 7, Batch::Poisson(3))).unwrap().to_vec();
            rows.pick(&draw(0, 40, Batch::Rows(3))).unwrap();
            rows.pick(&draw(1, 0, Batch::Rows(3))).unwrap();
            rows.pick(&draw(0, 0, Batch::Full)).unwrap();
            assert_eq!(rows.pick(&draw(1, 40, Batch::Rows(3))).unwrap(), late);
            assert_eq!(rows.pick(&draw(1, 7, Batch::Poisson(3))).unwrap(), chance);
        }
    }

    #[test]
    fn full_hands_partition_the_rows_and_large_batches_wrap() {
        let mut three = Rows::dealt(11, 3);
        let mut all: Vec<u32> = (0..3).flat_map(|r| three.pick(&draw(r, 5, Batch::Full)).unwrap().to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<_>>());
        assert_eq!((three.len(2), three.len(3)), (3, 0));
        let hand = three.pick(&draw(1, 5, Batch::Full)).unwrap().to_vec();
        let one = |rows: &mut Rows, place| rows.pick(&draw(1, 9, Batch::Row(place))).map(<[u32]>::to_vec);
        assert_eq!((0..4).flat_map(|place| one(&mut three, place).unwrap()).collect::<Vec<_>>(), hand);
        assert!(one(&mut three, 4).unwrap_err().to_string().contains("holds 4 rows, so there is no row 4"));
        assert_eq!(shards(&[&[2, 4]]).pick(&draw(0, 0, Batch::Rows(5))).unwrap().len(), 5);
        assert!(three.pick(&draw(3, 0, Batch::Full)).unwrap_err().to_string().contains("dealt to 3 clients"));
    }

    #[test]
    fn poisson_batches_take_every_row_at_its_rate_and_by_itself() {
        let mut rows = Rows::dealt(400, 4);
        let hand = rows.pick(&draw(1, 0, Batch::Full)).unwrap().to_vec();
        let (mut counts, mut sizes, steps) = (vec![0u32; 400], Vec::new(), 2000);
        for step in 0..steps {
            let picked = rows.pick(&draw(1, step, Batch::Poisson(20))).unwrap();
            sizes.push(picked.len() as f64);
            for row in picked {
                counts[*row as usize] += 1;
            }
        }
        assert!((0..400u32).all(|r| (counts[r as usize] > 0) == hand.contains(&r)), "only rows of the hand");
        // A row comes 400 ± 18 times, a batch has 20 ± 4 rows: six deviations for the extremes.
        assert!(hand.iter().all(|r| counts[*r as usize].abs_diff(400) < 6 * 18), "{counts:?}");
        let mean = sizes.iter().sum::<f64>() / steps as f64;
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / steps as f64;
        assert!((mean - 20.0).abs() < 6.0 * 4.0 / (steps as f64).sqrt(), "{mean}");
        assert!((variance - 16.0).abs() < 6.0 * 16.0 * (2.0 / steps as f64).sqrt(), "{variance}");
    }
}
