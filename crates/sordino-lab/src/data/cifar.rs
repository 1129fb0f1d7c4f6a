//! CIFAR-10 in its authors' binary form: records of a label and 3 x 32 x 32 bytes, colour plane after colour plane.

use sordino::{Error, Result};

/// Bytes of an image: three planes of 32 x 32.
pub const PIXELS: usize = 3 * 32 * 32;

/// The images of one batch file appended to `pixels`, their labels to `labels`.
pub fn append(name: &str, bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
    let (records, rest) = bytes.as_chunks::<{ PIXELS + 1 }>();
    if !rest.is_empty() || records.is_empty() {
        return Err(Error::data(format!(
            "{name}: expected records of {} bytes (a label and 3 x 32 x 32 pixels), but the file has {} bytes: \
             is it the binary version of CIFAR-10?",
            PIXELS + 1,
            bytes.len()
        )));
    }
    for (row, record) in records.iter().enumerate() {
        if record[0] > 9 {
            return Err(Error::data(format!(
                "{name}: byte {}: expected a label from 0 to 9, got {}",
                row * (PIXELS + 1),
                record[0]
            )));
        }
        labels.push(record[0]);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_and_nonsense_is_refused() {
        let mut bytes = vec![3; PIXELS + 1];
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        append("t", &bytes, &mut pixels, &mut labels).unwrap();
        assert_eq!((pixels.len(), labels.as_slice()), (PIXELS, [3].as_slice()));
        bytes[0] = 10;
        assert!(append("t", &bytes, &mut pixels, &mut labels).is_err());
        assert!(append("t", &bytes[1..], &mut pixels, &mut labels).is_err());
    }
}
