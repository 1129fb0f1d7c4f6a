//! What may go from thread to thread but is used by one at a time.

use std::sync::{Mutex, PoisonError};

/// Something that Python objects hold and only their exclusive borrower sees: no lock is ever waited for.
pub struct Alone<T>(Mutex<T>);

impl<T> Alone<T> {
    /// Holds it.
    pub fn new(thing: T) -> Self {
        Self(Mutex::new(thing))
    }

    /// Lends it to whoever has borrowed its holder.
    pub fn lend(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
