//! The matrix file: what a user writes, read with its places and then checked.
