use std::collections::BTreeSet;

use regex::Regex;

/// What copying programs and browsers call a file that they have not finished, in lower case.
const UNFINISHED: &[&str] =
    &[".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", ".swp", "~"];

/// Which names in the folder are candidates'.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// One of them must fit; none: every name does.
    globs: Vec<Regex>,
    never: BTreeSet<String>,
}

impl Names {
    /// In a glob `*` stands for any text and `?` for one character; everything else for itself.
    ///
    /// # Errors
    /// The glob that is too long.
    pub fn matching(globs: &[String]) -> Result<Self, String> {
        let regex = |glob: &String| {
            let text: String = glob.chars().map(in_regex).collect();
            Regex::new(&format!("^(?s:{text})$")).map_err(|_| format!("the pattern `{glob}` is too long"))
        };
        Ok(Self { globs: globs.iter().map(regex).collect::<Result<_, _>>()?, never: BTreeSet::new() })
    }

    /// Leaves out one name, whatever the globs say.
    #[must_use]
    pub fn without(mut self, name: impl Into<String>) -> Self {
        self.never.insert(name.into());
        self
    }

    /// Whether a file of this name is a candidate: neither hidden nor unfinished by its name, and asked for.
    pub fn take(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        !name.starts_with('.')
            && !UNFINISHED.iter().any(|end| lower.ends_with(end))
            && !self.never.contains(name)
            && (self.globs.is_empty() || self.globs.iter().any(|glob| glob.is_match(name)))
    }
}

fn in_regex(c: char) -> String {
    match c {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        c => regex::escape(c.encode_utf8(&mut [0; 4])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken<'a>(globs: &[&str], names: &[&'a str]) -> Vec<&'a str> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let wanted = Names::matching(&globs).unwrap().without("m.yaml");
        names.iter().copied().filter(|name| wanted.take(name)).collect()
    }

    #[test]
    fn hidden_and_unfinished_names_are_no_candidates() {
        let names = [".x", "x.part", "x.PART", "x.crdownload", "x.tmp", "x~", "m.yaml", "x", "x.part.deb", "ä b.msi"];
        assert_eq!(taken(&[], &names), ["x", "x.part.deb", "ä b.msi"]);
    }

    #[test]
    fn a_pattern_is_about_the_whole_name_and_only_two_characters_are_special() {
        assert_eq!(taken(&["*.deb"], &["a.deb", "a.deb.sig", "adeb"]), ["a.deb"]);
        assert_eq!(
            taken(&["agent-?.bin", "*.cab"], &["agent-1.bin", "agent-12.bin", "x.cab"]),
            ["agent-1.bin", "x.cab"]
        );
        assert_eq!(taken(&["[a].(b)+"], &["[a].(b)+", "a.b"]), ["[a].(b)+"]);
        assert_eq!(taken(&["*"], &["a\nb", ".part"]), ["a\nb"]);
        assert!(Names::matching(&["?".repeat(200_000)]).is_err());
    }
}
