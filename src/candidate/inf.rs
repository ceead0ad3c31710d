use std::collections::HashMap;

use super::words::clean;
use crate::model::{Inf, Machine};

/// Longest line, and longest text that is made of one by putting strings in, in bytes; Windows takes 4096 characters.
const MAX_LINE: usize = 16 << 10;
/// Most lines; those of graphics drivers have some ten thousand.
const MAX_LINES: usize = 200_000;

/// The sections of an INF by their names in lower case. Several of one name are one ("General Syntax Rules for INF Files").
type Sections = HashMap<String, Vec<String>>;

/// An INF's facts, and whether all of it was read; none if the text is no INF for Windows.
pub(super) fn parse(text: &str) -> Option<(Inf, bool)> {
    let (sections, is_whole) = sections(text);
    let version = Entries::of(&sections, "version")?;
    let signature = version.first("signature")?.to_ascii_lowercase();
    if !matches!(signature.trim(), "$windows nt$" | "$windows 95$" | "$chicago$") {
        return None;
    }
    let driver = version.all("driverver").unwrap_or_default();
    let driver = |n: usize| driver.get(n).and_then(|text| clean(text));
    let catalogs = ["catalogfile.ntamd64", "catalogfile", "catalogfile.nt", "catalogfile.ntarm64", "catalogfile.ntx86"];
    let inf = Inf {
        class: version.first("class").as_deref().and_then(clean),
        provider: version.first("provider").as_deref().and_then(clean),
        driver_date: driver(0),
        driver_version: driver(1),
        catalog: catalogs.iter().find_map(|key| version.first(key)).as_deref().and_then(clean),
        machines: machines(&sections),
    };
    Some((inf, is_whole))
}

/// What it installs on, by the decorations of its models, or where it has none, of `DefaultInstall`. Empty: it does not
/// say.
fn machines(sections: &Sections) -> Vec<Machine> {
    let mut found: Vec<Machine> = match sections.get("manufacturer").filter(|lines| !lines.is_empty()) {
        Some(lines) => lines.iter().flat_map(|line| of_models(sections, line)).collect(),
        None => of_default_install(sections),
    };
    found.sort_unstable();
    found.dedup();
    found
}

/// Of a line of `[Manufacturer]`: `%name% = models, NTamd64.10.0, NTx86`. A section of models that is absent or empty
/// says that there is nothing for that system.
///
/// Since Windows Server 2003 SP1, models without a decoration are for x86 alone ("INF Manufacturer Section").
fn of_models(sections: &Sections, line: &str) -> Vec<Machine> {
    let values = split(line, '=').map_or_else(|| vec![unquoted(line)], |(_, value)| list(value));
    let Some((models, decorations)) = values.split_first() else { return Vec::new() };
    let has_models = |name: String| sections.get(&name.to_ascii_lowercase()).is_some_and(|lines| !lines.is_empty());
    let plain = || has_models(models.clone()).then_some(Machine::X86);
    if decorations.is_empty() {
        return plain().into_iter().collect();
    }
    let decorated = |of: &String| decoration(of).filter(|_| has_models(format!("{models}.{of}")));
    decorations.iter().filter_map(decorated).collect()
}

/// What `DefaultInstall` is for. Without a decoration it is for all.
fn of_default_install(sections: &Sections) -> Vec<Machine> {
    let names = sections.keys().filter_map(|name| name.strip_prefix("defaultinstall"));
    // `.Services` and the like belong to the section of the name before them.
    let decorations: Vec<&str> = names.filter(|rest| rest.is_empty() || rest.starts_with(".nt")).collect();
    if decorations.iter().any(|rest| matches!(*rest, "" | ".nt")) {
        return Vec::new();
    }
    decorations.iter().filter_map(|rest| decoration(rest.strip_prefix('.')?)).collect()
}

/// `NTamd64.10.0...16299`: an architecture, then versions. `NT` without an architecture is x86.
fn decoration(text: &str) -> Option<Machine> {
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("nt")?.split('.').next()? {
        "amd64" => Some(Machine::X64),
        "" | "x86" => Some(Machine::X86),
        "arm64" => Some(Machine::Arm64),
        "arm" => Some(Machine::Arm),
        "ia64" => Some(Machine::Ia64),
        _ => None,
    }
}

fn sections(text: &str) -> (Sections, bool) {
    let mut sections = Sections::new();
    let mut current = None;
    let mut begun = String::new();
    let mut is_whole = true;
    for (n, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        if n >= MAX_LINES || begun.len() + line.len() > MAX_LINE {
            is_whole = false;
            break;
        }
        // A line that ends with `\` goes on with the next one.
        if let Some(start) = line.strip_suffix('\\') {
            begun.push_str(start);
            continue;
        }
        let line = std::mem::take(&mut begun) + line;
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = unquoted(name).to_ascii_lowercase();
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (false, Some(name)) = (line.is_empty(), &current) {
            sections.entry(name.clone()).or_default().push(line.to_owned());
        }
    }
    (sections, is_whole)
}

/// The entries of one section, with the texts of `[Strings]` at hand.
struct Entries<'a> {
    lines: &'a [String],
    strings: HashMap<String, &'a str>,
}

impl<'a> Entries<'a> {
    fn of(sections: &'a Sections, name: &str) -> Option<Self> {
        let strings = sections.get("strings").map(Vec::as_slice).unwrap_or_default();
        let pairs = strings.iter().rev().filter_map(|line| split(line, '='));
        // Backwards, so that the first of a name stays.
        let strings = pairs.map(|(name, value)| (unquoted(name).to_ascii_lowercase(), value)).collect();
        Some(Self { lines: sections.get(name)?, strings })
    }

    fn all(&self, key: &str) -> Option<Vec<String>> {
        let value = entry(self.lines, key)?;
        Some(list(value).iter().map(|text| self.filled(text)).collect())
    }

    fn first(&self, key: &str) -> Option<String> {
        self.all(key)?.into_iter().next()
    }

    /// Puts strings in for their `%names%`; `%%` is a percent sign.
    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        for (n, part) in text.split('%').enumerate() {
            let between = n % 2 == 1;
            let string = || self.strings.get(&part.to_ascii_lowercase());
            match (between && !part.is_empty()).then(string).flatten() {
                Some(string) => out.push_str(&unquoted(string)),
                None if between && part.is_empty() => out.push('%'),
                None => out.push_str(part),
            }
            if out.len() > MAX_LINE {
                break;
            }
        }
        out
    }
}

fn entry<'a>(lines: &'a [String], key: &str) -> Option<&'a str> {
    let pairs = lines.iter().filter_map(|line| split(line, '='));
    pairs.into_iter().find(|(name, _)| unquoted(name).eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

fn list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = value;
    while let Some((item, more)) = split(rest, ',') {
        items.push(unquoted(item));
        rest = more;
    }
    items.push(unquoted(rest));
    items
}

/// Splits at the first separator that is not within quotation marks.
fn split(text: &str, separator: char) -> Option<(&str, &str)> {
    let at = outside_quotes(text, separator)?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

fn without_comment(line: &str) -> &str {
    outside_quotes(line, ';').map_or(line, |at| &line[..at])
}

fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == wanted && !quoted).then_some(at)
    })
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        candidate::testing::{INF, about, utf16_with_mark},
        model::Content,
    };

    #[test]
    fn an_inf_says_what_it_is_in_every_encoding() {
        let expected = Inf {
            class: Some("AntiVirus".into()),
            provider: Some("Vendor, Inc".into()),
            driver_date: Some("11/20/2026".into()),
            driver_version: Some("7.2.0.4".into()),
            catalog: Some("sensor.cat".into()),
            machines: vec![Machine::X86, Machine::X64],
        };
        let marked = ["\u{feff}", INF].concat();
        let dos = INF.replace('\n', "\r\n");
        for bytes in [INF.as_bytes(), marked.as_bytes(), dos.as_bytes(), &utf16_with_mark(INF)] {
            let about = about(bytes);
            assert_eq!((about.content, about.unread), (Content::Inf(expected.clone()), None));
        }
    }

    #[test]
    fn models_count_for_the_machines_of_their_decorations_if_there_are_any() {
        let with = |manufacturer: &str, rest: &str| {
            let text = format!("[Version]\nSignature = $CHICAGO$\n[manufacturer]\n{manufacturer}\n{rest}");
            parse(&text).unwrap().0.machines
        };
        assert_eq!(with("%v% = M", "[M]\n%d% = i, x"), [Machine::X86]);
        assert_eq!(with("%v% = M, NTamd64", "[M]\na=b,c\n[m.ntAMD64]\na=b,c"), [Machine::X64]);
        assert_eq!(
            with("\"V\" = M,NTarm64.10.0...22000, NT", "[M.NTarm64.10.0...22000]\na=b\n[M.NT]\na=b"),
            [Machine::X86, Machine::Arm64]
        );
        // Said, but there is nothing in it; and a template that no tool has filled in.
        assert_eq!(with("%v% = M, NTamd64, NTx86", "[M.NTamd64]\n; none\n[M.NTx86]\na=b"), [Machine::X86]);
        assert_eq!(with("%v% = M, NT$ARCH$", "[M.NT$ARCH$]\na=b"), []);
    }

    #[test]
    fn an_inf_without_models_goes_by_its_default_install() {
        let with =
            |sections: &str| parse(&format!("[Version]\nSignature=\"$Windows NT$\"\n{sections}")).unwrap().0.machines;
        assert_eq!(with("[DefaultInstall.NTamd64]\nx=y\n[DefaultInstall.NTamd64.Services]\nx=y"), [Machine::X64]);
        assert_eq!(with("[DefaultInstall.NTx86]\nx=y"), [Machine::X86]);
        assert_eq!(with("[DefaultInstall]\nx=y\n[DefaultInstall.NTx86]\nx=y"), []);
        assert_eq!(with(""), []);
    }

    #[test]
    fn comments_and_continued_lines_are_no_part_of_values() {
        let text = "[Version] ; x\nSignature = \"$Windows NT$\" ; \"y\nClass = \\\n  Net ; z\nProvider=\"a;b\"";
        let (inf, _) = parse(text).unwrap();
        assert_eq!((inf.class.as_deref(), inf.provider.as_deref()), (Some("Net"), Some("a;b")));
        assert_eq!(parse("[Version]\nSignature=none"), None);
    }
}
