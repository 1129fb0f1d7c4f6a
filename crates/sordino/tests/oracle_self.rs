//! The references are right on their own: they reproduce what the papers' notes say of small problems, and the
//! identities that tie the methods to each other. No code of the library takes part.

#[path = "oracle/facts/mod.rs"]
mod facts;
mod oracle;
