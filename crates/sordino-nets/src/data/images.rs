//! Labelled images.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sordino::base::{Error, Result};
use sordino::workload::Split;

use super::{Data, Hash};

/// Labelled images of one size.
#[derive(Clone, Debug)]
pub struct Images {
    /// Normalised pixels, row-major n × channels × height × width.
    pub pixels: Arc<[f32]>,
    /// One class number below `classes` for each image.
    pub labels: Arc<[u32]>,
    /// Colour channels.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// How many classes there are.
    pub classes: usize,
}

impl Images {
    /// Numbers of one image.
    pub fn inputs(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn check(&self) -> Result<()> {
        if self.pixels.len() != self.labels.len() * self.inputs() {
            return Err(Error::data(format!(
                "{} labels of {}×{}×{} images need {} pixels, but there are {}",
                self.labels.len(),
                self.channels,
                self.height,
                self.width,
                self.labels.len() * self.inputs(),
                self.pixels.len()
            )));
        }
        match self.labels.iter().find(|&&label| label as usize >= self.classes) {
            Some(label) => Err(Error::data(format!("label {label} is not below the {} classes", self.classes))),
            None => Ok(()),
        }
    }
}

/// Images to train on and images to test on.
#[derive(Clone, Debug)]
pub struct ImageData {
    train: Images,
    test: Images,
}

impl ImageData {
    /// Joins two sets of the same size and classes.
    pub fn new(train: Images, test: Images) -> Result<Self> {
        let of = |i: &Images| (i.channels, i.height, i.width, i.classes);
        if of(&train) != of(&test) {
            return Err(Error::data("training and test images must have the same size and classes"));
        }
        train.check()?;
        test.check()?;
        Ok(Self { train, test })
    }

    /// The training images.
    pub fn train(&self) -> &Images {
        &self.train
    }

    /// The test images.
    pub fn test(&self) -> &Images {
        &self.test
    }

    fn of(&self, split: Split) -> &Images {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// A batch of labelled images.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// n × channels × height × width.
    pub pixels: Tensor<4>,
    /// n class numbers.
    pub labels: Tensor<1, Int>,
}

impl Data for ImageData {
    type Batch = ImageBatch;

    fn rows(&self, split: Split) -> usize {
        self.of(split).labels.len()
    }

    fn batch(&self, split: Split, rows: &[u32], device: &Device) -> ImageBatch {
        let images = self.of(split);
        let size = images.inputs();
        let mut pixels = Vec::with_capacity(rows.len() * size);
        for &row in rows {
            pixels.extend_from_slice(&images.pixels[row as usize * size..][..size]);
        }
        let labels: Vec<i32> = rows.iter().map(|&row| images.labels[row as usize] as i32).collect();
        let shape = [rows.len(), images.channels, images.height, images.width];
        ImageBatch {
            pixels: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(TensorData::new(labels, [rows.len()]), device),
        }
    }

    fn fingerprint(&self) -> u64 {
        [&self.train, &self.test]
            .iter()
            .fold(Hash::default(), |hash, images| {
                hash.words([images.channels, images.height, images.width, images.classes].map(|n| n as u64))
                    .floats(&images.pixels)
                    .words(images.labels.iter().map(|&label| u64::from(label)))
            })
            .finish()
    }
}
