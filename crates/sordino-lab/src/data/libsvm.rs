//! LibSVM's text form: one row a line, `label index:value index:value ...`, indices from 1 and ascending.
//!
//! Labels are kept as they are read: +1/-1, 0/1, 1/2, classes or real targets. Blank lines and what follows a `#` are
//! skipped; a `qid:N` after the label is skipped too.

use std::path::Path;

use sordino::{Error, Result};

use super::SparseSet;
use super::gzip;

/// The largest index taken for one: what it claims is the length of a model.
pub const LARGEST_INDEX: u32 = 1 << 28;

/// Rows from a file, gzip or plain.
pub fn read(path: &Path) -> Result<SparseSet> {
    parse(&path.display().to_string(), &gzip::read(path)?)
}

/// Rows from bytes, gzip or plain; `name` is what errors call them.
pub fn parse(name: &str, bytes: &[u8]) -> Result<SparseSet> {
    let bytes = gzip::unpack(name, bytes)?;
    let mut set = SparseSet::default();
    for (line, text) in bytes.split(|&b| b == b'\n').enumerate() {
        row(&mut set, text).map_err(|(column, problem)| {
            Error::data(format!("{name}: line {}, column {}: {problem}", line + 1, column + 1))
        })?;
    }
    Ok(set)
}

type Problem = (usize, String);

/// Appends the row of one line, if there is one.
fn row(set: &mut SparseSet, line: &[u8]) -> std::result::Result<(), Problem> {
    let line = line.split(|&b| b == b'#').next().unwrap_or_default();
    let mut words = words(line);
    let Some((column, word)) = words.next() else { return Ok(()) };
    let label = number(word).ok_or_else(|| (column, format!("expected a finite label, got `{}`", shown(word))))?;
    let mut last = 0;
    for (column, word) in words {
        if word.starts_with(b"qid:") {
            continue;
        }
        let expected = || (column, format!("expected index:value such as 3:0.5, got `{}`", shown(word)));
        let colon = word.iter().position(|&b| b == b':').ok_or_else(expected)?;
        let index = std::str::from_utf8(&word[..colon]).ok().and_then(|t| t.parse::<u32>().ok());
        let index = index.ok_or_else(expected)?;
        if index <= last {
            let problem = match last {
                0 => format!("expected an index of 1 or more, got {index}: LibSVM counts features from 1"),
                _ => format!("expected an index above {last}, got {index}: indices must ascend within a row"),
            };
            return Err((column, problem));
        }
        if index > LARGEST_INDEX {
            return Err((column, format!("expected an index of at most {LARGEST_INDEX}, got {index}")));
        }
        let value = number(&word[colon + 1..]).ok_or_else(|| {
            (column + colon + 1, format!("expected a finite value, got `{}`", shown(&word[colon + 1..])))
        })?;
        last = index;
        set.columns.push(index - 1);
        set.values.push(value);
    }
    set.features = set.features.max(last as usize);
    set.labels.push(label);
    set.offsets.push(set.columns.len());
    Ok(())
}

/// The words of a line with the byte at which each begins.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    line.split(u8::is_ascii_whitespace)
        .map(move |word| {
            at += word.len() + 1;
            (at - word.len() - 1, word)
        })
        .filter(|(_, word)| !word.is_empty())
}

fn number(word: &[u8]) -> Option<f32> {
    std::str::from_utf8(word).ok()?.parse::<f32>().ok().filter(|v| v.is_finite())
}

/// At most the beginning of a word, printable.
pub(super) fn shown(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(&word[..word.len().min(40)]);
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_labels_comments_and_blank_lines_are_read() {
        let set = parse("t", b"# head\n+1 1:0.5 4:2\r\n\n-1 qid:3 2:1e-1 # tail\n2\n").unwrap();
        assert_eq!(set.labels, [1.0, -1.0, 2.0]);
        assert_eq!(set.offsets, [0, 2, 3, 3]);
        assert_eq!(set.columns, [0, 3, 1]);
        assert_eq!(set.values, [0.5, 2.0, 0.1]);
        assert_eq!(set.features, 4);
        assert_eq!(set.row(1), (&[1][..], &[0.1][..]));
        assert_eq!(parse("t", b"").unwrap().rows(), 0);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let says = |text: &str| parse("a.libsvm", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(says("1 1:2\nx 1:2"), "a.libsvm: line 2, column 1: expected a finite label, got `x`");
        assert_eq!(says("1 1:2 3"), "a.libsvm: line 1, column 7: expected index:value such as 3:0.5, got `3`");
        assert_eq!(says("1 1:2  3:y"), "a.libsvm: line 1, column 10: expected a finite value, got `y`");
        assert!(says("1 0:2").contains("counts features from 1"));
        assert!(says("1 2:2 2:3").contains("expected an index above 2, got 2"));
        assert!(says("1 99999999999:2").contains("got `99999999999:2`"));
        assert!(says("1 4000000000:2").contains("at most 268435456, got 4000000000"));
        assert!(says("1 1:inf").contains("finite value"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse("t", &bytes);
        }

        #[test]
        fn arbitrary_near_misses_never_panic(text in "[-+0-9.:e#q \n\t]{0,120}") {
            if let Ok(set) = parse("t", text.as_bytes()) {
                prop_assert_eq!(set.offsets.len(), set.labels.len() + 1);
                prop_assert!(set.columns.iter().all(|&c| (c as usize) < set.features));
            }
        }
    }
}
