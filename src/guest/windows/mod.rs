//! Windows guests, and Wine's: what runs programs for Windows.
//!
//! Only programs that every Windows since 10 1607 and Server 2016 has, and whose output has a form of its own in every
//! language: `cmd`, `reg`, `sc`, `wevtutil`, `pnputil`, `dism`, `wusa`, `msiexec`.

mod batch;
mod family;
mod install;
mod look;
mod questions;
mod reg;
mod sc;

pub(super) use family::Windows;
