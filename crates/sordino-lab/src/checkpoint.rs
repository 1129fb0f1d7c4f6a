//! Checkpoints: every rank's state, and where the run was.
//!
//! ```text
//! checkpoint/latest                          names the folder that counts, renamed into place
//! checkpoint/round-000120/manifest.json      round, step, record offset, ledger, recipe
//! checkpoint/round-000120/rank-0.safetensors
//! ```
//! # Contract
//! Killed at any instant, a writer leaves a checkpoint that loads: a folder counts only once `latest` names it, the
//! folder that `latest` names is never touched, and older ones are removed afterwards. What a killed writer left is
//! ignored, and removed by the next.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sordino::base::State;
use sordino::{Error, Result};

use crate::archive::{self, Item, Numbers};
use crate::files::{self, system};
use crate::record::FlowRow;

/// The folder of checkpoints in a run's directory.
pub const FOLDER: &str = "checkpoint";
const LATEST: &str = "latest";
const MANIFEST: &str = "manifest.json";

/// Where a run was when its checkpoint was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Rounds done.
    pub round: u64,
    /// Local steps done.
    pub step: u64,
    /// How many ranks left their state.
    pub ranks: usize,
    /// Bytes of the record up to here.
    pub record_offset: u64,
    /// The ledger up to here.
    pub flows: Vec<FlowRow>,
    /// The run's recipe, as TOML.
    pub recipe: String,
    /// Clocks that go on where they stood: seconds by name.
    #[serde(default)]
    pub clocks: BTreeMap<String, f64>,
}

/// A checkpoint being written: ranks may write their states in any order, then one of them commits.
#[derive(Clone, Debug)]
pub struct Draft {
    root: PathBuf,
    folder: PathBuf,
}

impl Draft {
    /// An empty folder for the checkpoint after `round`, beside the one that counts.
    pub fn begin(run: &Path, round: u64) -> Result<Self> {
        let root = run.join(FOLDER);
        let current = current(&root)?;
        // A run may reach a round twice (resumed by hand from a copy): the folder that counts stays as it is.
        let name = |turn: &str| format!("round-{round:06}{turn}");
        let name = if current.as_deref() == Some(&name("")) { name("-again") } else { name("") };
        let folder = root.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| system("remove", &folder, &e))?;
        }
        files::make_directory(&folder)?;
        Ok(Self { root, folder })
    }

    /// Where the draft lies, for ranks in other processes to [`Draft::join`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The draft that another process began in `folder`.
    pub fn join(folder: &Path) -> Self {
        let root = folder.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { root, folder: folder.to_path_buf() }
    }

    /// Writes one rank's state.
    pub fn write_rank(&self, rank: usize, state: &State) -> Result<()> {
        files::write_aside(&self.folder.join(rank_file(rank)), &encode(state)?)
    }

    /// Makes this the checkpoint that counts, and removes the others.
    pub fn commit(self, manifest: &Manifest) -> Result<()> {
        for rank in 0..manifest.ranks {
            let path = self.folder.join(rank_file(rank));
            if !path.is_file() {
                let path = path.display();
                return Err(Error::mismatch(format!(
                    "{path} is missing: every rank writes its state before the commit"
                )));
            }
        }
        let text = serde_json::to_string_pretty(manifest)
            .map_err(|e| Error::data(format!("a checkpoint's manifest cannot be written: {e}")))?;
        files::write_aside(&self.folder.join(MANIFEST), text.as_bytes())?;
        sync(&self.folder);
        let name = self.folder.file_name().unwrap_or_default();
        files::write_aside(&self.root.join(LATEST), name.as_encoded_bytes())?;
        sync(&self.root);
        for folder in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if folder.path() != self.folder && folder.file_name().to_string_lossy().starts_with("round-") {
                // A folder that stays is ignored, and tried again after the next checkpoint.
                let _ = fs::remove_dir_all(folder.path());
            }
        }
        Ok(())
    }
}

/// A checkpoint read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run was.
    pub manifest: Manifest,
    /// Every rank's state.
    pub ranks: Vec<State>,
}

/// Writes a checkpoint of all ranks; `manifest.ranks` is set to their number.
pub fn save(run: &Path, manifest: Manifest, ranks: &[State]) -> Result<()> {
    let draft = Draft::begin(run, manifest.round)?;
    for (rank, state) in ranks.iter().enumerate() {
        draft.write_rank(rank, state)?;
    }
    draft.commit(&Manifest { ranks: ranks.len(), ..manifest })
}

/// Whether a run's directory has a checkpoint.
pub fn exists(run: &Path) -> bool {
    run.join(FOLDER).join(LATEST).is_file()
}

/// Reads the checkpoint that counts.
pub fn load(run: &Path) -> Result<Checkpoint> {
    let manifest = load_manifest(run)?;
    let ranks = (0..manifest.ranks).map(|rank| load_rank(run, rank)).collect::<Result<_>>()?;
    Ok(Checkpoint { manifest, ranks })
}

/// Reads where the run was.
pub fn load_manifest(run: &Path) -> Result<Manifest> {
    let path = folder(run)?.join(MANIFEST);
    serde_json::from_str(&files::read_text(&path)?)
        .map_err(|e| Error::data(format!("{}: expected a checkpoint's manifest, but {e}", path.display())))
}

/// Reads one rank's state.
pub fn load_rank(run: &Path, rank: usize) -> Result<State> {
    let path = folder(run)?.join(rank_file(rank));
    decode(&path.display().to_string(), &files::read_bytes(&path)?)
}

fn rank_file(rank: usize) -> String {
    format!("rank-{rank}.safetensors")
}

/// The name of the folder that counts, if there is one.
fn current(root: &Path) -> Result<Option<String>> {
    let path = root.join(LATEST);
    if !path.is_file() {
        return Ok(None);
    }
    let name = files::read_text(&path)?.trim().to_owned();
    if !name.starts_with("round-") || name.contains(['/', '\\', '.']) {
        return Err(Error::data(format!("{}: expected the name of a folder, got `{name}`", path.display())));
    }
    Ok(Some(name))
}

fn folder(run: &Path) -> Result<PathBuf> {
    let root = run.join(FOLDER);
    let name = current(&root)?;
    name.map(|name| root.join(name)).ok_or_else(|| {
        Error::request(format!("{} has no checkpoint: name the directory of a run that made one", run.display()))
    })
}

/// Puts a directory's entries onto the disk where the system can; a rename is atomic without it.
fn sync(directory: &Path) {
    let _ = File::open(directory).and_then(|d| d.sync_all());
}

/// A state's file: vectors as `vectors/NAME` in F32, whole numbers as `numbers/NAME` in U64.
pub fn encode(state: &State) -> Result<Vec<u8>> {
    let vector = |(name, v): (&String, &'_ Vec<f32>)| (format!("vectors/{name}"), v.len());
    let number = |(name, v): (&String, &'_ Vec<u64>)| (format!("numbers/{name}"), v.len());
    let item = |(name, length): (String, usize), numbers| Item { name, shape: vec![length], numbers };
    let vectors = state.vectors.iter().map(|entry| item(vector(entry), Numbers::F32(entry.1)));
    let numbers = state.numbers.iter().map(|entry| item(number(entry), Numbers::U64(entry.1)));
    archive::pack(&vectors.chain(numbers).collect::<Vec<_>>(), &BTreeMap::new())
}

/// The state of a file's bytes; `name` is what errors call the file.
pub fn decode(name: &str, bytes: &[u8]) -> Result<State> {
    let mut state = State::default();
    for (path, view) in archive::open(name, bytes)?.iter() {
        match (path.split_once('/'), view.dtype()) {
            (Some(("vectors", key)), Dtype::F32) => drop(state.vectors.insert(key.to_owned(), archive::f32s(&view))),
            (Some(("numbers", key)), Dtype::U64) => drop(state.numbers.insert(key.to_owned(), archive::u64s(&view))),
            (_, dtype) => {
                return Err(Error::data(format!(
                    "{name}: expected vectors/NAME in F32 or numbers/NAME in U64, got `{path}` in {dtype}"
                )));
            }
        }
    }
    Ok(state)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
