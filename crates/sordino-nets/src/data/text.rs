//! Text as codes of characters, cut into windows.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sordino::base::{Error, Result};
use sordino::workload::Split;

use super::{Data, Hash};

/// Characters to predict.
///
/// # Contract
/// A row is a window of `window` characters that begins at a multiple of `window`, so rows do not overlap; the answer
/// to each character is the one that follows it. What is left at the end of a split and fills no window is not used.
/// Texts of many clients begin their windows where [`Text::beginning_at`] says, and evaluations that look at few
/// training rows then take them evenly from all of the text instead of from its beginning.
#[derive(Clone, Debug)]
pub struct Text {
    train: Arc<[u8]>,
    test: Arc<[u8]>,
    symbols: Arc<[char]>,
    window: usize,
    /// Where training and test windows begin, if not at multiples.
    begins: Option<[Arc<[u32]>; 2]>,
}

impl Text {
    /// Text to train and to test on, as indices into `symbols`.
    pub fn new(
        train: impl Into<Arc<[u8]>>,
        test: impl Into<Arc<[u8]>>,
        symbols: impl Into<Arc<[char]>>,
        window: usize,
    ) -> Result<Self> {
        let text = Self { train: train.into(), test: test.into(), symbols: symbols.into(), window, begins: None };
        if window == 0 {
            return Err(Error::request("a window has at least one character"));
        }
        match text.train.iter().chain(text.test.iter()).find(|&&code| code as usize >= text.symbols.len()) {
            Some(code) => Err(Error::data(format!("code {code} is not below the {} symbols", text.symbols.len()))),
            None => Ok(text),
        }
    }

    /// The same text with windows that begin at these characters of the training and of the test text.
    pub fn beginning_at(mut self, train: impl Into<Arc<[u32]>>, test: impl Into<Arc<[u32]>>) -> Result<Self> {
        let begins = [train.into(), test.into()];
        for (begins, text) in begins.iter().zip([&self.train, &self.test]) {
            if let Some(at) = begins.iter().find(|&&at| at as usize + self.window >= text.len()) {
                return Err(Error::data(format!(
                    "a window of {} characters at {at} and the one that follows need more than the text's {}",
                    self.window,
                    text.len()
                )));
            }
        }
        self.begins = Some(begins);
        Ok(self)
    }

    /// The characters behind the codes.
    pub fn symbols(&self) -> &[char] {
        &self.symbols
    }

    /// Characters of one row.
    pub fn window(&self) -> usize {
        self.window
    }

    fn of(&self, split: Split) -> &[u8] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    fn begins(&self, split: Split) -> Option<&[u32]> {
        self.begins.as_ref().map(|[train, test]| match split {
            Split::Train => &**train,
            Split::Test => test,
        })
    }
}

/// A batch of windows.
#[derive(Clone, Debug)]
pub struct TextBatch {
    /// n × window codes.
    pub codes: Tensor<2, Int>,
    /// The n·window codes that follow them, window after window.
    pub answers: Tensor<1, Int>,
}

impl Data for Text {
    type Batch = TextBatch;

    fn rows(&self, split: Split) -> usize {
        self.begins(split).map_or_else(|| self.of(split).len().saturating_sub(1) / self.window, <[u32]>::len)
    }

    fn looked_at(&self, most: usize) -> Vec<u32> {
        let rows = self.rows(Split::Train);
        let step = if self.begins.is_some() { rows.div_ceil(most.max(1)).max(1) } else { 1 };
        (0..rows as u32).step_by(step).take(most).collect()
    }

    fn examples(&self) -> usize {
        self.window
    }

    fn batch(&self, split: Split, rows: &[u32], device: &Device) -> TextBatch {
        let text = self.of(split);
        let length = rows.len() * self.window;
        let (mut codes, mut answers) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let begins = self.begins(split);
        for &row in rows {
            let first = begins.map_or(row as usize * self.window, |begins| begins[row as usize] as usize);
            let window = &text[first..][..=self.window];
            codes.extend(window[..self.window].iter().map(|&code| i32::from(code)));
            answers.extend(window[1..].iter().map(|&code| i32::from(code)));
        }
        TextBatch {
            codes: Tensor::from_data(TensorData::new(codes, [rows.len(), self.window]), device),
            answers: Tensor::from_data(TensorData::new(answers, [length]), device),
        }
    }

    fn fingerprint(&self) -> u64 {
        let hash = Hash::default()
            .bytes(&self.train)
            .bytes(&self.test)
            .words(self.symbols.iter().map(|&symbol| u64::from(u32::from(symbol))))
            .words([self.window as u64]);
        let begins = self.begins.iter().flatten();
        begins.fold(hash, |hash, begins| hash.words(begins.iter().map(|&at| u64::from(at)))).finish()
    }
}
