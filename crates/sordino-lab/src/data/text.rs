//! Plain text as symbols for models that predict the next character.

use std::collections::BTreeSet;
use std::path::Path;

use sordino::{Error, Result};

use super::TextSet;
use super::gzip;

/// The most different characters a text may have: a symbol is a byte.
pub const MOST_SYMBOLS: usize = 256;

/// A text from a file, gzip or plain.
pub fn read(path: &Path) -> Result<TextSet> {
    parse(&path.display().to_string(), &gzip::read(path)?)
}

/// A text from UTF-8 bytes, gzip or plain. Its symbols are its characters in the order of Unicode; the last tenth is
/// the test.
pub fn parse(name: &str, bytes: &[u8]) -> Result<TextSet> {
    let bytes = gzip::unpack(name, bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        Error::data(format!("{name}: byte {}: expected UTF-8 text: convert the file first", e.valid_up_to()))
    })?;
    let mut seen = BTreeSet::new();
    let mut known = [false; 128];
    for (at, symbol) in text.char_indices() {
        // Nearly every character is one of these and has been seen: the set is asked about the others.
        if let Some(known) = known.get_mut(symbol as usize)
            && std::mem::replace(known, true)
        {
            continue;
        }
        seen.insert(symbol);
        if seen.len() > MOST_SYMBOLS {
            return Err(Error::data(format!(
                "{name}: byte {at}: expected at most {MOST_SYMBOLS} different characters, and {symbol:?} is one more: \
                 use a text in an alphabetic script"
            )));
        }
    }
    if seen.is_empty() {
        return Err(Error::data(format!("{name}: expected a text, but it is empty")));
    }
    let symbols: Vec<char> = seen.into_iter().collect();
    let mut train: Vec<u8> = text.chars().map(|c| symbols.partition_point(|&s| s < c) as u8).collect();
    let test = train.split_off(train.len() - train.len() / 10);
    Ok(TextSet { train, test, symbols })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn symbols_are_sorted_and_the_last_tenth_is_the_test() {
        let set = parse("t", "banana\u{e9}bandana".as_bytes()).unwrap();
        assert_eq!(set.symbols, ['a', 'b', 'd', 'n', 'é']);
        assert_eq!(set.train.len() + set.test.len(), 14);
        assert_eq!(set.test.len(), 1);
        assert_eq!(set.spell(&set.train), "bananaébandan");
    }

    #[test]
    fn other_encodings_and_scripts_are_refused() {
        assert!(parse("t", b"ab\xFFcd").unwrap_err().to_string().starts_with("t: byte 2: expected UTF-8"));
        assert!(parse("t", b"").is_err());
        let many: String = (0x4E00..0x4E00 + 257).filter_map(char::from_u32).collect();
        assert!(parse("t", many.as_bytes()).unwrap_err().to_string().contains("at most 256"));
        let enough: String = (0x4E00..0x4E00 + 256).filter_map(char::from_u32).collect();
        assert_eq!(parse("t", enough.as_bytes()).unwrap().symbols.len(), 256);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let _ = parse("t", &bytes);
            if let Ok(set) = parse("t", text.as_bytes()) {
                prop_assert_eq!(set.spell(&[set.train.clone(), set.test.clone()].concat()), text);
            }
        }
    }
}
