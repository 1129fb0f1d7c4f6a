//! Files that are either the old one or the new one, whenever a writer is killed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use sordino::base::Kind;
use sordino::{Error, Result};

/// What a file is called until it is whole.
pub const ASIDE: &str = "tmp";

/// Writes a file whole or not at all: to `NAME.tmp` beside it, to the disk, then renamed over `path`.
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = aside(path);
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|e| {
        // What was left aside is of no use to anybody; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&aside);
        system("write", path, &e)
    })
}

/// A file's text.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| system("read", path, &e))
}

/// A file's bytes.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| system("read", path, &e))
}

/// Makes a directory and those above it, unless it is there.
pub fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| system("make the directory", path, &e))
}

/// What the operating system refused, in a sentence.
pub(crate) fn system(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::System, format!("cannot {what} {}: {error}", path.display()))
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ASIDE);
    path.with_file_name(name)
}

/// A directory of its own for one test, removed when it is dropped.
#[cfg(test)]
pub(crate) struct Scratch(pub PathBuf);

#[cfg(test)]
impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sordino-lab-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_aside() {
        let scratch = Scratch::new("aside");
        let path = scratch.0.join("a.json");
        write_aside(&path, b"one").unwrap();
        write_aside(&path, b"two").unwrap();
        assert_eq!(read_text(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn what_the_system_refuses_is_said_with_the_path() {
        let scratch = Scratch::new("refused");
        let path = scratch.0.join("none").join("a.json");
        let says = write_aside(&path, b"one").unwrap_err();
        assert_eq!(says.kind(), Kind::System);
        assert!(says.to_string().contains("a.json"), "{says}");
        assert!(read_text(&path).unwrap_err().to_string().starts_with("cannot read"));
    }
}
