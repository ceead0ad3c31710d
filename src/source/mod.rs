//! Files that a user wrote, with places in them: reading YAML so that every error says where.
//!
//! [`read_yaml`] turns a [`SourceFile`] into the caller's serde structs. It goes through a tree of nodes
//! that know their places, so that all errors of a file are found at once, and so that a value such as
//! `7.10` keeps the text it was written with. Errors of meaning, found later, use the [`Place`] that
//! [`Placed`] values carry.

mod diagnostic;
mod file;
mod placed;
mod reader;
mod tree;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use file::{MAX_FILE, Place, SourceFile};
pub use placed::{Entries, OneOrMany, Placed, Written};
pub use reader::{UnknownKey, did_you_mean, hint_among, nearest, read_yaml};
