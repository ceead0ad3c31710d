/// A text with variables in it.
///
/// `${name}` is a variable, `${env:NAME}` a secret from the environment, `$${` a plain `${`. All else, such
/// as the shell's `$name` and `${name:-default}`, is plain text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Template(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Text(String),
    Variable(String),
    Secret(String),
}

impl Template {
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                plain.push_str("${");
                rest = after;
            } else if let Some((part, after)) = reference(rest) {
                push_text(&mut parts, &mut plain);
                parts.push(part);
                rest = after;
            } else {
                plain.push('$');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        push_text(&mut parts, &mut plain);
        Self(parts)
    }

    /// The names of its variables, secrets not among them.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

fn push_text(parts: &mut Vec<Part>, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(Part::Text(std::mem::take(plain)));
    }
}

/// Reads `${name}` or `${env:NAME}` at the start of `text`.
fn reference(text: &str) -> Option<(Part, &str)> {
    let (inner, after) = text.strip_prefix("${")?.split_once('}')?;
    let part = match inner.strip_prefix("env:") {
        Some(name) if is_identifier(name) => Part::Secret(name.to_owned()),
        None if is_identifier(inner) => Part::Variable(inner.to_owned()),
        _ => return None,
    };
    Some((part, after))
}

fn is_identifier(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_forms_are_variables() {
        let variable = |name: &str| Part::Variable(name.into());
        let text = |text: &str| Part::Text(text.into());
        for (given, expected) in [
            ("a${os}b", vec![text("a"), variable("os"), text("b")]),
            ("${env:TOKEN}", vec![Part::Secret("TOKEN".into())]),
            ("$${os} $os $$ ${os:-x} ${os-x} ${1} ${} ${", vec![text("${os} $os $$ ${os:-x} ${os-x} ${1} ${} ${")]),
            ("$${env:X}", vec![text("${env:X}")]),
            ("", vec![]),
        ] {
            assert_eq!(Template::parse(given).0, expected, "{given}");
        }
    }
}
