/// Most keys and values that are kept of one output: the whole of a hive's busiest key is far below.
const MOST: usize = 100_000;

/// A key that `reg query` lists, with the values that it lists of it. A subkey that it only names has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegKey {
    /// In full: `HKEY_LOCAL_MACHINE\SYSTEM\…`.
    pub path: String,
    pub values: Vec<RegValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegValue {
    /// Empty: the key's default value.
    pub name: String,
    pub data: RegData,
}

/// What a value holds, as far as `reg` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegData {
    Text(String),
    /// `REG_EXPAND_SZ`: names of environment variables are not replaced.
    Expand(String),
    /// `REG_MULTI_SZ`. A `\0` inside a text cannot be told from the end of one.
    Texts(Vec<String>),
    Dword(u32),
    Qword(u64),
    Binary(Vec<u8>),
    /// Another type, or data that is not of its type.
    Other {
        kind: String,
        text: String,
    },
}

impl RegKey {
    /// The value of that name; the registry does not tell upper case from lower.
    pub fn value(&self, name: &str) -> Option<&RegData> {
        let found = self.values.iter().find(|value| value.name.to_lowercase() == name.to_lowercase())?;
        Some(&found.data)
    }
}

impl RegData {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Expand(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Dword(number) => Some((*number).into()),
            Self::Qword(number) => Some(*number),
            _ => None,
        }
    }
}

/// Reads what `reg query KEY [/v NAME | /ve] [/s]` printed, on Windows in any language and on Wine
/// (`programs/reg/query.c`).
///
/// A key's line begins with `HKEY_`. A value's is indented and has three columns, four spaces between them: name, type,
/// data. An empty line ends a key's values, and anything else outside of them is talk ("End of search: …"). The name of the
/// default value is in the guest's language and in parentheses: a first value of such a name is taken for it.
///
/// Text of a value may hold line ends and so look like other values or keys: whoever may write a key may make up what
/// follows it in the same output.
pub fn read_reg(output: &str) -> Vec<RegKey> {
    let mut keys: Vec<RegKey> = Vec::new();
    let mut in_values = false;
    let mut count = 0;
    for line in output.lines() {
        if count == MOST {
            break;
        }
        if line.starts_with("HKEY_") {
            keys.push(RegKey { path: line.trim_end().to_owned(), values: Vec::new() });
            (in_values, count) = (true, count + 1);
        } else if line.trim().is_empty() {
            in_values = false;
        } else if let Some(key) = keys.last_mut().filter(|_| in_values) {
            if let Some((name, kind, data)) = columns(line) {
                let is_default = key.values.is_empty() && name.starts_with('(') && name.ends_with(')');
                let name = if is_default { String::new() } else { name.to_owned() };
                key.values.push(RegValue { name, data: data_of(kind, data) });
                count += 1;
            } else if let Some(value) = key.values.last_mut() {
                go_on(&mut value.data, line);
            }
        }
    }
    keys
}

/// Name, type and data of a value's line. The first thing that looks like a type is it: data is more often strange than a
/// name.
fn columns(line: &str) -> Option<(&str, &str, &str)> {
    const GAP: &str = "    ";
    let line = line.strip_prefix(GAP)?;
    line.match_indices("    REG_").find_map(|(at, _)| {
        let (name, rest) = (&line[..at], &line[at + GAP.len()..]);
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        let (kind, data) = rest.split_at(end);
        // Data that is empty may have lost its gap on the way.
        let data = data.strip_prefix(GAP).or_else(|| data.trim().is_empty().then_some(""))?;
        Some((name, kind, data))
    })
}

fn data_of(kind: &str, data: &str) -> RegData {
    let number = || u64::from_str_radix(data.trim().strip_prefix("0x")?, 16).ok();
    let read = match kind {
        "REG_SZ" => Some(RegData::Text(data.to_owned())),
        "REG_EXPAND_SZ" => Some(RegData::Expand(data.to_owned())),
        "REG_MULTI_SZ" => Some(RegData::Texts(texts(data))),
        "REG_DWORD" => number().and_then(|number| number.try_into().ok()).map(RegData::Dword),
        "REG_QWORD" => number().map(RegData::Qword),
        "REG_BINARY" => bytes(data.trim()).map(RegData::Binary),
        _ => None,
    };
    read.unwrap_or_else(|| RegData::Other { kind: kind.to_owned(), text: data.to_owned() })
}

/// `reg` prints `\0` between the texts, and some versions after the last.
fn texts(data: &str) -> Vec<String> {
    let data = data.strip_suffix("\\0").unwrap_or(data);
    if data.is_empty() { Vec::new() } else { data.split("\\0").map(str::to_owned).collect() }
}

fn bytes(data: &str) -> Option<Vec<u8>> {
    let is_whole = data.len().is_multiple_of(2) && data.bytes().all(|c| c.is_ascii_hexdigit());
    let digit = |c: u8| char::from(c).to_digit(16).map_or(0, |digit| digit as u8);
    is_whole.then(|| data.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

/// A text's next line: `reg` prints line ends as they are.
fn go_on(data: &mut RegData, line: &str) {
    match data {
        RegData::Text(text) | RegData::Expand(text) | RegData::Other { text, .. } => {
            text.push('\n');
            text.push_str(line);
        }
        RegData::Texts(all) => {
            let mut more = texts(line).into_iter();
            if let (Some(last), Some(first)) = (all.last_mut(), more.next()) {
                last.push('\n');
                last.push_str(&first);
            }
            all.extend(more);
        }
        RegData::Dword(_) | RegData::Qword(_) | RegData::Binary(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(name: &str, data: RegData) -> RegValue {
        RegValue { name: name.into(), data }
    }

    fn text(text: &str) -> RegData {
        RegData::Text(text.into())
    }

    #[test]
    fn every_type_and_names_with_spaces_are_read() {
        let output = concat!(
            "\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\Our Product\r\n",
            "    Install Dir    REG_SZ    C:\\Program Files\\Our Product\r\n",
            "    a  b    REG_EXPAND_SZ    %SystemRoot%\\x    y\r\n",
            "    List    REG_MULTI_SZ    one\\0two words\\0three\r\n",
            "    Old List    REG_MULTI_SZ    one\\0two\\0\r\n",
            "    No List    REG_MULTI_SZ    \r\n",
            "    Start    REG_DWORD    0xffffffff\r\n",
            "    Size    REG_QWORD    0x100000000\r\n",
            "    Key    REG_BINARY    00FFa1\r\n",
            "    Nothing    REG_BINARY    \r\n",
            "    Empty    REG_SZ    \r\n",
            "    Cut    REG_SZ\r\n",
            "    Odd    REG_NONE    01\r\n",
            "    Port    REG_FULL_RESOURCE_DESCRIPTOR    0102\r\n",
            "\r\n",
        );
        let [key] = &read_reg(output)[..] else { panic!("one key") };
        assert_eq!(key.path, r"HKEY_LOCAL_MACHINE\SOFTWARE\Our Product");
        let texts = |all: &[&str]| RegData::Texts(all.iter().map(|text| (*text).into()).collect());
        let other = |kind: &str, text: &str| RegData::Other { kind: kind.into(), text: text.into() };
        let wanted = [
            value("Install Dir", text(r"C:\Program Files\Our Product")),
            value("a  b", RegData::Expand(r"%SystemRoot%\x    y".into())),
            value("List", texts(&["one", "two words", "three"])),
            value("Old List", texts(&["one", "two"])),
            value("No List", texts(&[])),
            value("Start", RegData::Dword(u32::MAX)),
            value("Size", RegData::Qword(1 << 32)),
            value("Key", RegData::Binary(vec![0, 0xff, 0xa1])),
            value("Nothing", RegData::Binary(vec![])),
            value("Empty", text("")),
            value("Cut", text("")),
            value("Odd", other("REG_NONE", "01")),
            value("Port", other("REG_FULL_RESOURCE_DESCRIPTOR", "0102")),
        ];
        assert_eq!(key.values, wanted);
        assert_eq!(key.value("START").and_then(RegData::number), Some(0xffff_ffff));
        assert_eq!(key.value("install dir").and_then(RegData::text), Some(r"C:\Program Files\Our Product"));
        assert_eq!(key.value("Starts"), None);
    }

    #[test]
    fn the_default_value_is_known_by_its_place_in_every_language() {
        for name in ["(Default)", "(Standard)", "(par défaut)", "(既定)", "(По умолчанию)"] {
            let output =
                format!("\nHKEY_CURRENT_USER\\A\n    {name}    REG_SZ    x\n    (mine)    REG_DWORD    0x1\n\n");
            let keys = read_reg(&output);
            assert_eq!(keys[0].values, [value("", text("x")), value("(mine)", RegData::Dword(1))]);
        }
    }

    #[test]
    fn of_a_search_all_keys_are_read_and_subkeys_are_named() {
        let output = concat!(
            "\r\nHKEY_LOCAL_MACHINE\\S\\A\r\n    ImagePath    REG_EXPAND_SZ    a.sys\r\n\r\n",
            "HKEY_LOCAL_MACHINE\\S\\B\r\n    ImagePath    REG_EXPAND_SZ    b.sys\r\n\r\n",
            "Ende der Suche:    2 Übereinstimmung(en) gefunden.\r\n",
        );
        let keys = read_reg(output);
        let paths: Vec<_> = keys.iter().map(|key| (key.path.as_str(), key.values.len())).collect();
        assert_eq!(paths, [(r"HKEY_LOCAL_MACHINE\S\A", 1), (r"HKEY_LOCAL_MACHINE\S\B", 1)]);
        let with_subkeys = "\nHKEY_USERS\n    x    REG_DWORD    0x2\n\nHKEY_USERS\\A\nHKEY_USERS\\B\n";
        let keys = read_reg(with_subkeys);
        assert_eq!(keys.iter().map(|key| key.values.len()).collect::<Vec<_>>(), [1, 0, 0]);
    }

    #[test]
    fn text_of_several_lines_is_kept_and_an_error_is_no_key() {
        let output = concat!(
            "HKEY_USERS\\A\n    x    REG_SZ    one\n  two\n",
            "    l    REG_MULTI_SZ    a\nb\\0c\n    y    REG_DWORD    0x1\n",
        );
        let wanted = [
            value("x", text("one\n  two")),
            value("l", RegData::Texts(vec!["a\nb".into(), "c".into()])),
            value("y", RegData::Dword(1)),
        ];
        assert_eq!(read_reg(output)[0].values, wanted);
        assert_eq!(read_reg("ERROR: The system was unable to find the specified registry key or value.\r\n"), []);
        assert_eq!(read_reg("    x    REG_SZ    of no key\n"), []);
    }

    #[test]
    fn data_that_is_not_of_its_type_is_kept_as_text() {
        for (kind, data) in [
            ("REG_DWORD", "0x100000000"),
            ("REG_DWORD", "7"),
            ("REG_QWORD", "0x10000000000000000"),
            ("REG_QWORD", "(null)"),
            ("REG_BINARY", "012"),
            ("REG_BINARY", "0Ä"),
        ] {
            let keys = read_reg(&format!("HKEY_USERS\n    x    {kind}    {data}\n"));
            assert_eq!(keys[0].values[0].data, RegData::Other { kind: kind.into(), text: data.into() });
        }
    }

    #[test]
    fn endless_output_is_cut() {
        assert_eq!(read_reg(&"HKEY_USERS\n".repeat(MOST + 9)).len(), MOST);
    }

    proptest! {
        #[test]
        fn any_output_is_read(
            output in r"(HKEY_|    |\r?\n|REG_(SZ|MULTI_SZ|DWORD|BINARY)|\\0|0x|[(a-zé]|\PC|[0-9A-F])*"
        ) {
            read_reg(&output);
        }

        #[test]
        fn what_was_written_is_read(
            name in "[A-Za-zé(][ -~é]{0,20}[a-z)]",
            number in any::<u32>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let is_default = name.starts_with('(') && name.ends_with(')');
            prop_assume!(!is_default && !name.contains("    "));
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            let output =
                format!("\r\nHKEY_USERS\\S\r\n    {name}    REG_DWORD    {number:#x}\r\n    b    REG_BINARY    {hex}\r\n");
            let keys = read_reg(&output);
            prop_assert_eq!(&keys[0].values[0], &value(&name, RegData::Dword(number)));
            prop_assert_eq!(&keys[0].values[1], &value("b", RegData::Binary(bytes)));
        }
    }
}
