use std::path::Path;

use crate::{lab::LabError, model::escape_xml};

/// A path, escaped.
pub fn path(path: &Path) -> Result<String, LabError> {
    path.to_str()
        .map(escape_xml)
        .ok_or_else(|| LabError::Other(format!("{} is not UTF-8, which libvirt needs", path.display())))
}
