//! What every feedback must keep, ours and a stranger's.

use crate::base::{Layout, State, Stream, Use};
use crate::feedback::Feedback;

const LEN: usize = 29;

fn offer(round: u64) -> Vec<f32> {
    let mut stream = Stream::new(5, Use::Problem, round, 0);
    (0..LEN).map(|_| stream.normal()).collect()
}

/// One round of one worker: what is agreed, after a code that keeps every entry or every third.
fn round(feedback: &mut dyn Feedback, number: u64, lossless: bool) -> Vec<f32> {
    if let Some(shared) = feedback.share(number) {
        assert_eq!(shared.len(), LEN, "what is shared has the length of the model");
    }
    let mut given = offer(number);
    feedback.compensate(&mut given);
    let said: Vec<f32> =
        given.iter().enumerate().map(|(i, v)| if lossless || i as u64 % 3 == number % 3 { *v } else { 0.0 }).collect();
    feedback.settle(&given, &said);
    let mut agreed = said;
    feedback.restore(&mut agreed, 1.0);
    agreed
}

/// Holds a feedback to its contract.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite(make: &dyn Fn() -> Box<dyn Feedback>) {
    let mut fresh = make();
    let (mut given, mut start) = (offer(0), offer(1));
    fresh.compensate(&mut given);
    fresh.look_ahead(&mut start);
    assert_eq!((given, start), (offer(0), offer(1)), "a fresh feedback owes something");

    // Over a lossless code nothing is left unsaid, so every offer comes through.
    let mut feedback = make();
    for number in 0..6 {
        for (a, b) in round(&mut *feedback, number, true).iter().zip(offer(number)) {
            assert!((a - b).abs() <= 1e-5, "over a lossless code {b} was offered and {a} agreed on");
        }
    }
    let mut start = offer(9);
    feedback.look_ahead(&mut start);
    for (a, b) in start.iter().zip(offer(9)) {
        assert!(
            (a - b).abs() <= 1e-5 || !feedback.looks_ahead(),
            "nothing is owed, but the start moved from {b} to {a}"
        );
    }

    // Saved and loaded, it goes on bit for bit.
    let (mut one, mut two) = (make(), make());
    for number in 0..5 {
        round(&mut *one, number, false);
    }
    let mut state = State::default();
    one.save(&mut state);
    two.load(&state, &Layout::vector(LEN)).unwrap_or_else(|e| panic!("what was saved does not load: {e}"));
    for number in 5..10 {
        assert_eq!(round(&mut *one, number, false), round(&mut *two, number, false), "loaded, it goes on differently");
        assert_eq!(one.norm(), two.norm(), "loaded, it remembers something else");
    }
    if let Some(norm) = one.norm() {
        assert!(norm.is_finite(), "what is remembered has norm {norm}");
    }
    let shorter = two.load(&state, &Layout::vector(LEN - 1));
    assert!(shorter.is_err() || state.vectors.is_empty(), "a state of another model was loaded without a word");
}
