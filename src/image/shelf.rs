//! The catalogue that a golden image is entered in. Only lines are added to it: everything a user wrote stays.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Entry, ImageError};
use crate::{
    catalog::{Catalog, is_image_name},
    files::{Access, replace},
    source::{Diagnostics, SourceFile},
};

const HEAD: &str = "version: 1\nimages:\n";

/// A catalogue that is there and makes sense, or is not there yet.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Where its file really is, whatever links lead to it.
    path: PathBuf,
    catalog: Option<Catalog>,
}

impl Shelf {
    /// # Errors
    /// All that is wrong with a catalogue that is there.
    pub fn open(path: &Path) -> Result<Self, Diagnostics> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match fs::canonicalize(&path) {
            Ok(path) => Ok(Self { catalog: Some(Catalog::read(&path)?), path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {
                Ok(Self { path, catalog: None })
            }
            Err(_) => Catalog::read(&path).map(|catalog| Self { path, catalog: Some(catalog) }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that relative paths in it start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// How the catalogue names a file: relative to its folder, if the file is below.
    ///
    /// # Errors
    /// A name that is not UTF-8.
    pub fn named(&self, file: &Path) -> Result<String, ImageError> {
        let shown = file.strip_prefix(self.folder()).unwrap_or(file);
        let unfit = || ImageError::unfit(format!("`{}` is not UTF-8", file.display()), "a catalogue cannot name it");
        shown.to_str().map(str::to_owned).ok_or_else(unfit)
    }

    /// # Errors
    /// The name, or another file with an image of this name.
    pub fn check_name(&self, name: &str) -> Result<(), ImageError> {
        if !is_image_name(name) {
            let why = format!("{name:?} is no name for an image: use a to z, digits, `.`, `_` and `-`");
            return Err(ImageError::NotTaken { catalog: self.path.clone(), why });
        }
        match self.catalog.as_ref().and_then(|catalog| catalog.image(name)) {
            Some(_) => Err(ImageError::NameTaken { name: name.to_owned(), catalog: self.path.clone() }),
            None => Ok(()),
        }
    }

    /// Whether this entry could be added, before there are any of its files.
    ///
    /// # Errors
    /// Why not.
    pub fn would_take(&self, entry: &Entry) -> Result<(), ImageError> {
        self.check_name(&entry.name)?;
        let text = self.catalog.as_ref().map(|catalog| catalog.file.text.as_str());
        let refused = |why| ImageError::NotTaken { catalog: self.path.clone(), why };
        self.with(text, entry).map(drop).map_err(refused)
    }

    /// Adds an entry to the file as it is now, as a whole or not at all.
    ///
    /// # Errors
    /// The file is as it was.
    pub fn put(&self, entry: &Entry) -> Result<(), ImageError> {
        // Two that add to it take turns.
        let folder = fs::create_dir_all(self.folder()).and_then(|()| fs::File::open(self.folder()));
        let turn = folder.and_then(|folder| folder.lock().map(|()| folder));
        let _turn = turn.map_err(|error| self.not_entered(format!("its folder cannot be locked: {error}"), entry))?;
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.not_entered(error.to_string(), entry)),
        };
        let written = self.with(text.as_deref(), entry).and_then(|text| self.write(&text).map_err(|e| e.to_string()));
        written.map_err(|why| self.not_entered(why, entry))
    }

    fn not_entered(&self, why: String, entry: &Entry) -> ImageError {
        ImageError::NotEntered { catalog: self.path.clone(), why, entry: entry.yaml(2).trim_end().to_owned() }
    }

    /// The text with the entry at its end, read again to see that it says what it should.
    fn with(&self, text: Option<&str>, entry: &Entry) -> Result<String, String> {
        let before = match text {
            None => Vec::new(),
            Some(text) => self.read(text).map_err(|errors| errors.to_string())?.images,
        };
        let text = text.unwrap_or(HEAD);
        let indent = indent(text).unwrap_or(2);
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{newline}{}", entry.yaml(indent));
        let after =
            self.read(&text).map_err(|errors| format!("with the new entry it is no catalogue ({errors})"))?.images;
        let (new, old) = after.split_last().ok_or("it would be empty")?;
        if old != before || new.name != entry.name || new.sha256 != entry.sha256 || new.labels != entry.labels {
            return Err("lines at its end would not become an image of it: have `images:` last, with a `- ` for each"
                .to_owned());
        }
        Ok(text)
    }

    fn read(&self, text: &str) -> Result<Catalog, Diagnostics> {
        Catalog::from_source(Arc::new(SourceFile::from_text(&self.path, text)))
    }

    /// Who could read it still can.
    fn write(&self, text: &str) -> io::Result<()> {
        let mode = fs::metadata(&self.path).map_or(0o644, |about| about.permissions().mode());
        replace(&self.path, text.as_bytes(), Access::Exactly(mode))
    }
}

/// How far the items of `images:` are indented.
fn indent(text: &str) -> Option<usize> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("images:")).skip(1);
    let item = lines.find(|line| line.trim_start().starts_with("- "))?;
    Some(item.len() - item.trim_start().len())
}

#[cfg(test)]
mod tests {
    use super::{super::entry::tests::entry, *};

    fn put(text: Option<&str>) -> (Result<(), ImageError>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images/catalog.yaml");
        if let Some(text) = text {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let shelf = Shelf::open(&path).unwrap();
        let (early, result) = (shelf.would_take(&entry("new")), shelf.put(&entry("new")));
        assert_eq!(early.is_ok(), result.is_ok());
        (result, fs::read_to_string(path).ok())
    }

    #[test]
    fn a_catalogue_that_is_not_there_begins_with_the_entry() {
        let (result, text) = put(None);
        result.unwrap();
        assert!(text.unwrap().starts_with("version: 1\nimages:\n  - name: new\n    labels: {"));
    }

    #[test]
    fn what_a_user_wrote_stays_whatever_the_indentation() {
        for (indent, end) in [("", "\n"), ("  ", ""), ("    ", "\n# The end.\n\n")] {
            let old = format!(
                "# Ours.\nversion: 1\nimages: # all\n{indent}# The first.\n{indent}- name:   old\n{indent}  labels: {{os: x}}\n{indent}  disk: 'x.qcow2'\n\
                 {indent}  sha256: {}\n{indent}  memory: 1GiB\n{indent}  family: linux{end}",
                "a".repeat(64)
            );
            let (result, text) = put(Some(&old));
            result.unwrap();
            let text = text.unwrap();
            assert!(text.starts_with(&old), "{text}");
            assert!(text.contains(&format!("\n{indent}- name: new\n{indent}  labels")), "{text}");
        }
    }

    #[test]
    fn a_catalogue_that_lines_cannot_be_added_to_is_left_alone_and_the_entry_is_told() {
        let image = format!(
            "{{name: old, labels: {{os: x}}, disk: x, sha256: {}, memory: 1GiB, family: linux}}",
            "a".repeat(64)
        );
        for old in [format!("version: 1\nimages: [{image}]\n"), format!("images:\n  - {image}\nversion: 1\n")] {
            let (result, text) = put(Some(&old));
            let error = result.unwrap_err().to_string();
            assert!(error.contains("- name: new") && error.contains("left as it is"), "{error}");
            assert_eq!(text.unwrap(), old);
        }
    }

    #[test]
    fn a_name_or_a_set_of_labels_that_is_taken_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.yaml");
        Shelf::open(&path).unwrap().put(&entry("one")).unwrap();
        let shelf = Shelf::open(&path).unwrap();
        assert!(matches!(shelf.would_take(&entry("one")), Err(ImageError::NameTaken { .. })));
        let same = Entry { name: "two".into(), ..entry("one") };
        assert!(shelf.would_take(&same).unwrap_err().to_string().contains("same labels"), "{shelf:?}");
        let bad = Entry { name: "Not a name".into(), ..entry("three") };
        assert!(shelf.would_take(&bad).unwrap_err().to_string().contains("no name for an image"));
    }

    #[test]
    fn the_file_behind_a_link_is_changed_and_keeps_who_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.yaml"), folder.path().join("link.yaml"));
        Shelf::open(&real).unwrap().put(&entry("one")).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Shelf::open(&link).unwrap().put(&entry("two")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Shelf::open(&real).unwrap().check_name("two").is_err());
    }

    proptest::proptest! {
        #[test]
        fn labels_and_paths_are_read_back_as_they_were(key in "[a-z]{1,8}", value in "\\PC{1,12}", disk in "[^\\p{C}]{1,12}") {
            proptest::prop_assume!(crate::model::is_label(&value));
            let shelf = Shelf { path: "/x/catalog.yaml".into(), catalog: None };
            let mut entry = entry("new");
            entry.labels = [(key, value)].into();
            entry.disk = disk.clone();
            let text = shelf.with(None, &entry).unwrap();
            let image = &shelf.read(&text).unwrap().images[0];
            proptest::prop_assert_eq!(&image.labels, &entry.labels);
            proptest::prop_assert_eq!(&image.disk, &std::path::absolute(Path::new("/x").join(disk)).unwrap());
        }
    }
}
