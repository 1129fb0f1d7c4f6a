//! What a data set is once it has been read: plain vectors.

use sordino::{Error, Result};

/// Labelled images, normalised, ready for a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageSet {
    /// Training images, one after another: channel, row, column.
    pub train_pixels: Vec<f32>,
    /// The class of each training image, below `classes`.
    pub train_labels: Vec<u32>,
    /// Held-out images.
    pub test_pixels: Vec<f32>,
    /// The class of each held-out image.
    pub test_labels: Vec<u32>,
    /// Colour planes of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// How many classes.
    pub classes: usize,
}

impl ImageSet {
    /// Numbers in one image.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        Hash::new([self.channels, self.height, self.width, self.classes].map(|n| n as u64))
            .then(self.train_pixels.iter().map(|v| v.to_bits() as u64))
            .then(self.train_labels.iter().map(|&v| v as u64))
            .then(self.test_pixels.iter().map(|v| v.to_bits() as u64))
            .then(self.test_labels.iter().map(|&v| v as u64))
            .0
    }
}

/// A text as numbers of symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextSet {
    /// The first nine tenths: positions in `symbols`.
    pub train: Vec<u8>,
    /// The last tenth.
    pub test: Vec<u8>,
    /// The characters in the order of Unicode.
    pub symbols: Vec<char>,
}

impl TextSet {
    /// Numbers of symbols back as text; numbers beyond the table are left out.
    pub fn spell(&self, text: &[u8]) -> String {
        text.iter().filter_map(|&s| self.symbols.get(s as usize)).collect()
    }

    /// The number of each character of a text, such as a prompt; a character the table lacks is an error.
    pub fn numbers(&self, text: &str) -> Result<Vec<u8>> {
        let find = |c| {
            let found = self.symbols.binary_search(&c).map(|i| i as u8);
            found.map_err(|_| Error::request(format!("the text's {} symbols do not include {c:?}", self.symbols.len())))
        };
        text.chars().map(find).collect()
    }

    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        Hash::new(self.symbols.iter().map(|&c| c as u64))
            .then(self.train.iter().map(|&v| v as u64))
            .then(self.test.iter().map(|&v| v as u64))
            .0
    }
}

/// What one role of a play says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The play.
    pub play: String,
    /// Who speaks.
    pub role: String,
    /// All speeches in order, a blank line between them: positions in [`RoleSet::symbols`].
    pub text: Vec<u8>,
}

/// Texts by role, as numbers of symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSet {
    /// The roles, each a client, in the order of the file.
    pub roles: Vec<Role>,
    /// The characters in the order of Unicode.
    pub symbols: Vec<char>,
}

impl RoleSet {
    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        self.roles
            .iter()
            .fold(Hash::new(self.symbols.iter().map(|&c| c as u64)), |hash, role| {
                let words = |text: &[u8]| text.iter().map(|&b| b as u64).collect::<Vec<_>>();
                hash.then(words(role.play.as_bytes())).then(words(role.role.as_bytes())).then(words(&role.text))
            })
            .0
    }
}

/// Rows of numbers with a class and a client each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseRows {
    /// The features, row after row.
    pub values: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
    /// Whose each row is.
    pub clients: Vec<u32>,
}

/// Training and held-out rows of the same features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseSet {
    /// Training rows.
    pub train: DenseRows,
    /// Held-out rows.
    pub test: DenseRows,
    /// Numbers in one row.
    pub features: usize,
    /// How many classes.
    pub classes: usize,
}

impl DenseSet {
    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        [&self.train, &self.test]
            .iter()
            .fold(Hash::new([self.features, self.classes].map(|n| n as u64)), |hash, rows| {
                hash.then(rows.values.iter().map(|v| v.to_bits() as u64))
                    .then(rows.labels.iter().map(|&v| v as u64))
                    .then(rows.clients.iter().map(|&v| v as u64))
            })
            .0
    }
}

/// Rows of few non-zero features, in compressed rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseSet {
    /// Row `i` is entries `offsets[i]..offsets[i + 1]`; one more than there are rows.
    pub offsets: Vec<usize>,
    /// The feature of each entry, from 0, ascending within a row.
    pub columns: Vec<u32>,
    /// The value of each entry.
    pub values: Vec<f32>,
    /// The label of each row, as read.
    pub labels: Vec<f32>,
    /// How many features: one more than the largest column.
    pub features: usize,
}

impl Default for SparseSet {
    fn default() -> Self {
        Self { offsets: vec![0], columns: Vec::new(), values: Vec::new(), labels: Vec::new(), features: 0 }
    }
}

impl SparseSet {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The columns and values of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The distinct labels, ascending.
    pub fn label_values(&self) -> Vec<f32> {
        let mut values = self.labels.clone();
        values.sort_unstable_by(f32::total_cmp);
        values.dedup();
        values
    }

    /// Each row's label as a position in [`SparseSet::label_values`], for partitions by label.
    pub fn classes(&self) -> Vec<u32> {
        let values = self.label_values();
        self.labels.iter().map(|l| values.partition_point(|v| v.total_cmp(l).is_lt()) as u32).collect()
    }

    /// The two labels of a binary problem as -1 (the lower) and +1, however the file wrote them. Labels that are all -1
    /// or +1, or all 0 or 1, keep their meaning even where only one of the two occurs.
    pub fn signs(&self) -> Result<Vec<f32>> {
        for low in [-1.0, 0.0] {
            if self.labels.iter().all(|l| *l == low || *l == 1.0) {
                return Ok(self.labels.iter().map(|l| if *l == low { -1.0 } else { 1.0 }).collect());
            }
        }
        match self.label_values().as_slice() {
            [low, _] => Ok(self.labels.iter().map(|l| if l == low { -1.0 } else { 1.0 }).collect()),
            values => {
                let head: Vec<String> = values.iter().take(8).map(f32::to_string).collect();
                Err(Error::data(format!(
                    "expected two different labels for a yes-or-no problem, got {}: {}",
                    values.len(),
                    head.join(", ")
                )))
            }
        }
    }

    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        Hash::new([self.features as u64])
            .then(self.offsets.iter().map(|&v| v as u64))
            .then(self.columns.iter().map(|&v| v as u64))
            .then(self.values.iter().map(|v| v.to_bits() as u64))
            .then(self.labels.iter().map(|v| v.to_bits() as u64))
            .0
    }
}

/// Training and held-out rows over the same features.
#[derive(Clone, Debug, PartialEq)]
pub struct SparsePair {
    /// Training rows.
    pub train: SparseSet,
    /// Held-out rows.
    pub test: SparseSet,
}

impl SparsePair {
    /// Both parts, each with as many features as the wider one.
    pub fn new(mut train: SparseSet, mut test: SparseSet) -> Self {
        let features = train.features.max(test.features);
        train.features = features;
        test.features = features;
        Self { train, test }
    }

    /// A hash of the contents, for checkpoints and records to compare.
    pub fn fingerprint(&self) -> u64 {
        Hash::new([self.train.fingerprint(), self.test.fingerprint()]).0
    }
}

/// Fowler, Noll and Vo's hash over whole words, each list followed by its length.
struct Hash(u64);

impl Hash {
    fn new(words: impl IntoIterator<Item = u64>) -> Self {
        Self(0xCBF2_9CE4_8422_2325).then(words)
    }

    fn then(self, words: impl IntoIterator<Item = u64>) -> Self {
        let step = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(29);
        let mut count = 0;
        let hash = words.into_iter().inspect(|_| count += 1).fold(self.0, step);
        Self(step(hash, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_sees_every_field_and_where_lists_end() {
        let base = TextSet { train: vec![0, 1], test: vec![1], symbols: vec!['a', 'b'] };
        let moved = TextSet { train: vec![0], test: vec![1, 1], ..base.clone() };
        let renamed = TextSet { symbols: vec!['a', 'c'], ..base.clone() };
        assert_eq!(base.fingerprint(), base.clone().fingerprint());
        assert_ne!(base.fingerprint(), moved.fingerprint());
        assert_ne!(base.fingerprint(), renamed.fingerprint());
    }

    #[test]
    fn labels_become_classes_and_signs() {
        let set = SparseSet { labels: vec![2.0, 1.0, 2.0], offsets: vec![0; 4], ..SparseSet::default() };
        assert_eq!(set.classes(), [1, 0, 1]);
        assert_eq!(set.signs().unwrap(), [1.0, -1.0, 1.0]);
        let one = SparseSet { labels: vec![2.0], offsets: vec![0; 2], ..SparseSet::default() };
        assert!(one.signs().unwrap_err().to_string().contains("got 1: 2"));
    }

    #[test]
    fn text_is_numbered_and_spelled() {
        let set = TextSet { train: vec![], test: vec![], symbols: vec!['a', 'b'] };
        assert_eq!(set.numbers("abba").unwrap(), [0, 1, 1, 0]);
        assert_eq!(set.spell(&[1, 0, 9]), "ba");
        assert!(set.numbers("abc").is_err());
    }
}
