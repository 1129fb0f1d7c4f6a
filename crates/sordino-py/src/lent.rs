//! A vector that Python works on without a copy. The only unsafe code of this crate; what holds here:
//!
//! 1. *Life.* The array's base is a [`Lent`], which owns the vector: whoever keeps the array, or a view of it, keeps the memory.
//! 2. *Owner.* The vector is taken back only where nobody else holds the `Lent` any more; else it stays, and a copy is
//!    taken. A vector that has been taken back has no array.
//! 3. *Place.* The vector is not touched while it is lent, so its entries stay where they are.
//! 4. *Turns.* An engine's threads write there while it adds up. A call that returned well is done with that; after one that
//!    failed nobody here reads the memory again.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;

/// How often, and how long each time, a vector is waited for that is still held: a millisecond in all.
const MOMENTS: u32 = 50;
const MOMENT: Duration = Duration::from_micros(20);

/// The owner of a vector that is lent.
#[pyclass(frozen, module = "sordino._sordino")]
struct Lent(Mutex<Vec<f32>>);

/// Lends a vector to `with` as a writeable array. It is zeros afterwards where that failed.
pub fn lend<R>(
    py: Python<'_>,
    vector: &mut Vec<f32>,
    with: impl FnOnce(&Bound<'_, PyArray1<f32>>) -> PyResult<R>,
) -> PyResult<R> {
    let (len, mut taken) = (vector.len(), std::mem::take(vector));
    let entries = taken.as_mut_ptr();
    let owner = Bound::new(py, Lent(Mutex::new(taken))).inspect_err(|_| vector.resize(len, 0.0))?;
    // SAFETY: invariants 1 and 3: there are `len` entries at that place for as long as the owner, which is the base, has the
    // vector, and invariant 2: it has it for as long as there is the array. Nothing else refers to them.
    let array = unsafe {
        let view = ArrayView1::from_shape_ptr(len, entries);
        PyArray1::borrow_from_array(&view, owner.clone().into_any())
    };
    let told = with(&array);
    drop(array);
    if told.is_err() {
        vector.resize(len, 0.0);
        return told;
    }
    let alone = returned(py, &owner);
    let mut kept = owner.get().0.lock().unwrap_or_else(PoisonError::into_inner);
    *vector = if alone { std::mem::take(&mut *kept) } else { kept.clone() };
    told
}

/// Whether nobody else holds the owner any more. The thread that added up lets go a moment after it has said so, and needs the
/// interpreter for that, which it is given.
#[allow(clippy::disallowed_methods, reason = "another thread is waited for, whose end nobody tells")]
fn returned(py: Python<'_>, owner: &Bound<'_, Lent>) -> bool {
    // SAFETY: the owner is an object that we hold.
    let alone = || unsafe { pyo3::ffi::Py_REFCNT(owner.as_ptr()) } == 1;
    for _ in 0..MOMENTS {
        if alone() {
            return true;
        }
        py.detach(|| thread::sleep(MOMENT));
    }
    alone()
}
