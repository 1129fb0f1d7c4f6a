//! What federated clients remember between the rounds that they are asked to.

use std::collections::BTreeMap;

use crate::base::{Result, State};

/// Keeps what clients remember while they are away.
///
/// # Contract
/// `take` gives what was last put for a client, or nothing for one that has never been there; a client that remembers
/// nothing takes no room. `each` shows every client, ascending, for a checkpoint.
pub trait Store: Send {
    /// Checks a client's state out.
    fn take(&mut self, client: u64) -> Result<Option<State>>;

    /// Puts it back.
    fn put(&mut self, client: u64, state: State) -> Result<()>;

    /// Shows everybody's state.
    fn each(&mut self, show: &mut dyn FnMut(u64, &State) -> Result<()>) -> Result<()>;
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<u64, State>);

impl Store for Memory {
    fn take(&mut self, client: u64) -> Result<Option<State>> {
        Ok(self.0.remove(&client))
    }

    fn put(&mut self, client: u64, state: State) -> Result<()> {
        if !state.is_empty() {
            self.0.insert(client, state);
        }
        Ok(())
    }

    fn each(&mut self, show: &mut dyn FnMut(u64, &State) -> Result<()>) -> Result<()> {
        self.0.iter().try_for_each(|(client, state)| show(*client, state))
    }
}
