//! Named vectors as the bytes of a safetensors file, and back.
//!
//! The same vectors and words give the same bytes: the header's words are sorted, which the format's own writer leaves
//! to chance.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use sordino::{Error, Result};

/// The numbers of one tensor.
#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// Whole numbers.
    U64(&'a [u64]),
}

/// One tensor to be written.
pub(crate) struct Item<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: Numbers<'a>,
}

impl View for &Item<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::F32(_) => Dtype::F32,
            Numbers::U64(_) => Dtype::U64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.numbers {
            Numbers::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Numbers::U64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        match self.numbers {
            Numbers::F32(v) => size_of_val(v),
            Numbers::U64(v) => size_of_val(v),
        }
    }
}

/// The bytes of a file with these tensors and these words about them.
pub(crate) fn pack(items: &[Item<'_>], words: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let broken =
        |e: &dyn std::fmt::Display| Error::data(format!("these tensors cannot be written as safetensors: {e}"));
    let bytes = safetensors::serialize(items.iter().map(|item| (&item.name, item)), None).map_err(|e| broken(&e))?;
    if words.is_empty() {
        return Ok(bytes);
    }
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| broken(&"no header"))?;
    let (header, body) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let words = serde_json::to_string(words).map_err(|e| broken(&e))?;
    let tensors = header.trim_ascii_end().strip_prefix(b"{").ok_or_else(|| broken(&"no header"))?;
    let comma = if tensors == b"}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{words}{comma}").into_bytes();
    header.extend_from_slice(tensors);
    // Tensors begin at multiples of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), body].concat())
}

/// The tensors in `bytes`; `name` is what errors call the file.
pub(crate) fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::data(format!("{name}: expected a whole safetensors file, but {e}: was it cut short?")))
}

/// The words about the tensors in `bytes`.
pub(crate) fn words(name: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let (_, head) = SafeTensors::read_metadata(bytes)
        .map_err(|e| Error::data(format!("{name}: expected a whole safetensors file, but {e}: was it cut short?")))?;
    Ok(head.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// The 32-bit floats of a tensor.
pub(crate) fn f32s(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks().0.iter().map(|quad| f32::from_le_bytes(*quad)).collect()
}

/// The whole numbers of a tensor.
pub(crate) fn u64s(view: &TensorView<'_>) -> Vec<u64> {
    view.data().as_chunks().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_tensors_survive_and_the_bytes_are_always_the_same() {
        let words_in: BTreeMap<_, _> =
            ["seed", "task", "method", "version"].map(|w| (w.into(), format!("\"{w}\""))).into();
        let item = || Item { name: "a/\"b\"".into(), shape: vec![2, 1], numbers: Numbers::F32(&[1.5, -0.0]) };
        let counts = || Item { name: "n".into(), shape: vec![1], numbers: Numbers::U64(&[u64::MAX]) };
        let empty = || Item { name: "e".into(), shape: vec![0], numbers: Numbers::F32(&[]) };
        let bytes = pack(&[item(), counts(), empty()], &words_in).unwrap();
        assert_eq!(bytes, pack(&[item(), counts(), empty()], &words_in).unwrap());
        let opened = open("t", &bytes).unwrap();
        assert_eq!(f32s(&opened.tensor("a/\"b\"").unwrap()), [1.5, -0.0]);
        assert_eq!(u64s(&opened.tensor("n").unwrap()), [u64::MAX]);
        assert!(f32s(&opened.tensor("e").unwrap()).is_empty());
        assert_eq!(words("t", &bytes).unwrap(), words_in);
        assert_eq!(words("t", &pack(&[], &words_in).unwrap()).unwrap(), words_in);
        assert!(words("t", &pack(&[item()], &BTreeMap::new()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_cut_file_is_refused() {
        let bytes = pack(&[Item { name: "a".into(), shape: vec![1], numbers: Numbers::F32(&[1.0]) }], &BTreeMap::new());
        let bytes = bytes.unwrap();
        for cut in 0..bytes.len() {
            assert!(open("t", &bytes[..cut]).is_err());
        }
    }
}
