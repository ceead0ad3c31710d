//! Windows guests, and Wine's: what runs programs for Windows, and what it says and leaves behind.
//!
//! Only programs that every Windows since 10 1607 and Server 2016 has, and whose output has a form of its own in every
//! language: `cmd`, `reg`, `sc`, `wevtutil`, `pnputil`, `dism`, `wusa`, `msiexec`.
//!
//! What is read here is a guest's word, bytes or text in and data out: sizes and counts are capped, nothing panics, and no
//! label in the guest's language is relied on. Texts for people (a [`Telling`]'s, a [`Driver`]'s name) are made safe; what
//! was asked for by name, such as a registry value, is as the guest gave it.

mod batch;
mod code_page;
mod dump;
mod event_log;
mod family;
mod install;
mod look;
mod questions;
mod reg;
mod sc;
mod servicing;
mod telling;
#[cfg(test)]
mod testing;

pub(super) use family::Windows;
pub use servicing::{Installation, Packages};

use crate::model::cut;

/// Most characters of a guest's text in a text for people.
const LONG: usize = 200;

/// A guest's text, on one line and short.
fn printable(text: &str) -> String {
    cut(&text.replace(char::is_control, " "), LONG)
}
