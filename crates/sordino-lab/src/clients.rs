//! What federated clients remember, in memory up to a limit and on disk past it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sordino::Result;
use sordino::base::State;
use sordino::engine::Store;

use crate::checkpoint::{decode, encode};
use crate::files;

/// Bytes that the clients of one rank may take up in memory.
const LIMIT: usize = 256 << 20;

/// A store that spills.
///
/// Clients that have room are kept in memory; who comes back when there is none goes to a file of its own. Files are
/// scratch: a checkpoint holds every client's state, so what lies there when a run begins is of no use and is removed.
pub struct Spill {
    folder: PathBuf,
    limit: usize,
    held: usize,
    memory: BTreeMap<u64, State>,
    disk: BTreeSet<u64>,
}

impl Spill {
    /// A store for the clients that `rank` plays, with files in a folder of its own below `folder`.
    pub fn new(folder: &Path, rank: usize) -> Result<Self> {
        Self::with_limit(folder, rank, LIMIT)
    }

    fn with_limit(folder: &Path, rank: usize, limit: usize) -> Result<Self> {
        let folder = folder.join(format!("rank-{rank}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| files::system("remove", &folder, &e))?;
        }
        Ok(Self { folder, limit, held: 0, memory: BTreeMap::new(), disk: BTreeSet::new() })
    }

    fn path(&self, client: u64) -> PathBuf {
        self.folder.join(format!("{client}.safetensors"))
    }

    fn read(&self, client: u64) -> Result<State> {
        let path = self.path(client);
        decode(&path.display().to_string(), &files::read_bytes(&path)?)
    }
}

/// Bytes that a state takes up, nearly.
fn size(state: &State) -> usize {
    let vectors: usize = state.vectors.values().map(|v| 4 * v.len()).sum();
    vectors + state.numbers.values().map(|n| 8 * n.len()).sum::<usize>()
}

impl Store for Spill {
    fn take(&mut self, client: u64) -> Result<Option<State>> {
        if let Some(state) = self.memory.remove(&client) {
            self.held -= size(&state);
            return Ok(Some(state));
        }
        if self.disk.remove(&client) {
            return self.read(client).map(Some);
        }
        Ok(None)
    }

    fn put(&mut self, client: u64, state: State) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let more = size(&state);
        if self.held + more <= self.limit {
            self.held += more;
            self.memory.insert(client, state);
            return Ok(());
        }
        files::make_directory(&self.folder)?;
        let path = self.path(client);
        fs::write(&path, encode(&state)?).map_err(|e| files::system("write", &path, &e))?;
        self.disk.insert(client);
        Ok(())
    }

    fn each(&mut self, show: &mut dyn FnMut(u64, &State) -> Result<()>) -> Result<()> {
        let all: BTreeSet<u64> = self.memory.keys().copied().chain(self.disk.iter().copied()).collect();
        for client in all {
            match self.memory.get(&client) {
                Some(state) => show(client, state)?,
                None => show(client, &self.read(client)?)?,
            }
        }
        Ok(())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Scratch that stays behind is removed by the next run in this folder.
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(parent) = self.folder.parent() {
            let _ = fs::remove_dir(parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Scratch;

    #[test]
    fn what_is_put_comes_back_from_memory_and_from_disk() {
        let scratch = Scratch::new("spill");
        let mut store = Spill::with_limit(&scratch.0, 1, 100).unwrap();
        let state = |client: u64| {
            let mut state = State::default();
            state.put("residual", &[client as f32; 10]);
            state.put_numbers("optim/steps", &[client]);
            state
        };
        for client in [7, 3, 5, 9] {
            assert_eq!(store.take(client).unwrap(), None);
            store.put(client, state(client)).unwrap();
        }
        store.put(1, State::default()).unwrap();
        assert_eq!((store.memory.len(), store.disk.len()), (2, 2), "40 + 8 bytes a client, 100 in all");
        let mut seen = Vec::new();
        store
            .each(&mut |client, theirs| {
                assert_eq!(*theirs, state(client));
                seen.push(client);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [3, 5, 7, 9]);
        for client in [9, 7, 5, 3] {
            assert_eq!(store.take(client).unwrap(), Some(state(client)));
            store.put(client, state(client)).unwrap();
        }
        let folder = store.folder.clone();
        assert!(folder.exists());
        drop(store);
        assert!(!folder.exists(), "scratch is removed");
    }
}
