//! What cannot be a path in a guest.

/// What a path in the guest must be.
pub(crate) const GUEST_PATH_HINT: &str =
    r"give an absolute path such as /var/lib/agent/content or C:\ProgramData\agent\content";

/// Longest path of a file in Windows, in UTF-16 units: programs take 259 (`MAX_PATH` less the NUL at the end), and while a
/// file is put in place there is another one beside it whose name is 13 longer.
const LONGEST: usize = 259 - 13;

/// Why a text cannot be a path in a guest, of either kind.
pub(crate) fn guest_path_problem(path: &str) -> Option<&'static str> {
    if let [drive, b':', b'\\', ..] = path.as_bytes() {
        return windows_path_problem(*drive, path);
    }
    if !path.starts_with('/') {
        Some("it is relative")
    } else if path.chars().any(char::is_control) {
        Some("it has a control character")
    } else if path.split('/').any(|part| part == "..") {
        Some("it has `..` in it")
    } else if path.ends_with('/') {
        Some("it ends with `/`")
    } else {
        None
    }
}

/// Microsoft: "Naming Files, Paths, and Namespaces", "Maximum Path Length Limitation".
fn windows_path_problem(drive: u8, path: &str) -> Option<&'static str> {
    let rest = &path[3..];
    let parts = || rest.split('\\');
    if !drive.is_ascii_alphabetic() {
        Some("its drive is no letter")
    } else if rest.chars().any(|c| c.is_control() || r#"<>:"/|?*"#.contains(c)) {
        Some(r#"it has one of < > : " / | ? * or a control character"#)
    } else if parts().any(|part| part == "..") {
        Some("it has `..` in it")
    } else if rest.ends_with('\\') || rest.is_empty() {
        Some(r"it ends with `\`")
    } else if parts().any(|part| part.is_empty() || part.ends_with(['.', ' '])) {
        Some("a part of it is empty, or ends with a dot or a blank")
    } else if parts().any(is_device) {
        Some("a part of it is the name of a device (CON, NUL, COM1, ...), whatever follows behind a dot")
    } else if path.encode_utf16().count() > LONGEST {
        Some("it is longer than 246 characters, and Windows ends paths at 259, those of our own copies too")
    } else {
        None
    }
}

/// Whether a name leads to a device instead of a file, in every folder.
fn is_device(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let port = ["COM", "LPT"].iter().find_map(|port| stem.strip_prefix(port));
    // Superscript digits are digits to Windows.
    let is_port =
        |number: &str| matches!(number, "\u{b9}" | "\u{b2}" | "\u{b3}") || matches!(number.as_bytes(), [b'1'..=b'9']);
    DEVICES.contains(&stem.as_str()) || port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_no_names_of_files_in_windows() {
        for name in
            ["con.msi", "NUL", "nul.tar.gz", "Com1.txt", "lpt9", "COM\u{b2}", "CONIN$", "aux .txt", "prn\\a.txt"]
        {
            let why = guest_path_problem(&format!(r"C:\x\{name}")).unwrap_or_default();
            assert!(why.contains("name of a device"), "{name}: {why}");
        }
        for name in ["con-1.msi", "console.txt", "COM10", "com0", "lpt", "nulls.txt", "a.con"] {
            assert_eq!(guest_path_problem(&format!(r"C:\x\{name}")), None, "{name}");
            assert_eq!(guest_path_problem("/dev/con"), None);
        }
    }

    #[test]
    fn a_path_that_windows_would_cut_is_refused_and_the_longest_is_not() {
        let path = |n: usize| format!(r"C:\{}", "ü".repeat(n - 3));
        assert_eq!(guest_path_problem(&path(246)), None);
        assert!(guest_path_problem(&path(247)).is_some_and(|why| why.contains("246")));
        assert_eq!(guest_path_problem(&format!("/{}", "x".repeat(1000))), None);
    }

    #[test]
    fn a_name_that_windows_would_shorten_is_refused() {
        for name in ["a.", "a ", r"b.\a", ""] {
            assert!(guest_path_problem(&format!(r"C:\x\{name}")).is_some(), "{name:?}");
        }
    }
}
