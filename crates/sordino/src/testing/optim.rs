//! What every chain of transforms must keep, ours and a stranger's.

use crate::base::{Aside, Layout, Role, State, Stream, Tensor, Use};
use crate::optim::{At, Transform};

const LEN: usize = 31;

/// Matrices, a bias and a norm: what layer-wise transforms tell apart.
fn layout() -> Layout {
    let tensors = [("a", 17, Role::Weight), ("b", 3, Role::Bias), ("c", 2, Role::Norm), ("d", 9, Role::Weight)];
    Layout::new(tensors.map(|(name, len, role)| Tensor::new(name, &[len], role)))
}

fn draw(what: u64, step: u64) -> Vec<f32> {
    let mut stream = Stream::new(8, Use::Problem, what, step);
    (0..LEN).map(|_| stream.normal()).collect()
}

fn apply(transform: &mut dyn Transform, step: u64) -> Vec<f32> {
    let (layout, parameters, gradient) = (layout(), draw(0, step), draw(1, step));
    let mut update = gradient.clone();
    // One positive number a tensor, whatever a transform asks for.
    let asides = transform.needs().map(|name| Aside { name, values: vec![3.0, 0.5, 0.0, 1.0 + step as f32] });
    let at = At::new(&parameters, &gradient, 0.1 / (1.0 + step as f64), step, &layout);
    transform.apply(&at.beside(asides.as_slice()), &mut update);
    assert!(update.iter().all(|u| u.is_finite()), "finite gradients made an update that is not");
    update
}

/// Holds a transform, or a chain of them, to its contract.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite<T: Transform>(make: &dyn Fn() -> T) {
    let (mut one, mut two) = (make(), make());
    for step in 0..4 {
        assert_eq!(apply(&mut one, step), apply(&mut two, step), "the same history gives another update");
    }
    let mut state = State::default();
    one.save(&mut state);
    let mut loaded = make();
    loaded.load(&state, &layout()).unwrap_or_else(|e| panic!("what was saved does not load: {e}"));
    for step in 4..8 {
        assert_eq!(apply(&mut one, step), apply(&mut loaded, step), "loaded, it goes on differently");
    }
    one.reset();
    let mut fresh = make();
    for step in 0..4 {
        assert_eq!(apply(&mut one, step), apply(&mut fresh, step), "reset, it still has a history");
    }
    assert!(one.clipped_steps() <= 12, "more steps were clipped than taken");
    assert_eq!(one.clipped_steps(), 0, "steps are counted as clipped twice");
    for moment in one.moments() {
        assert_eq!(moment.len(), LEN, "a moment has the length of the model");
    }
}
