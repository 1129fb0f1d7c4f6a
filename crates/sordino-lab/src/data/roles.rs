//! Speeches by role: one client a role of a play, as JSON lines with `play`, `role` and `text`.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use sordino::{Error, Result};

use super::gzip;
use super::sets::{Role, RoleSet};
use super::text::MOST_SYMBOLS;

/// One line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    play: std::borrow::Cow<'a, str>,
    role: std::borrow::Cow<'a, str>,
    text: std::borrow::Cow<'a, str>,
}

/// Roles from a file, gzip or plain.
pub fn read(path: &Path) -> Result<RoleSet> {
    parse(&path.display().to_string(), &gzip::read(path)?)
}

/// Roles from JSON lines, gzip or plain, in the order of the file. Every role of a play comes once, with something to
/// say; symbols are the characters of all texts in the order of Unicode.
pub fn parse(name: &str, bytes: &[u8]) -> Result<RoleSet> {
    let bytes = gzip::unpack(name, bytes)?;
    let mut lines: Vec<Line> = Vec::new();
    let (mut known, mut symbols) = (BTreeSet::new(), BTreeSet::new());
    for (at, text) in bytes.split(|&b| b == b'\n').enumerate().filter(|(_, text)| !text.trim_ascii().is_empty()) {
        let wrong = |what: String| Error::data(format!("{name}: line {}: {what}", at + 1));
        let line: Line = serde_json::from_slice(text).map_err(|e| {
            wrong(format!("expected {{\"play\": \"...\", \"role\": \"...\", \"text\": \"...\"}}, but {e}"))
        })?;
        if line.text.is_empty() {
            return Err(wrong(format!("role {} of {} says nothing: leave it out", line.role, line.play)));
        }
        if !known.insert((line.play.clone(), line.role.clone())) {
            return Err(wrong(format!(
                "role {} of {} came before: join its texts into one line",
                line.role, line.play
            )));
        }
        symbols.extend(line.text.chars());
        if symbols.len() > MOST_SYMBOLS {
            return Err(wrong(format!(
                "expected at most {MOST_SYMBOLS} different characters in all texts, and here are more"
            )));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(Error::data(format!("{name}: expected one role a line, but there is none")));
    }
    let symbols: Vec<char> = symbols.into_iter().collect();
    let code = |c: char| symbols.partition_point(|&s| s < c) as u8;
    let roles = lines.into_iter().map(|line| Role {
        play: line.play.into_owned(),
        role: line.role.into_owned(),
        text: line.text.chars().map(code).collect(),
    });
    Ok(RoleSet { roles: roles.collect(), symbols })
}

/// One row in so many of a role is held out: the last ones.
const HELD_OUT: usize = 20;

/// Texts of roles as rows of equal length for models that predict the next character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// All texts, one role after another.
    pub text: Vec<u8>,
    /// Where each training row begins; the answer to its last character lies behind it.
    pub train: Vec<u32>,
    /// The role of each training row.
    pub clients: Vec<u32>,
    /// Where each held-out row begins.
    pub test: Vec<u32>,
}

impl RoleSet {
    /// Rows of `window` characters that never reach from one role into another.
    ///
    /// Every role holds at least one training row: a text too short for one is said again, a blank line between, until
    /// it fills it. Of a role's rows the last twentieth, rounded down, is held out: nothing of a role with fewer than
    /// twenty. What is left at the end of a role and fills no row is not used.
    pub fn windows(&self, window: usize) -> Windows {
        let mut all = Windows::default();
        let pause: Vec<u8> = self.symbols.binary_search(&'\n').map_or_else(|_| Vec::new(), |c| vec![c as u8; 2]);
        for (client, role) in self.roles.iter().enumerate().filter(|(_, role)| !role.text.is_empty()) {
            let first = all.text.len();
            if role.text.len() > window {
                all.text.extend(&role.text);
            } else {
                let again = [role.text.as_slice(), &pause].concat();
                all.text.extend(again.iter().cycle().take(window + 1));
            }
            let rows = (all.text.len() - first - 1) / window.max(1);
            let starts = (0..rows).map(|row| (first + row * window) as u32);
            let trained = rows - rows / HELD_OUT;
            all.train.extend(starts.clone().take(trained));
            all.clients.extend(std::iter::repeat_n(client as u32, trained));
            all.test.extend(starts.skip(trained));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roles_come_in_the_order_of_the_file() {
        let set = parse(
            "r",
            concat!(
                "{\"play\": \"p\", \"role\": \"B\", \"text\": \"ba\\u00e9\"}\n\n",
                "{\"role\":\"A\",\"play\":\"p\",\"text\":\"b\"}"
            )
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(set.symbols, ['a', 'b', 'é']);
        let roles: Vec<_> = set.roles.iter().map(|r| (r.role.as_str(), r.text.as_slice())).collect();
        assert_eq!(roles, [("B", [1, 0, 2].as_slice()), ("A", &[1])]);
    }

    #[test]
    fn rows_stay_within_their_role_and_a_short_text_is_said_again() {
        let role = |text: Vec<u8>| Role { play: "p".into(), role: String::new(), text };
        let set = RoleSet {
            roles: vec![role(vec![3; 85]), role(vec![1]), role(vec![2; 5])],
            symbols: vec!['\n', 'a', 'b', 'c'],
        };
        let rows = set.windows(4);
        assert_eq!((rows.train.len(), rows.test.as_slice()), (20 + 2, [80].as_slice()));
        assert_eq!((&rows.clients[19..], &rows.train[19..]), ([0, 1, 2].as_slice(), [76, 85, 90].as_slice()));
        assert_eq!(rows.text[85..], [1, 0, 0, 1, 0, 2, 2, 2, 2, 2]);
        let whole = |start: &u32| {
            let row = &rows.text[*start as usize..][..5];
            row.iter().all(|c| c == &row[0]) || row == [1, 0, 0, 1, 0]
        };
        assert!(rows.train.iter().chain(&rows.test).all(whole));
    }

    #[test]
    fn errors_name_the_line_and_the_role() {
        let says = |text: &str| parse("r.jsonl", text.as_bytes()).unwrap_err().to_string();
        let one = "{\"play\":\"p\",\"role\":\"A\",\"text\":\"a\"}\n";
        assert!(says(&format!("{one}{{\"play\":\"p\"}}")).starts_with("r.jsonl: line 2: expected {\"play\""));
        assert!(says(&format!("{one}{one}")).contains("line 2: role A of p came before"));
        assert!(says("{\"play\":\"p\",\"role\":\"A\",\"text\":\"\"}").contains("says nothing"));
        assert!(says("{\"play\":\"p\",\"role\":\"A\",\"text\":\"a\",\"sex\":1}").contains("unknown field"));
        assert!(says("").contains("there is none"));
        let many: String = (0x4E00..0x4E00 + 257).filter_map(char::from_u32).collect();
        assert!(says(&format!("{{\"play\":\"p\",\"role\":\"A\",\"text\":\"{many}\"}}")).contains("at most 256"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            text in "[{}\":,a-e\n]{0,80}",
        ) {
            let _ = parse("r", &bytes);
            let _ = parse("r", text.as_bytes());
        }
    }
}
