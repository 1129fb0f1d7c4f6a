//! Numbers in comma-separated values, with or without a line of names.

use std::path::Path;

use sordino::{Error, Result};

use super::gzip;
use super::libsvm::shown;

/// A table of numbers, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The columns' names, if the first line was no row of numbers.
    pub names: Vec<String>,
    /// How many columns.
    pub width: usize,
    /// `rows · width` numbers.
    pub values: Vec<f32>,
}

impl Table {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The numbers of the column called `name`.
    pub fn column(&self, name: &str) -> Result<Vec<f32>> {
        let Some(at) = self.names.iter().position(|n| n == name) else {
            let known = if self.names.is_empty() {
                "none: the file has no line of names".into()
            } else {
                self.names.join(", ")
            };
            return Err(Error::request(format!("there is no column `{name}`; the columns are {known}")));
        };
        Ok(self.values.iter().skip(at).step_by(self.width).copied().collect())
    }
}

/// A table from a file, gzip or plain.
pub fn read(path: &Path) -> Result<Table> {
    parse(&path.display().to_string(), &gzip::read(path)?)
}

/// A table from bytes, gzip or plain. The first line is a line of names unless every field of it is a number.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Table> {
    let bytes = gzip::unpack(name, bytes)?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut table = Table::default();
    for (line, text) in bytes.split(|&b| b == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let fields: Vec<&[u8]> = text.split(|&b| b == b',').map(field).collect();
        if table.width == 0 {
            table.width = fields.len();
            if fields.iter().any(|f| number(f).is_none()) {
                table.names = fields.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
                continue;
            }
        }
        if fields.len() != table.width {
            return Err(Error::data(format!(
                "{name}: line {}: expected {} fields like the line before, got {}",
                line + 1,
                table.width,
                fields.len()
            )));
        }
        for (at, field) in fields.iter().enumerate() {
            let value = number(field).ok_or_else(|| {
                Error::data(format!(
                    "{name}: line {}, field {}: expected a number, got `{}`",
                    line + 1,
                    at + 1,
                    shown(field)
                ))
            })?;
            table.values.push(value);
        }
    }
    Ok(table)
}

/// A field without blanks and quotation marks around it.
fn field(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text)
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_names_is_optional() {
        let named = parse("t", b"\xEF\xBB\xBFage,\"class\"\r\n1,2\r\n\r\n3.5, -4\r\n").unwrap();
        assert_eq!((named.names.join("|"), named.width, named.rows()), ("age|class".into(), 2, 2));
        assert_eq!(named.column("class").unwrap(), [2.0, -4.0]);
        assert!(named.column("sex").unwrap_err().to_string().contains("the columns are age, class"));
        let bare = parse("t", b"1,2\n3,4\n").unwrap();
        assert_eq!((bare.names.len(), bare.rows()), (0, 2));
        assert_eq!(parse("t", b"").unwrap().rows(), 0);
    }

    #[test]
    fn errors_name_line_and_field() {
        let says = |text: &str| parse("t.csv", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(says("a,b\n1,2\n3"), "t.csv: line 3: expected 2 fields like the line before, got 1");
        assert_eq!(says("1,2\n3,red"), "t.csv: line 2, field 2: expected a number, got `red`");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[0-9a,.\"\n]{0,80}") {
            let _ = parse("t", &bytes);
            let _ = parse("t", text.as_bytes());
        }
    }
}
