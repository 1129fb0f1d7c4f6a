//! The integration tests, one binary: laws, golden traces, the named rows against naive references, facts of the
//! papers, and the rules of the house.

mod compressors;
mod facts;
mod golden;
mod laws;
#[path = "../oracle/mod.rs"]
mod oracle;
mod oracles;
mod paths;
#[path = "../oracle/facts/mod.rs"]
mod references;
mod rooms;
mod suites;
mod worlds;
