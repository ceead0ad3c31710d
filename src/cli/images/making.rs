//! What importing and building have in common.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::super::{Context, session::StopSignals};
use crate::{
    event::Decision,
    image::{ImageError, Making, Shelf, take_in},
    model::{Bytes, is_label},
};

/// Set by Ctrl-C, SIGTERM and SIGHUP; a second one ends the process at once.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// # Errors
    /// The signals cannot be listened to.
    pub fn listen() -> anyhow::Result<Self> {
        let stop = Self(Arc::default());
        let flag = Arc::clone(&stop.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _guard = runtime.enter();
            StopSignals::listen()?
        };
        let listen = move || {
            runtime.block_on(async {
                loop {
                    signals.next().await;
                    if flag.swap(true, Ordering::Relaxed) {
                        std::process::exit(i32::from(Decision::Cancelled.exit_code()));
                    }
                    tell!("stopping: what was begun is removed; once more: at once");
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(stop)
    }

    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the files, enters the image, and tells of both.
pub fn make(making: &Making, shelf: &Shelf, stop: &Stop, context: &Context) -> anyhow::Result<u8> {
    for note in &making.source.notes {
        tell!("note: {note}");
    }
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_message(format!("{}: copying the disk", making.name));
    bar.enable_steady_tick(Duration::from_millis(200));
    let made = take_in(making, shelf, stop.flag());
    bar.finish_and_clear();
    let made = made?;
    for note in made.notes.iter().filter(|note| !making.source.notes.contains(note)) {
        tell!("note: {note}");
    }
    let mut text = String::new();
    for file in &made.files {
        let size = file.metadata().map_or("-".to_owned(), |about| Bytes(about.len()).to_string());
        text += &format!("{}  {size}\n", file.display());
    }
    text += &format!("`{}` is in {}:\n{}", making.name, shelf.path().display(), made.entry.yaml(2));
    context.print(&text)?;
    Ok(0)
}

/// `key=value`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if is_label(key) && is_label(value) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give a key and a value, joined by `=`, each of 1 to 200 printable characters".into()),
    }
}

pub fn labels(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, ImageError> {
    let mut labels = BTreeMap::new();
    for (key, value) in given {
        if let Some(other) = labels.insert(key.clone(), value.clone()) {
            let what = format!("the label `{key}` is given twice: {other} and {value}");
            return Err(ImageError::Unfit { what, hint: "give each label once".to_owned() });
        }
    }
    Ok(labels)
}

/// The folder of new golden images.
pub fn out(given: Option<PathBuf>, shelf: &Shelf) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(given.unwrap_or_else(|| shelf.folder().join("golden")))?)
}

/// libvirt's usual connection for who we are (libvirt's "Connection URIs"), or the one that was given.
///
/// # Errors
/// One to another host: its paths would be taken for ours.
pub fn uri(given: Option<String>) -> Result<String, ImageError> {
    let usual = if rustix::process::geteuid().is_root() { "qemu:///system" } else { "qemu:///session" };
    let uri = given.unwrap_or_else(|| usual.to_owned());
    match uri.split_once("://") {
        Some((_, rest)) if rest.starts_with('/') => Ok(uri),
        _ => Err(ImageError::Unfit {
            what: format!("`{uri}` is no libvirt of this host"),
            hint: "its disks have to be files here: run bootgate there".to_owned(),
        }),
    }
}

/// The user's folder for configuration (XDG Base Directory Specification).
pub fn config_folder() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))
}

/// A name for an image from the name of something else.
pub fn plain_name(text: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(plain).take(100).collect();
    name.trim_matches(|c| !char::is_alphanumeric(c)).to_owned()
}

/// Whether it can be opened, and is a file.
pub fn check_file(path: &Path, what: &str) -> Result<PathBuf, ImageError> {
    let unfit = |why: String| ImageError::Unfit {
        what: format!("{what} `{}` {why}", path.display()),
        hint: "check the path".to_owned(),
    };
    let path_is = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let about = std::fs::metadata(&path_is).map_err(|error| unfit(format!("cannot be read: {error}")))?;
    if !about.is_file() {
        return Err(unfit("is no file".to_owned()));
    }
    std::fs::File::open(&path_is).map_err(|error| unfit(format!("cannot be read: {error}")))?;
    Ok(path_is)
}
