//! One opaque error with a kind.
//!
//! A message is a lower-case sentence that says what was expected, what came, and the cure.

use std::fmt;

/// What went wrong, for a caller that wants to react. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The request was wrong: an unknown name, a value out of range, two choices that exclude each other.
    Request,
    /// Input data (a file, a message from another program) could not be read as what it claims to be.
    Data,
    /// Bytes that arrived are not a message of the expected form.
    Decode,
    /// Two ranks, or a checkpoint and a run, disagree about what they are doing.
    Mismatch,
    /// A peer did not answer in time or has gone.
    Timeout,
    /// A vector to be sent is not finite: training has diverged.
    Diverged,
    /// The operating system refused a file or a thread.
    System,
}

/// The library's only error.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of `kind` with a full sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A wrong request.
    pub fn request(message: impl Into<String>) -> Self {
        Self::new(Kind::Request, message)
    }

    /// Bytes that are no message.
    pub fn decode(message: impl Into<String>) -> Self {
        Self::new(Kind::Decode, message)
    }

    /// Two sides that disagree.
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::new(Kind::Mismatch, message)
    }

    /// Unreadable data.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error with words of context put before its sentence.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
