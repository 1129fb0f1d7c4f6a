//! Pieces of work on all cores, in any order, with results in theirs.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sees how far the work is, and may end it.
pub trait Watch: Sync {
    /// A piece is done: so many of so many.
    fn done(&self, _what: &str, _done: usize, _of: usize) {}

    /// Whether no further piece should begin.
    fn stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {}

/// Does pieces `0..count`, `hands` at a time; `None` for those that were not begun when the watcher stopped.
pub fn spread<T: Send>(
    count: usize,
    hands: usize,
    watch: &dyn Watch,
    piece: impl Fn(usize) -> T + Sync,
) -> Vec<Option<T>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let hand = || {
        while !watch.stop() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = results.get(at) else { break };
            let made = piece(at);
            if let Ok(mut place) = place.lock() {
                *place = Some(made);
            }
        }
    };
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..hands.clamp(1, count.max(1))).map(|_| scope.spawn(hand)).collect();
        for hand in hands {
            if let Err(panic) = hand.join() {
                resume_unwind(panic);
            }
        }
    });
    results.into_iter().map(|place| place.into_inner().ok().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    struct After(AtomicBool);

    impl Watch for After {
        fn stop(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_pieces() {
        let made = spread(100, 3, &Silent, |at| at * at);
        assert_eq!(made.iter().flatten().copied().collect::<Vec<_>>(), (0..100).map(|at| at * at).collect::<Vec<_>>());
        assert!(spread(0, 3, &Silent, |at| at).is_empty());
    }

    #[test]
    fn who_is_told_to_stop_begins_nothing_more() {
        let watch = After(AtomicBool::new(false));
        let made = spread(10, 1, &watch, |at| {
            watch.0.store(at == 3, Ordering::Relaxed);
            at
        });
        assert_eq!(made.iter().flatten().count(), 4);
    }
}
