use std::{cell::Cell, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::{Place, SourceFile};

/// A YAML node and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub kind: Kind,
    /// Found to be wrong and reported: treated as if it were not there from then on.
    pub dead: Cell<bool>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    /// The text as written, whatever YAML takes it for.
    Scalar(String),
    Seq(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Kind {
    /// For people: what a node is.
    pub fn noun(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Parses a file's one YAML document.
pub(super) fn parse(file: &SourceFile) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 40,
            max_nodes: 200_000,
            max_aliases: 1000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
        legacy_octal_numbers: false,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(&file.text, options)?;
    Ok(place_nodes(raw, file))
}

fn place_nodes(raw: Spanned<Raw>, file: &SourceFile) -> Node {
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Text(text) => Kind::Scalar(text),
        // `7.10` must not become 7.1: the text in the file counts, not the number YAML sees in it.
        Raw::Number(number) => Kind::Scalar(written(&file.text, raw.defined).unwrap_or(number)),
        Raw::Seq(items) => Kind::Seq(items.into_iter().map(|item| place_nodes(item, file)).collect()),
        Raw::Map(entries) => {
            let entries = entries.into_iter();
            Kind::Map(entries.map(|(key, value)| (place_nodes(key, file), place_nodes(value, file))).collect())
        }
    };
    Node { place: place(raw.referenced), kind, dead: Cell::new(false) }
}

/// The source text of a plain scalar.
fn written(text: &str, location: Location) -> Option<String> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let len = usize::try_from(location.span().byte_len()?).ok()?;
    let text = text.get(start..start.checked_add(len)?)?.trim();
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._:".contains(&b));
    plain.then(|| text.to_owned())
}

pub(super) fn place(location: Location) -> Place {
    let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let span = location.span();
    Place {
        line: number(Some(location.line())),
        column: number(Some(location.column())),
        start: number(span.byte_offset()),
        len: number(span.byte_len()),
    }
}

#[derive(Debug)]
enum Raw {
    Null,
    Text(String),
    Number(String),
    Seq(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
