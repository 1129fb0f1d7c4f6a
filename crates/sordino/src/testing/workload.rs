//! What every workload must keep, ours and a stranger's.

use crate::base::{Stream, Use, flat};
use crate::workload::{Batch, Draw, Split, Workload};

/// Holds a workload to its contract: `slack` is the relative error that a finite difference in f32 may have.
///
/// # Panics
/// With a sentence that says what was promised and what came.
pub fn suite(make: &dyn Fn() -> Box<dyn Workload>, slack: f64) {
    let (mut one, mut two) = (make(), make());
    let start = one.start(3);
    assert_eq!(start, two.start(3), "the same seed starts elsewhere");
    assert_eq!(one.layout(), two.layout(), "two of the same have other layouts");
    assert_eq!(start.parameters.len(), one.layout().len(), "the start has the length of the layout");
    assert_eq!(start.buffers.len(), one.layout().buffer_len(), "the buffers have the length of the layout");
    assert!(one.rows(0) >= 1, "a worker holds at least one row");

    let mut noise = Stream::new(1, Use::Problem, 77, 0);
    let x: Vec<f32> = start.parameters.iter().map(|v| v + 0.1 * noise.normal()).collect();
    for batch in [Batch::Rows(2), Batch::Rows(5), Batch::Full] {
        let draw = |step| Draw { seed: 9, client: 0, step, batch };
        let look = |of: &mut dyn Workload, at: &[f32], step, fill: f32| {
            let (mut buffers, mut gradient) = (start.buffers.clone(), vec![fill; at.len()]);
            let loss = of.gradient(at, &mut buffers, &draw(step), &mut gradient).unwrap_or_else(|e| panic!("{e}"));
            (loss, gradient, buffers)
        };
        let (loss, gradient, buffers) = look(&mut *one, &x, 4, 0.0);
        look(&mut *one, &x, 7, 0.0); // what was looked at before does not matter
        assert_eq!(look(&mut *one, &x, 4, f32::NAN), (loss, gradient.clone(), buffers), "{batch:?}: not a function");
        assert_eq!(look(&mut *two, &x, 4, 5.0).1, gradient, "{batch:?}: two of the same differ");

        let alone = one.loss(&x, &start.buffers, &draw(4)).unwrap_or_else(|e| panic!("{e}"));
        assert!((alone - loss).abs() <= 1e-6 * (1.0 + loss.abs()), "{batch:?}: the loss alone is {alone}, not {loss}");

        // Along the gradient the loss rises by its squared length.
        let length = flat::norm(&gradient);
        let reach = 1e-2 / length.max(1e-6);
        let moved = |sign: f64| {
            let mut at = x.clone();
            flat::add_scaled(&mut at, (sign * reach) as f32, &gradient);
            at
        };
        let rise = look(&mut *one, &moved(1.0), 4, 0.0).0 - look(&mut *one, &moved(-1.0), 4, 0.0).0;
        let slope = rise / (2.0 * reach);
        assert!(
            (slope - length * length).abs() <= slack * length * length,
            "{batch:?}: slope {slope}, ‖g‖² {}",
            length * length
        );
    }
    single_rows(&mut *one, &x, &start.buffers);
    for split in [Split::Train, Split::Test] {
        let found = one.evaluate(&x, &start.buffers, split).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(found, two.evaluate(&x, &start.buffers, split).unwrap_or_else(|e| panic!("{e}")), "{split:?}");
        if let Some(m) = found {
            assert!(m.examples > 0 && m.accuracy.is_none_or(|a| (0.0..=1.0).contains(&a)), "{split:?}: {m:?}");
        }
    }
}

/// The mean over single rows is the full batch, where nothing couples the rows of a batch.
fn single_rows(of: &mut dyn Workload, x: &[f32], buffers: &[f32]) {
    let rows = of.rows(0);
    let mut loss = |batch| {
        let draw = Draw { seed: 9, client: 0, step: 4, batch };
        of.loss(x, buffers, &draw).unwrap_or_else(|e| panic!("{batch:?}: {e}"))
    };
    let full = loss(Batch::Full);
    let mean = (0..rows).map(|row| loss(Batch::Row(row))).sum::<f64>() / rows as f64;
    if buffers.is_empty() {
        assert!((mean - full).abs() <= 1e-5 * (1.0 + full.abs()), "single rows make {mean}, all together {full}");
    }
}
