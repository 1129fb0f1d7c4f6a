//! Which training rows belong to which worker.
//!
//! # What it does
//! Deals n rows to N workers: evenly anew each epoch (`iid`), in file order (`contiguous`), skewed by label
//! (`dirichlet`), or by who produced them (`natural`).
//!
//! # The step
//! ```text
//! contiguous   worker k: the k-th of N runs of ⌊n/N⌋ rows, one more for the first n mod N workers
//! dirichlet    for each class c: p ~ Dirichlet(α, ..., α) over workers; its rows, shuffled, are cut by p
//! natural      clients by falling size, each whole to the worker that holds the fewest rows so far;
//!              where there are as many workers as clients, client k is the k-th to appear
//! flip         y ← classes − 1 − y for every row of the last `flip` workers
//! ```
//! # Contract
//! Shards are disjoint, cover every row, ascend, and hold at least one row each; the same arguments give the same
//! shards anywhere. Fewer rows (or clients) than workers is an error.
//!
//! A flip is applied to training labels after the deal, which goes by the true ones; held-out labels stay true. The
//! loss over training rows, and that over a client's own rows, count flipped labels as the clients that hold them do.
//!
//! # When it helps, when it hurts
//! Small α and `natural` are the hard cases of federated training: workers pull apart between meetings.
//!
//! # Reference
//! Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
//! 2019; by class over workers as Yurochkin and others, 2019.
//!
//! # Deviations from the paper
//! A worker left without rows is given one by the worker that holds the most.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use sordino::base::{Stream, Use};
use sordino::workload::Deal;
use sordino::{Error, Result};

/// A choice of how rows come to workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Partition {
    /// Dealt anew each epoch.
    Iid,
    /// Runs of rows in file order.
    Contiguous,
    /// Skewed by label with this concentration.
    Dirichlet(f64),
    /// By client.
    Natural,
}

impl Partition {
    /// The deal of `rows` rows to `workers`: `labels` (one a row) are needed for label skew, `clients` (one a row) for
    /// the natural partition.
    pub fn deal(
        self,
        rows: usize,
        labels: Option<&[u32]>,
        clients: Option<&[u32]>,
        workers: usize,
        seed: u64,
    ) -> Result<Deal> {
        let need = |given: Option<&[u32]>, what: &str| match given {
            Some(list) if list.len() == rows => Ok(list.to_vec()),
            Some(list) => Err(Error::mismatch(format!("expected one {what} a row, {rows} in all, got {}", list.len()))),
            None => Err(Error::request(format!(
                "this partition needs a {what} for every row, and the task has none: use iid or contiguous"
            ))),
        };
        Ok(match self {
            Self::Iid => Deal::Iid,
            Self::Contiguous => Deal::Shards(Arc::new(contiguous(rows, workers)?)),
            Self::Dirichlet(alpha) => Deal::Shards(Arc::new(dirichlet(&need(labels, "label")?, workers, alpha, seed)?)),
            Self::Natural => Deal::Shards(Arc::new(natural(&need(clients, "client")?, workers)?)),
        })
    }
}

/// Runs of rows in file order; sizes differ by at most one, the first `rows mod workers` get one more.
pub fn contiguous(rows: usize, workers: usize) -> Result<Vec<Vec<u32>>> {
    enough(rows, "rows", workers)?;
    let mut next = 0;
    let run = |worker: usize| {
        let first = next;
        next += rows / workers + usize::from(worker < rows % workers);
        (first as u32..next as u32).collect()
    };
    Ok((0..workers).map(run).collect())
}

/// Label skew: each class is cut among workers by proportions drawn from Dirichlet(`alpha`).
pub fn dirichlet(labels: &[u32], workers: usize, alpha: f64, seed: u64) -> Result<Vec<Vec<u32>>> {
    enough(labels.len(), "rows", workers)?;
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(Error::request(format!("dirichlet's alpha must be a positive number, got {alpha}")));
    }
    let mut shards = vec![Vec::new(); workers];
    for (class, mut rows) in by_value(labels) {
        let mut stream = Stream::new(seed, Use::Partition, u64::from(class), 0);
        let weights: Vec<f64> = (0..workers).map(|_| stream.gamma(alpha)).collect();
        stream.shuffle(&mut rows);
        let total: f64 = weights.iter().sum();
        if !(total > 0.0 && total.is_finite()) {
            // So small an alpha that every weight underflows: in the limit one worker takes the class.
            shards[stream.below(workers as u64) as usize].extend(rows);
            continue;
        }
        let (mut sum, mut first) = (0.0, 0);
        for (worker, (shard, weight)) in shards.iter_mut().zip(&weights).enumerate() {
            sum += weight / total;
            // The last cut is the end itself, whatever the sum was rounded to.
            let cut = if worker + 1 == workers { rows.len() } else { (sum * rows.len() as f64).round() as usize };
            let last = cut.clamp(first, rows.len());
            shard.extend_from_slice(&rows[first..last]);
            first = last;
        }
    }
    feed(&mut shards);
    for shard in &mut shards {
        shard.sort_unstable();
    }
    Ok(shards)
}

/// Whole clients to workers: the largest first, each to the worker with the fewest rows; in the order in which they
/// appear where there are as many as workers. `clients` names each row's.
pub fn natural(clients: &[u32], workers: usize) -> Result<Vec<Vec<u32>>> {
    let mut clients: Vec<Vec<u32>> = by_value(clients).into_values().collect();
    enough(clients.len(), "clients", workers)?;
    if clients.len() == workers {
        // Each is one worker: numbers that mean something are kept.
        clients.sort_by_key(|rows| rows.first().copied());
        return Ok(clients);
    }
    clients.sort_by_key(|rows| Reverse(rows.len()));
    let mut shards = vec![Vec::new(); workers];
    for rows in clients {
        if let Some(shard) = shards.iter_mut().min_by_key(|shard| shard.len()) {
            shard.extend(rows);
        }
    }
    for shard in &mut shards {
        shard.sort_unstable();
    }
    Ok(shards)
}

/// The rows whose labels are flipped: those of the last `flip` workers.
pub fn flipped(deal: &Deal, flip: usize) -> Result<Vec<u32>> {
    match deal {
        _ if flip == 0 => Ok(Vec::new()),
        Deal::Shards(shards) if flip <= shards.len() => Ok(shards[shards.len() - flip..].concat()),
        Deal::Shards(shards) => Err(Error::request(format!(
            "the labels of {flip} clients cannot be flipped, there are {}: lower partition.flip",
            shards.len()
        ))),
        Deal::Iid => Err(Error::request(
            "rows that are dealt anew each epoch belong to nobody, so no client's labels can be flipped: use contiguous \
             or dirichlet",
        )),
    }
}

/// The rows of each value, in the order of values and rows.
fn by_value(values: &[u32]) -> BTreeMap<u32, Vec<u32>> {
    let mut rows = BTreeMap::<u32, Vec<u32>>::new();
    for (row, &value) in values.iter().enumerate() {
        rows.entry(value).or_default().push(row as u32);
    }
    rows
}

/// Gives each empty shard the last row of the largest one.
fn feed(shards: &mut [Vec<u32>]) {
    for hungry in 0..shards.len() {
        if shards[hungry].is_empty() {
            let richest = (0..shards.len()).max_by_key(|&s| (shards[s].len(), Reverse(s)));
            let row = richest.and_then(|s| shards[s].pop());
            shards[hungry].extend(row);
        }
    }
}

fn enough(have: usize, what: &str, workers: usize) -> Result<()> {
    if workers == 0 {
        return Err(Error::request("rows must be dealt to at least one worker, got 0"));
    }
    if have < workers {
        return Err(Error::request(format!(
            "{have} {what} cannot be dealt to {workers} workers: use at most {have} workers"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(shards: &[Vec<u32>], rows: usize) -> bool {
        let mut all = shards.concat();
        all.sort_unstable();
        all == (0..rows as u32).collect::<Vec<_>>() && shards.iter().all(|s| !s.is_empty() && s.is_sorted())
    }

    /// Mean over workers of the share of the most frequent label.
    fn skew(shards: &[Vec<u32>], labels: &[u32]) -> f64 {
        let purity = |shard: &Vec<u32>| {
            let mine: Vec<u32> = shard.iter().map(|&r| labels[r as usize]).collect();
            by_value(&mine).values().map(Vec::len).max().unwrap_or(0) as f64 / shard.len() as f64
        };
        shards.iter().map(purity).sum::<f64>() / shards.len() as f64
    }

    #[test]
    fn contiguous_runs_are_those_of_array_split() {
        let sizes: Vec<usize> = contiguous(11, 4).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 3, 3, 2]);
        assert_eq!(contiguous(5, 2).unwrap(), [vec![0, 1, 2], vec![3, 4]]);
        assert!(contiguous(3, 4).unwrap_err().to_string().contains("use at most 3 workers"));
        assert!(contiguous(3, 0).is_err());
    }

    #[test]
    fn a_small_alpha_skews_labels_more_than_a_large_one() {
        let labels: Vec<u32> = (0..2000).map(|r| r % 10).collect();
        let at = |alpha| (0..5).map(|s| skew(&dirichlet(&labels, 8, alpha, s).unwrap(), &labels)).sum::<f64>() / 5.0;
        let (sharp, middle, even) = (at(0.05), at(0.5), at(100.0));
        assert!(sharp > middle + 0.1 && middle > even + 0.1 && even < 0.2, "{sharp} {middle} {even}");
        let vanishing = dirichlet(&labels, 8, 1e-6, 0).unwrap();
        assert!(covers(&vanishing, 2000));
        assert_ne!(dirichlet(&labels, 8, 0.5, 0).unwrap(), dirichlet(&labels, 8, 0.5, 1).unwrap());
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(dirichlet(&labels, 8, alpha, 0).is_err());
        }
    }

    #[test]
    fn clients_stay_whole() {
        let clients = [5, 5, 5, 2, 9, 9, 2, 7];
        let shards = natural(&clients, 3).unwrap();
        assert_eq!(shards, [vec![0, 1, 2], vec![3, 6, 7], vec![4, 5]]);
        assert_eq!(natural(&clients, 4).unwrap(), [vec![0, 1, 2], vec![3, 6], vec![4, 5], vec![7]]);
        assert!(natural(&clients, 5).unwrap_err().to_string().contains("4 clients cannot be dealt to 5 workers"));
    }

    #[test]
    fn the_last_workers_are_flipped() {
        let deal = Partition::Contiguous.deal(7, None, None, 3, 0).unwrap();
        assert_eq!(flipped(&deal, 0).unwrap(), [0; 0]);
        assert_eq!(flipped(&deal, 2).unwrap(), [3, 4, 5, 6]);
        assert!(flipped(&deal, 4).unwrap_err().to_string().contains("there are 3"));
        assert!(flipped(&Deal::Iid, 1).unwrap_err().to_string().contains("use contiguous or dirichlet"));
        assert!(flipped(&Deal::Iid, 0).unwrap().is_empty());
    }

    #[test]
    fn a_deal_says_what_it_lacks() {
        assert_eq!(Partition::Iid.deal(4, None, None, 2, 0).unwrap(), Deal::Iid);
        let says = |p: Partition, labels| p.deal(4, labels, None, 2, 0).unwrap_err().to_string();
        assert!(says(Partition::Dirichlet(1.0), None).contains("needs a label for every row"));
        assert!(says(Partition::Dirichlet(1.0), Some(&[0, 1])).contains("4 in all, got 2"));
        assert!(says(Partition::Natural, None).contains("needs a client"));
        let Deal::Shards(shards) = Partition::Contiguous.deal(4, None, None, 2, 0).unwrap() else { panic!("shards") };
        assert!(covers(&shards, 4));
    }

    proptest! {
        #[test]
        fn shards_are_disjoint_and_cover(
            labels in prop::collection::vec(0u32..6, 1..300),
            workers in 1usize..20,
            log_alpha in -8.0f64..4.0,
            seed in 0u64..100,
        ) {
            let rows = labels.len();
            if rows >= workers {
                prop_assert!(covers(&contiguous(rows, workers).unwrap(), rows));
                let shards = dirichlet(&labels, workers, log_alpha.exp(), seed).unwrap();
                prop_assert!(covers(&shards, rows));
                prop_assert_eq!(shards, dirichlet(&labels, workers, log_alpha.exp(), seed).unwrap());
            } else {
                prop_assert!(dirichlet(&labels, workers, 1.0, seed).is_err());
            }
            if let Ok(shards) = natural(&labels, workers) {
                prop_assert!(covers(&shards, rows));
            }
        }
    }
}
