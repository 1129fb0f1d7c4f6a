//! One grammar for every face: `element(a, key=b)`, and the entries a registry is made of.
//!
//! An [`Element`] is a choice on an axis as it is written in a recipe, on the command line and in Python. An [`Entry`]
//! is what a leaf declares about itself: its name, one sentence, its keys with defaults, and how to build it. Parsing,
//! help, listings and documentation all read the same entries.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{Error, Result};

/// A value in the grammar: a number, or an element (a bare word is an element without arguments).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// A word or a nested element.
    Element(Element),
}

/// `name(a, key=b)`: a choice with its arguments, positional ones first.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The element's name.
    pub name: String,
    /// Arguments without a key, in order.
    pub positional: Vec<Value>,
    /// Arguments by key.
    pub named: BTreeMap<String, Value>,
}

impl Element {
    /// An element without arguments.
    pub fn word(name: impl Into<String>) -> Self {
        Self { name: name.into(), positional: Vec::new(), named: BTreeMap::new() }
    }

    /// Reads `name(a, key=b)`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, at: 0 };
        let element = parser.element()?;
        parser.blank();
        if parser.at < text.len() {
            return Err(parser.wrong("the end"));
        }
        Ok(element)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(x) => write!(f, "{x}"),
            Self::Element(e) => write!(f, "{e}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.positional.is_empty() && self.named.is_empty() {
            return Ok(());
        }
        let positional = self.positional.iter().map(Value::to_string);
        let named = self.named.iter().map(|(k, v)| format!("{k}={v}"));
        write!(f, "({})", positional.chain(named).collect::<Vec<_>>().join(", "))
    }
}

impl Value {
    /// Reads a number or an element.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value()?;
        parser.blank();
        if parser.at < text.len() {
            return Err(parser.wrong("the end"));
        }
        Ok(value)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn wrong(&self, wanted: &str) -> Error {
        let came = match self.rest().chars().next() {
            Some(c) => format!("`{c}`"),
            None => "the end".into(),
        };
        Error::request(format!(
            "`{}`: expected {wanted} at character {}, but {came} came; the form is `element(a, key=b)`",
            self.text,
            self.text[..self.at].chars().count() + 1
        ))
    }

    fn eat(&mut self, c: char) -> bool {
        self.blank();
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn take(&mut self, keep: impl Fn(char) -> bool) -> &str {
        let from = self.at;
        self.at += self.rest().find(|c| !keep(c)).unwrap_or(self.rest().len());
        &self.text[from..self.at]
    }

    fn name(&mut self) -> Result<String> {
        self.blank();
        if !self.rest().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.wrong("a name"));
        }
        Ok(self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':')).to_owned())
    }

    fn element(&mut self) -> Result<Element> {
        let mut element = Element::word(self.name()?);
        if !self.eat('(') || self.eat(')') {
            return Ok(element);
        }
        loop {
            let before = self.at;
            let key = self.name().ok().filter(|_| self.eat('='));
            if let Some(key) = key {
                let value = self.value()?;
                if element.named.insert(key.clone(), value).is_some() {
                    return Err(Error::request(format!("`{}`: the key `{key}` is given twice", self.text)));
                }
            } else {
                self.at = before;
                if !element.named.is_empty() {
                    return Err(self.wrong("`key=value`, since values without a key come first,"));
                }
                let value = self.value()?;
                element.positional.push(value);
            }
            if self.eat(')') {
                return Ok(element);
            }
            if !self.eat(',') {
                return Err(self.wrong("`,` or `)`"));
            }
        }
    }

    fn value(&mut self) -> Result<Value> {
        self.blank();
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
            let from = self.at;
            let text = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')).to_owned();
            return match text.parse::<f64>() {
                Ok(x) if x.is_finite() => Ok(Value::Number(x)),
                _ => {
                    self.at = from;
                    Err(self.wrong("a finite number"))
                }
            };
        }
        self.element().map(Value::Element)
    }
}

/// One key of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it means, with unit and source of the default.
    pub about: &'static str,
}

/// What a leaf declares about itself.
pub struct Entry<T> {
    /// The element's name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its keys, in the order of positional arguments.
    pub keys: &'static [Key],
    /// Builds it from checked arguments.
    pub build: fn(&Args) -> Result<T>,
}

/// An entry without its builder, for listings and help.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The element's name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its keys, in the order of positional arguments.
    pub keys: &'static [Key],
}

impl<T> Entry<T> {
    /// The entry without its builder.
    pub const fn listing(&self) -> Listing {
        Listing { name: self.name, about: self.about, keys: self.keys }
    }
}

/// Finds `element` among the entries of `axis`, checks its arguments and builds it.
pub fn build<T>(axis: &str, entries: &[&Entry<T>], element: &Element) -> Result<T> {
    let entry = entries
        .iter()
        .find(|e| e.name == element.name)
        .ok_or_else(|| unknown(&format!("element of `{axis}`"), &element.name, entries.iter().map(|e| e.name)))?;
    let args = entry.listing().resolve(element)?;
    (entry.build)(&args).map_err(|e| e.within(format!("{axis} = {element}")))
}

/// The refusal of an unknown name, with the nearest known one.
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let distance = |k: &str| strsim::osa_distance(&k.to_lowercase(), &name.to_lowercase());
    let nearest = known.iter().min_by_key(|k| distance(k)).filter(|k| distance(k) <= 1 + name.len() / 2);
    let hint = match nearest {
        Some(k) => format!("did you mean `{k}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Error::request(format!("unknown {what} `{name}`; {hint}"))
}

impl Listing {
    /// Puts positional arguments under their keys, refuses unknown keys, and fills in defaults.
    pub fn resolve(&self, element: &Element) -> Result<Args> {
        let mut values = self.named(element)?;
        for key in self.keys {
            if !values.contains_key(key.name) {
                values.insert(key.name.to_owned(), Value::parse(key.default)?);
            }
        }
        Ok(Args { element: self.name, values })
    }

    /// The element with every argument under its key, defaults left out.
    pub fn normalise(&self, element: &Element) -> Result<Element> {
        Ok(Element { name: element.name.clone(), positional: Vec::new(), named: self.named(element)? })
    }

    fn named(&self, element: &Element) -> Result<BTreeMap<String, Value>> {
        if element.positional.len() > self.keys.len() {
            return Err(Error::request(format!(
                "`{element}` has {} values without a key, but `{}` takes at most {}",
                element.positional.len(),
                self.name,
                self.keys.len()
            )));
        }
        let mut values = element.named.clone();
        for (key, value) in self.keys.iter().zip(&element.positional) {
            if values.insert(key.name.to_owned(), value.clone()).is_some() {
                return Err(Error::request(format!("`{element}` gives `{}` twice", key.name)));
            }
        }
        for name in values.keys() {
            if !self.keys.iter().any(|k| k.name == name) {
                return Err(unknown(&format!("key of `{}`", self.name), name, self.keys.iter().map(|k| k.name)));
            }
        }
        Ok(values)
    }
}

/// Checked arguments: every key of the entry has a value.
#[derive(Clone, Debug)]
pub struct Args {
    element: &'static str,
    values: BTreeMap<String, Value>,
}

impl Args {
    fn value(&self, key: &str) -> Result<&Value> {
        self.values.get(key).ok_or_else(|| Error::request(format!("`{}` declares no key `{key}`", self.element)))
    }

    fn wrong(&self, key: &str, wanted: &str) -> Error {
        let came = self.values.get(key).map(Value::to_string).unwrap_or_default();
        Error::request(format!("`{key}` of `{}` must be {wanted}, but `{came}` came", self.element))
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<f64> {
        match self.value(key)? {
            Value::Number(x) => Ok(*x),
            Value::Element(_) => Err(self.wrong(key, "a number")),
        }
    }

    /// A number at least zero.
    pub fn positive_or_zero(&self, key: &str) -> Result<f64> {
        let x = self.number(key)?;
        if x >= 0.0 { Ok(x) } else { Err(self.wrong(key, "a number of at least 0")) }
    }

    /// A number above zero.
    pub fn positive(&self, key: &str) -> Result<f64> {
        let x = self.number(key)?;
        if x > 0.0 { Ok(x) } else { Err(self.wrong(key, "a number above 0")) }
    }

    /// A number in [0, 1).
    pub fn fraction(&self, key: &str) -> Result<f64> {
        let x = self.number(key)?;
        if (0.0..1.0).contains(&x) { Ok(x) } else { Err(self.wrong(key, "at least 0 and below 1")) }
    }

    /// A number in (0, 1].
    pub fn share(&self, key: &str) -> Result<f64> {
        let x = self.number(key)?;
        if x > 0.0 && x <= 1.0 { Ok(x) } else { Err(self.wrong(key, "above 0 and at most 1")) }
    }

    /// A whole number of at least `least`.
    pub fn count(&self, key: &str, least: u64) -> Result<u64> {
        match self.value(key)? {
            Value::Number(x) if x.fract() == 0.0 && *x >= least as f64 && *x <= 9e15 => Ok(*x as u64),
            _ => Err(self.wrong(key, &format!("a whole number of at least {least}"))),
        }
    }

    /// A whole number of at least 0, or `none`.
    pub fn whole(&self, key: &str) -> Result<Option<u64>> {
        match self.value(key)? {
            Value::Element(e) if *e == Element::word("none") => Ok(None),
            _ => self.count(key, 0).map(Some),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.word(key)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(key, "`true` or `false`")),
        }
    }

    /// A bare word.
    pub fn word(&self, key: &str) -> Result<&str> {
        match self.value(key)? {
            Value::Element(e) if e.positional.is_empty() && e.named.is_empty() => Ok(&e.name),
            _ => Err(self.wrong(key, "a word")),
        }
    }

    /// One of `choices`, as its position.
    pub fn choice(&self, key: &str, choices: &[&str]) -> Result<usize> {
        let word = self.word(key)?;
        choices
            .iter()
            .position(|c| *c == word)
            .ok_or_else(|| self.wrong(key, &format!("one of {}", choices.join(", "))))
    }

    /// A nested element.
    pub fn element(&self, key: &str) -> Result<&Element> {
        match self.value(key)? {
            Value::Element(e) => Ok(e),
            Value::Number(_) => Err(self.wrong(key, "an element such as `dense`")),
        }
    }

    /// A number, or `None` for the word `none`.
    pub fn optional(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key)? {
            Value::Number(x) if *x > 0.0 => Ok(Some(*x)),
            Value::Element(e) if *e == Element::word("none") => Ok(None),
            _ => Err(self.wrong(key, "a number above 0, or `none`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        name: "topk",
        about: "",
        keys: &[Key { name: "ratio", default: "0.01", about: "" }, Key { name: "scope", default: "tensor", about: "" }],
    };

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["dense", "orq(9)", "clipped(1.5, topk(0.01, scope=bucket(2048)))", "sgd(nesterov=true, rate=0.1)"]
        {
            let e = Element::parse(text).unwrap();
            assert_eq!(e.to_string(), text);
            assert_eq!(Element::parse(&e.to_string()).unwrap(), e);
        }
        assert_eq!(Value::parse(" -1e-3 ").unwrap(), Value::Number(-1e-3));
    }

    #[test]
    fn a_slip_is_named_with_its_place() {
        for (text, hint) in [
            ("orq(9", "`,` or `)`"),
            ("orq(9))", "the end"),
            ("(9)", "a name"),
            ("x(a=1, 2)", "come first"),
            ("x(a=1, a=2)", "twice"),
            ("x(1e999)", "finite"),
            ("", "a name"),
        ] {
            let message = Element::parse(text).unwrap_err().to_string();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn keys_are_resolved_and_unknown_ones_refused_with_the_nearest() {
        let args = LISTING.resolve(&Element::parse("topk(0.5)").unwrap()).unwrap();
        assert_eq!((args.number("ratio").unwrap(), args.word("scope").unwrap()), (0.5, "tensor"));
        let message = LISTING.resolve(&Element::parse("topk(ration=0.5)").unwrap()).unwrap_err().to_string();
        assert!(message.contains("did you mean `ratio`"), "{message}");
        assert!(LISTING.resolve(&Element::parse("topk(0.5, ratio=0.5)").unwrap()).is_err());
        assert!(LISTING.resolve(&Element::parse("topk(1, tensor, 3)").unwrap()).is_err());
        assert!(args.count("ratio", 1).is_err());
        assert!(args.flag("scope").unwrap_err().to_string().contains("`true` or `false`"));
    }
}
