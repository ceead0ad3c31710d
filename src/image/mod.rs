//! Golden images being made.
//!
//! ```text
//! build:   WindowsVersion, Edition -> Answers -> Autounattend.xml, bootgate.cmd  what Windows Setup is told
//!          Installation -> domain XML                                            the machine it runs in
//! import:  domain XML, snapshot XML -> Machine, Source                           what is there
//!          -> Making -> disk, NVRAM, TPM state beside each other -> Entry        what is made of it
//!          -> Shelf                                                              into the catalogue
//! bake:    a healthy cell's disk -> lay -> a layer, and its record               what the catalogue asks for
//! ```
//!
//! Everything that decides something is a pure function of texts; [`take_in`] runs `qemu-img` and copies files, and the
//! hypervisor is asked by [`crate::lab::libvirt`] alone. A build ends as an import of the machine it has installed.

mod answers;
mod domain;
mod edition;
mod entry;
mod finish;
mod installation;
mod layer;
mod making;
mod shelf;
mod source;
mod states;
mod version;
mod xml;

pub use answers::{ANSWER_FILE, Answers};
pub use domain::{Card, Machine};
pub use edition::{Choice, Edition, ProductKey};
pub use entry::Entry;
pub use finish::{FINISH_FILE, Outcome, outcome, script as finish_script};
pub use installation::Installation;
pub use layer::lay;
pub use making::{Made, Making, take_in};
pub use shelf::Shelf;
pub use source::{Pick, Source};
pub use states::States;
pub use version::WindowsVersion;

/// Why no golden image was made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A machine, or a part of it, that a golden image cannot be made of.
    #[error("{what}; {hint}")]
    Unfit { what: String, hint: String },
    /// A text that is not what it should be.
    #[error("cannot read {what}: {why}")]
    Unreadable { what: String, why: String },
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io { action: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("`{}` is there already; give another name with --name, or remove it", .0.display())]
    Exists(std::path::PathBuf),
    #[error("the catalogue `{}` has an image `{name}` already; give another name with --name", .catalog.display())]
    NameTaken { name: String, catalog: std::path::PathBuf },
    #[error("qemu-img failed: {0}")]
    QemuImg(String),
    /// Somebody asked for that.
    #[error("stopped")]
    Stopped,
    #[error("the catalogue `{}` cannot take this image: {why}", .catalog.display())]
    NotTaken { catalog: std::path::PathBuf, why: String },
    /// The catalogue is as it was, and what was made is kept.
    #[error("the catalogue `{}` was left as it is: {why}; add this to its `images:` yourself:\n{entry}", .catalog.display())]
    NotEntered { catalog: std::path::PathBuf, why: String, entry: String },
}

impl ImageError {
    fn unfit(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unfit { what: what.into(), hint: hint.into() }
    }

    /// For `map_err`: adds what was being done and to which file.
    fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
