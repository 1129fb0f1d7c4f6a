//! Data sets: readers for the usual file forms, and sets known by name.
//!
//! Every reader takes bytes (with the name that errors shall use) or a path; input that begins as gzip does is
//! unpacked first. Malformed input is an error that says where and what, never a panic, and nothing is allocated by a
//! length that a file merely claims.

pub mod cifar;
pub mod csv;
pub mod gzip;
pub mod idx;
pub mod libsvm;
pub mod named;
pub mod roles;
pub mod sets;
pub mod text;
pub mod vowel;

pub use named::{Entry, Set, entries, load};
pub use roles::Windows;
pub use sets::{DenseRows, DenseSet, ImageSet, Role, RoleSet, SparsePair, SparseSet, TextSet};
