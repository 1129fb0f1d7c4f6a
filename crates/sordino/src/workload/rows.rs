//! Which rows make a mini-batch.

use super::{Batch, Draw};
use crate::base::{Error, Result, Stream, Use};

/// One worker's supply of training rows.
///
/// # What it does
/// Dealt rows (`iid`) are shuffled anew each epoch over *all* workers and dealt out like cards, worker after worker, so
/// that N workers with batches of b look at the same N·b rows in step t as one worker with a batch of N·b. A shard
/// (any other partition) is shuffled anew each epoch on its own. A full batch is always the same rows in ascending
/// order: the shard, or the hand dealt in epoch 0.
///
/// # Contract
/// Rows are a function of (seed, client, step, batch) alone: nothing depends on what was picked before. Every row is
/// looked at once an epoch, except the few that are left over when batches do not divide the rows.
#[derive(Clone, Debug)]
pub struct Rows {
    supply: Supply,
    order: Vec<u32>,
    /// The (seed, epoch) that `order` was shuffled for.
    shuffled: Option<(u64, u64)>,
    /// The hand of epoch 0, in ascending order, and the seed that dealt it.
    hand: Option<(u64, Vec<u32>)>,
    picked: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Supply {
    Dealt { total: usize, rank: usize, workers: usize },
    Shard(Vec<u32>),
}

impl Rows {
    /// The hand of `rank` when `total` rows are dealt to `workers` anew each epoch.
    pub fn dealt(total: usize, rank: usize, workers: usize) -> Self {
        Self::new(Supply::Dealt { total, rank, workers })
    }

    /// A fixed shard of row numbers; it must not be empty.
    pub fn shard(mut rows: Vec<u32>) -> Self {
        rows.sort_unstable();
        Self::new(Supply::Shard(rows))
    }

    fn new(supply: Supply) -> Self {
        Self { supply, order: Vec::new(), shuffled: None, hand: None, picked: Vec::new() }
    }

    /// How many rows this worker holds.
    pub fn len(&self) -> usize {
        match &self.supply {
            Supply::Dealt { total, rank, workers } => total / workers + usize::from(*rank < total % workers),
            Supply::Shard(rows) => rows.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of one draw.
    pub fn pick(&mut self, draw: &Draw) -> &[u32] {
        match draw.batch {
            Batch::Full => self.all(draw.seed),
            Batch::Rows(batch) => self.some(draw, batch.max(1)),
        }
    }

    /// All rows of this worker in ascending order.
    fn all(&mut self, seed: u64) -> &[u32] {
        if let Supply::Dealt { rank, workers, .. } = self.supply
            && self.hand.as_ref().is_none_or(|(of, _)| *of != seed)
        {
            self.shuffle(seed, 0, 0);
            let mut hand: Vec<u32> = self.order.iter().skip(rank).step_by(workers).copied().collect();
            hand.sort_unstable();
            self.hand = Some((seed, hand));
        }
        match (&self.supply, &self.hand) {
            (Supply::Shard(rows), _) => rows,
            (_, Some((_, hand))) => hand,
            _ => &[],
        }
    }

    fn some(&mut self, draw: &Draw, batch: usize) -> &[u32] {
        let (pool, hands, hand) = match &self.supply {
            Supply::Dealt { total, rank, workers } => (*total, *workers, *rank),
            Supply::Shard(rows) => (rows.len(), 1, 0),
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
        if self.shuffled == Some((seed, epoch)) {
            return;
        }
        self.order.clear();
        let client = match &self.supply {
            Supply::Dealt { total, .. } => {
                self.order.extend(0..*total as u32);
                u64::MAX // all workers share the shuffle
            }
            Supply::Shard(rows) => {
                self.order.extend(rows);
                client
            }
        };
        Stream::new(seed, Use::Batch, client, epoch).shuffle(&mut self.order);
        self.shuffled = Some((seed, epoch));
    }
}

/// How training rows come to workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deal {
    /// Dealt anew each epoch, so that every worker sees the same distribution.
    Iid,
    /// One fixed list of row numbers per worker.
    Shards(Vec<Vec<u32>>),
}

impl Deal {
    /// The supply of worker `rank` of `workers` out of `total` rows.
    pub fn rows(&self, total: usize, rank: usize, workers: usize) -> Result<Rows> {
        let rows = match self {
            Self::Iid => Rows::dealt(total, rank, workers),
            Self::Shards(shards) if shards.len() == workers => Rows::shard(shards[rank].clone()),
            Self::Shards(shards) => {
                return Err(Error::mismatch(format!("{} shards cannot be dealt to {workers} workers", shards.len())));
            }
        };
        if rows.is_empty() {
            return Err(Error::request(format!(
                "worker {rank} of {workers} holds no training rows: use fewer workers or another partition"
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

    #[test]
    fn four_workers_look_at_the_rows_of_one_with_the_large_batch() {
        let mut one = Rows::dealt(103, 0, 1);
        for step in 0..20 {
            let whole = one.pick(&draw(0, step, Batch::Rows(16))).to_vec();
            let parts: Vec<u32> = (0..4)
                .flat_map(|r| Rows::dealt(103, r, 4).pick(&draw(r as u64, step, Batch::Rows(4))).to_vec())
                .collect();
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn an_epoch_looks_at_every_row_of_a_shard_once() {
        let mut rows = Rows::shard((10..30).collect());
        let mut seen: Vec<u32> = (0..4).flat_map(|s| rows.pick(&draw(2, s, Batch::Rows(5))).to_vec()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (10..30).collect::<Vec<_>>());
    }

    #[test]
    fn picks_do_not_depend_on_earlier_picks() {
        let mut rows = Rows::dealt(50, 1, 2);
        let late = rows.pick(&draw(1, 40, Batch::Rows(3))).to_vec();
        rows.pick(&draw(1, 0, Batch::Rows(3)));
        rows.pick(&draw(1, 0, Batch::Full));
        assert_eq!(rows.pick(&draw(1, 40, Batch::Rows(3))), late);
    }

    #[test]
    fn full_hands_partition_the_rows_and_large_batches_wrap() {
        let mut all: Vec<u32> =
            (0..3).flat_map(|r| Rows::dealt(11, r, 3).pick(&draw(0, 5, Batch::Full)).to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<_>>());
        assert_eq!(Rows::dealt(11, 2, 3).len(), 3);
        assert_eq!(Rows::shard(vec![4, 2]).pick(&draw(0, 0, Batch::Rows(5))).len(), 5);
    }
}
