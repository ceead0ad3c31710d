//! The plan: what a run will do, as pure data.
//!
//! [`plan`] expands the axes to cells, resolves their images, puts the variables in and pins every host file
//! by its content. It starts nothing and looks at no golden disk.

mod build;
mod controls;
mod evidence;
mod expand;
#[cfg(test)]
mod fuzz;
mod golden;
mod ids;
mod machines;
mod pin;
mod steps;
mod update_digest;
mod variables;

pub use build::{Choices, Planned, plan, secrets};
pub use golden::{bake, look_at};
