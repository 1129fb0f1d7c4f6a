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
#[derive(Clone, Debug)]
pub struct Text {
    train: Arc<[u8]>,
    test: Arc<[u8]>,
    symbols: Arc<[char]>,
    window: usize,
}

impl Text {
    /// Text to train and to test on, as indices into `symbols`.
    pub fn new(
        train: impl Into<Arc<[u8]>>,
        test: impl Into<Arc<[u8]>>,
        symbols: impl Into<Arc<[char]>>,
        window: usize,
    ) -> Result<Self> {
        let text = Self { train: train.into(), test: test.into(), symbols: symbols.into(), window };
        if window == 0 {
            return Err(Error::request("a window has at least one character"));
        }
        match text.train.iter().chain(text.test.iter()).find(|&&code| code as usize >= text.symbols.len()) {
            Some(code) => Err(Error::data(format!("code {code} is not below the {} symbols", text.symbols.len()))),
            None => Ok(text),
        }
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
        self.of(split).len().saturating_sub(1) / self.window
    }

    fn examples(&self) -> usize {
        self.window
    }

    fn batch(&self, split: Split, rows: &[u32], device: &Device) -> TextBatch {
        let text = self.of(split);
        let length = rows.len() * self.window;
        let (mut codes, mut answers) = (Vec::with_capacity(length), Vec::with_capacity(length));
        for &row in rows {
            let window = &text[row as usize * self.window..][..=self.window];
            codes.extend(window[..self.window].iter().map(|&code| i32::from(code)));
            answers.extend(window[1..].iter().map(|&code| i32::from(code)));
        }
        TextBatch {
            codes: Tensor::from_data(TensorData::new(codes, [rows.len(), self.window]), device),
            answers: Tensor::from_data(TensorData::new(answers, [length]), device),
        }
    }

    fn fingerprint(&self) -> u64 {
        Hash::default()
            .bytes(&self.train)
            .bytes(&self.test)
            .words(self.symbols.iter().map(|&symbol| u64::from(u32::from(symbol))))
            .words([self.window as u64])
            .finish()
    }
}
