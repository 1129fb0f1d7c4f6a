//! Cuts: where a vector may be cut into chunks, and what a chunk's tensors are.

use std::ops::Range;

use crate::base::{Layout, Tensor};

/// The layout of entries `range` of a vector: all tensors, of which those that lie outside are empty and those that are
/// cut are vectors. What is cut remembers what it was cut from, so that a chunk codes it as the whole vector does.
#[must_use]
pub fn cut(layout: &Layout, range: &Range<usize>) -> Layout {
    if *range == (0..layout.len()) {
        return layout.clone();
    }
    Layout::new(layout.tensors().map(|(tensor, whole)| {
        let from = whole.start.max(range.start);
        let len = whole.end.min(range.end).saturating_sub(from);
        if len == whole.len() { tensor.clone() } else { Tensor { shape: vec![len], ..tensor.clone() } }
    }))
}

/// The place next to entry `target` where a vector may be cut: at an end of a tensor, or after a multiple of `grain` entries
/// of one; of two that are as near the lower.
pub fn nearest(layout: &Layout, grain: usize, target: usize) -> usize {
    let Some(tensor) = layout.ranges().iter().find(|r| r.contains(&target)) else { return layout.len() };
    let below = tensor.start + (target - tensor.start) / grain * grain;
    let above = below.saturating_add(grain).min(tensor.end);
    if target - below <= above - target { below } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Role;

    #[test]
    fn cuts_are_at_ends_of_tensors_and_multiples_of_the_grain() {
        let of = |n: &[usize]| Layout::new(n.iter().map(|n| Tensor::new("t", &[*n], Role::Weight)));
        let layout = of(&[100, 10, 0, 64]);
        let places = |grain| -> Vec<usize> {
            let mut places: Vec<usize> = (0..=174).map(|target| nearest(&layout, grain, target)).collect();
            places.dedup();
            places
        };
        assert_eq!(places(32), [0, 32, 64, 96, 100, 110, 142, 174]);
        assert_eq!(places(usize::MAX), [0, 100, 110, 174]);
        assert_eq!(places(1).len(), 175);
        assert_eq!((nearest(&layout, 32, 80), nearest(&layout, 32, 81)), (64, 96));
    }

    #[test]
    fn a_chunk_remembers_what_it_was_cut_from() {
        let layout = Layout::new([
            Tensor::new("a", &[10, 10], Role::Weight),
            Tensor::new("b", &[5], Role::Bias),
            Tensor::new("c", &[7, 1], Role::Weight),
        ]);
        let chunk = cut(&layout, &(96..105));
        assert_eq!(chunk.ranges(), [0..4, 4..9, 9..9]);
        assert_eq!(chunk.tensors().map(|(t, _)| t.of).collect::<Vec<_>>(), [100, 5, 7]);
        assert_eq!(cut(&layout, &(0..112)), layout);
        // Cut again, in places counted from its own beginning.
        assert_eq!(cut(&chunk, &(2..4)).tensors().next().map(|(t, r)| (t.of, r)), Some((100, 0..2)));
    }
}
