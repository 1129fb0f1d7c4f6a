//! IDX: the form in which MNIST and its successors are published.
//!
//! A magic number `0 0 8 n` (unsigned bytes, `n` dimensions), `n` big-endian 32-bit lengths, then the bytes. Images
//! have three dimensions (count, height, width), labels one.

use std::path::Path;

use sordino::{Error, Result};

use super::gzip;

/// Grey images as published: one byte a pixel, row after row, image after image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// How many images.
    pub count: usize,
    /// Rows of pixels in an image.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// `count · height · width` bytes.
    pub pixels: Vec<u8>,
}

/// Images from a file, gzip or plain.
pub fn read_images(path: &Path) -> Result<Images> {
    images(&path.display().to_string(), &gzip::read(path)?)
}

/// Labels from a file, gzip or plain.
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    labels(&path.display().to_string(), &gzip::read(path)?)
}

/// Images from bytes, gzip or plain.
pub fn images(name: &str, bytes: &[u8]) -> Result<Images> {
    let bytes = gzip::unpack(name, bytes)?;
    let ([count, height, width], pixels) = body(name, &bytes, "images (count, height, width)")?;
    if height == 0 || width == 0 {
        return Err(Error::data(format!(
            "{name}: byte 8: expected images of at least one pixel, got {height} x {width}"
        )));
    }
    Ok(Images { count, height, width, pixels: pixels.to_vec() })
}

/// Labels from bytes, gzip or plain.
pub fn labels(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let bytes = gzip::unpack(name, bytes)?;
    let ([_], labels) = body::<1>(name, &bytes, "labels (count)")?;
    Ok(labels.to_vec())
}

/// The lengths of the `N` dimensions, and the bytes they describe: exactly as many as they say.
fn body<'a, const N: usize>(name: &str, bytes: &'a [u8], what: &str) -> Result<([usize; N], &'a [u8])> {
    let head = 4 + 4 * N;
    if bytes.len() < head {
        return Err(Error::data(format!(
            "{name}: expected an IDX header of {head} bytes for {what}, but the file has {} bytes",
            bytes.len()
        )));
    }
    if bytes[..4] != [0, 0, 8, N as u8] {
        return Err(Error::data(format!(
            "{name}: byte 0: expected the IDX magic number 00 00 08 {N:02x} of {what}, got {:02x} {:02x} {:02x} {:02x}: \
             is it another file, or images and labels the wrong way round?",
            bytes[0], bytes[1], bytes[2], bytes[3]
        )));
    }
    let mut lengths = [0usize; N];
    for (length, quad) in lengths.iter_mut().zip(bytes[4..head].as_chunks::<4>().0) {
        *length = u32::from_be_bytes(*quad) as usize;
    }
    let expected = lengths.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    let body = &bytes[head..];
    if expected != Some(body.len()) {
        let lengths = lengths.map(|l| l.to_string()).join(" x ");
        return Err(Error::data(format!(
            "{name}: byte {head}: the header promises {lengths} bytes of {what}, but {} bytes follow: fetch the file again",
            body.len()
        )));
    }
    Ok((lengths, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWO: [u8; 20] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6];

    #[test]
    fn images_and_labels_are_read() {
        let two = images("t", &TWO).unwrap();
        assert_eq!((two.count, two.height, two.width, two.pixels), (2, 1, 2, vec![9, 8, 7, 6]));
        assert_eq!(labels("t", &[0, 0, 8, 1, 0, 0, 0, 3, 5, 1, 2]).unwrap(), [5, 1, 2]);
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let says = |bytes: &[u8]| images("t", bytes).unwrap_err().to_string();
        assert!(says(&TWO[..19]).contains("promises 2 x 1 x 2 bytes"), "{}", says(&TWO[..19]));
        assert!(says(&TWO[..10]).contains("header of 16 bytes"));
        assert!(labels("t", &TWO).unwrap_err().to_string().contains("wrong way round"));
        let mut huge = TWO;
        huge[4..16].fill(0xFF);
        assert!(says(&huge).contains("4294967295"), "no length that a file claims is allocated");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), dimensions in 1u8..4) {
            let _ = images("t", &bytes);
            let mut framed = vec![0, 0, 8, dimensions];
            framed.extend(bytes);
            let _ = images("t", &framed);
            let _ = labels("t", &framed);
        }
    }
}
