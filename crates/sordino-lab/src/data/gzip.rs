//! Bytes from a file, unpacked where they are gzip.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use sordino::base::Kind;
use sordino::{Error, Result};

/// The most bytes that a file may unpack to: above every set known here, below what a laptop holds.
pub const LARGEST: u64 = 2 << 30;

/// A file's bytes, unpacked where they begin as gzip does.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|e| Error::new(Kind::System, format!("cannot read {}: {e}", path.display())))?;
    unpack(&path.display().to_string(), &bytes).map(Cow::into_owned)
}

/// `bytes` themselves, or what they hold if they begin as gzip does.
pub fn unpack<'a>(name: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    unpack_up_to(name, bytes, LARGEST)
}

fn unpack_up_to<'a>(name: &str, bytes: &'a [u8], largest: u64) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(largest + 1).read_to_end(&mut unpacked).map_err(|e| {
        Error::data(format!(
            "{name}: expected a whole gzip file, but it ends or breaks after {} unpacked bytes ({e}): fetch it again",
            unpacked.len()
        ))
    })?;
    if unpacked.len() as u64 > largest {
        return Err(Error::data(format!(
            "{name}: unpacks to more than {largest} bytes: unpack and cut it by hand first"
        )));
    }
    Ok(Cow::Owned(unpacked))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_and_anything_else_is_left_alone() {
        assert_eq!(unpack("x", b"plain").unwrap(), b"plain".as_slice());
        assert_eq!(unpack("x", &pack(b"packed")).unwrap(), b"packed".as_slice());
    }

    #[test]
    fn a_cut_file_and_a_bomb_are_refused() {
        let packed = pack(&vec![0; 100_000]);
        let cut = unpack("x.gz", &packed[..packed.len() - 6]).unwrap_err().to_string();
        assert!(cut.starts_with("x.gz: expected a whole gzip file"), "{cut}");
        let bomb = unpack_up_to("x.gz", &packed, 1000).unwrap_err().to_string();
        assert!(bomb.contains("more than 1000 bytes"), "{bomb}");
    }
}
