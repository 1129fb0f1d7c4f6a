//! Fragments of the model that take turns: each round speaks of one, and each has an outer step of its own.
//!
//! ```text
//! round r     speaks of fragment r mod P:   given, said and agreed are of its entries alone
//!             said = 0 elsewhere: what the others' entries moved by stays unsaid until it is their turn
//! ```

use std::ops::Range;

use crate::base::{Error, Layout, Result, State};
use crate::optim::{At, Chain, Transform};

/// Some tensors that are spoken of together.
pub struct Fragment {
    /// Their entries.
    pub range: Range<usize>,
    /// The tensors.
    pub layout: Layout,
    outer: Chain,
}

/// All of a model, in order.
pub struct Fragments(Vec<Fragment>);

impl Fragments {
    /// As many fragments as there are outer chains, each of whole tensors and about as large as the others.
    pub fn new(layout: &Layout, outer: Vec<Chain>) -> Self {
        let (ranges, count, mut from) = (layout.ranges(), outer.len(), 0);
        // A fragment ends at the end of the tensor that is nearest to its share.
        let end = |share: usize| {
            let target = (layout.len() as u128 * share as u128 / count as u128) as usize;
            (0..=ranges.len()).min_by_key(|n| ranges[..*n].last().map_or(0, |r| r.end).abs_diff(target)).unwrap_or(0)
        };
        let fragment = |(at, outer): (usize, Chain)| {
            let to = if at + 1 == count { ranges.len() } else { end(at + 1).max(from) };
            let tensors: Vec<usize> = (from..to).collect();
            let start = ranges.get(from).map_or(layout.len(), |r| r.start);
            let stop = ranges.get(to).map_or(layout.len(), |r| r.start);
            from = to;
            let layout = if count == 1 { layout.clone() } else { layout.part(&tensors) };
            Fragment { range: start..stop, layout, outer }
        };
        Self(outer.into_iter().enumerate().map(fragment).collect())
    }

    /// Whether there are several.
    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// Refuses more fragments than the model has tensors for.
    pub fn all_there(&self) -> Result<()> {
        if self.several() && self.0.iter().any(|fragment| fragment.range.is_empty()) {
            return Err(Error::request(format!(
                "`payload.fragments` is {}, and the model's tensors cannot be parted into so many of about the same size; lower \
                 payload.fragments",
                self.0.len()
            )));
        }
        Ok(())
    }

    /// The fragment of a round.
    pub fn of(&self, round: u64) -> &Fragment {
        &self.0[(round % self.0.len() as u64) as usize]
    }

    /// Whether what is agreed on moves the model as it is.
    pub fn plain(&self) -> bool {
        self.0.iter().all(|fragment| fragment.outer.is_empty())
    }

    /// The outer step of a round's fragment: rewrites `update`, what was agreed on, where the model stands.
    pub fn outer(&mut self, round: u64, (model, agreed): (&[f32], &[f32]), rate: f64, step: u64, update: &mut [f32]) {
        let at = (round % self.0.len() as u64) as usize;
        let Fragment { range, layout, outer } = &mut self.0[at];
        let at = At::new(&model[range.clone()], &agreed[range.clone()], rate, step, layout);
        outer.apply(&at, &mut update[range.clone()]);
    }

    fn name(at: usize) -> String {
        format!("fragment-{at:03}")
    }

    /// Puts what outer chains remember into `state`.
    pub fn save(&self, state: &mut State) {
        if let [only] = &self.0[..] {
            return only.outer.save(state);
        }
        for (at, fragment) in self.0.iter().enumerate() {
            let mut inner = State::default();
            fragment.outer.save(&mut inner);
            state.put_all(&Self::name(at), inner);
        }
    }

    /// Takes it back.
    pub fn load(&mut self, state: &State) -> Result<()> {
        if let [only] = &mut self.0[..] {
            return only.outer.load(state, &only.layout);
        }
        for (at, fragment) in self.0.iter_mut().enumerate() {
            fragment.outer.load(&state.part(&Self::name(at)), &fragment.layout)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, Tensor};

    #[test]
    fn fragments_are_whole_tensors_of_about_the_same_size() {
        let layout = Layout::new([100, 7, 90, 50, 60].map(|n| Tensor::new("t", &[n], Role::Weight)));
        let of = |count: usize| Fragments::new(&layout, (0..count).map(|_| Chain::default()).collect());
        let ranges = |count| of(count).0.iter().map(|fragment| fragment.range.clone()).collect::<Vec<_>>();
        assert_eq!(ranges(1), std::slice::from_ref(&(0..307)));
        assert_eq!(ranges(2), [0..197, 197..307]);
        assert_eq!(ranges(3), [0..100, 100..197, 197..307]);
        let three = of(3);
        assert!((0..9).all(|round| three.of(round).layout.len() == three.of(round).range.len()));
        assert_eq!((three.of(4).range.clone(), three.of(4).layout.ranges().len()), (100..197, 2));
        three.all_there().unwrap();
        assert!(of(40).all_there().unwrap_err().to_string().contains("lower payload.fragments"));
    }
}
