use std::{cell::RefCell, sync::Arc};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use serde_saphyr::MessageFormatter as _;

use super::{
    Diagnostic, Diagnostics, Place, SourceFile,
    placed::{LIST_OR_ONE, PLACED},
    tree::{self, Kind, Node},
};

/// Says something better than "unknown key" about a key that a mapping does not have: the mapping's struct
/// name and the key give a message and a hint.
pub type UnknownKey = fn(mapping: &str, key: &str) -> Option<(String, String)>;

/// Reads a YAML file into `T`.
///
/// # Errors
/// Everything that is wrong with its form: syntax (then only that), unknown keys, missing keys, wrong types.
pub fn read_yaml<T: DeserializeOwned>(file: &Arc<SourceFile>, unknown_key: UnknownKey) -> Result<T, Diagnostics> {
    let root = tree::parse(file).map_err(|error| syntax_error(file, &error))?;
    let context = Context { file, unknown_key, found: RefCell::default() };
    // Serde stops at the first error. So the wrong node is reported, taken out, and the rest is read again.
    for _ in 0..MAX_ERRORS {
        match T::deserialize(Reader { node: &root, context: &context }) {
            Ok(value) => return context.found.into_inner().or(value),
            Err(Failure::Reported) => {}
            Err(failure) => {
                if !follows_from_another(&failure, &root) {
                    context.report(failure, root.place);
                }
                break;
            }
        }
    }
    Err(context.found.into_inner())
}

const MAX_ERRORS: usize = 50;

fn syntax_error(file: &Arc<SourceFile>, error: &serde_saphyr::Error) -> Diagnostics {
    let message = match error.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => "the file has more than one YAML document".to_owned(),
        // The reader counts documents as a matter of budget.
        serde_saphyr::Error::Budget { .. } if has_more_documents(&file.text) => {
            "the file has more than one YAML document".to_owned()
        }
        serde_saphyr::Error::Budget { .. } => "it is too large or nested too deeply".to_owned(),
        other => one_line(&serde_saphyr::UserMessageFormatter.format_message(other)),
    };
    let diagnostic = Diagnostic::error(format!("not valid YAML: {message}"));
    match error.location() {
        Some(location) => diagnostic.at(file, tree::place(location)).into(),
        None => diagnostic.at(file, Place::default()).into(),
    }
}

/// Whether a document marker stands behind the first line that is neither empty nor a comment.
fn has_more_documents(text: &str) -> bool {
    let is_content = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let is_marker = |line: &str| ["---", "..."].iter().any(|marker| line.starts_with(marker));
    text.lines().filter(is_content).skip(1).any(is_marker)
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The candidate that `text` was most likely meant to be.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    (distance <= 1 + text.chars().count() / 4).then_some(candidate)
}

/// The hint to a word that is none of those known: the one that was most likely meant, or else this.
pub fn did_you_mean<'a>(
    text: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest(text, known).map_or_else(otherwise, |meant| format!("did you mean `{meant}`?"))
}

/// The same where all that are known, which are `what`, are few enough to be named.
pub fn hint_among(text: &str, known: &[&str], what: &str) -> String {
    did_you_mean(text, known.iter().copied(), || match known {
        [] => format!("there are no {what}"),
        _ => format!("the {what} are {}", known.join(", ")),
    })
}

struct Context<'t> {
    file: &'t Arc<SourceFile>,
    unknown_key: UnknownKey,
    found: RefCell<Diagnostics>,
}

impl Context<'_> {
    fn report(&self, failure: Failure, place: Place) {
        let (message, hint) = match failure {
            Failure::Reported => return,
            Failure::Wrong { message, hint } => (message, hint),
            Failure::Missing { field } => (format!("the key `{field}` is missing here"), None),
        };
        let diagnostic = Diagnostic::error(message).at(self.file, place);
        self.found.borrow_mut().push(hint.into_iter().fold(diagnostic, Diagnostic::hint));
    }

    fn unknown_key(&self, mapping: &str, key: &str, fields: &'static [&'static str], place: Place) {
        let usual = || (format!("unknown key `{key}`"), hint_among(key, fields, "keys here"));
        let (message, hint) = (self.unknown_key)(mapping, key).unwrap_or_else(usual);
        self.report(Failure::Wrong { message, hint: Some(hint) }, place);
    }
}

/// Why a node could not be read.
#[derive(Debug)]
enum Failure {
    /// It is in the report already.
    Reported,
    Wrong {
        message: String,
        hint: Option<String>,
    },
    Missing {
        field: &'static str,
    },
}

impl Failure {
    fn wrong(message: String) -> Self {
        Failure::Wrong { message, hint: None }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Failure::wrong(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Failure::Missing { field }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = format!("the keys here are {}", expected.join(", "));
        Failure::Wrong { message: format!("unknown key `{field}`"), hint: Some(hint) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = hint_among(variant, expected, "values here");
        Failure::Wrong { message: format!("unknown value `{variant}`"), hint: Some(hint) }
    }
}

#[derive(Clone, Copy)]
struct Reader<'t> {
    node: &'t Node,
    context: &'t Context<'t>,
}

impl<'t> Reader<'t> {
    /// Reads a child; if that fails, reports it and takes the child out of the tree.
    fn child<'de, S: DeserializeSeed<'de>>(self, node: &'t Node, seed: S) -> Result<S::Value, Failure> {
        seed.deserialize(Reader { node, context: self.context }).map_err(|failure| {
            if let Failure::Reported = failure {
                return failure;
            }
            node.dead.set(true);
            if !follows_from_another(&failure, node) {
                self.context.report(failure, node.place);
            }
            Failure::Reported
        })
    }

    fn expected(&self, what: &dyn Expected) -> Failure {
        let found = match &self.node.kind {
            Kind::Scalar(text) => format!("`{text}`"),
            other => other.noun().to_owned(),
        };
        Failure::wrong(format!("expected {what}, found {found}"))
    }

    fn scalar(&self, what: &dyn Expected) -> Result<&'t str, Failure> {
        match &self.node.kind {
            Kind::Scalar(text) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, Failure> {
        let what = "a whole number";
        let text = self.scalar(&what)?;
        text.parse().map_err(|_| self.expected(&what))
    }
}

/// A key that is missing only because what stands there is wrong, or because its name is misspelt.
fn follows_from_another(failure: &Failure, node: &Node) -> bool {
    let (Failure::Missing { field }, Kind::Map(entries)) = (failure, &node.kind) else { return false };
    entries.iter().any(|(key, value)| {
        value.dead.get() && matches!(&key.kind, Kind::Scalar(key) if key == field || nearest(key, [*field]).is_some())
    })
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(self.number::<$type>()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failure;

    numbers!(deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Null => Err(self.expected(&visitor)),
            Kind::Scalar(text) => visitor.visit_str(text),
            Kind::Seq(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.scalar(&"true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.expected(&"true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(self.scalar(&"text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        match (name, &self.node.kind) {
            (PLACED, _) => visitor.visit_seq(PlaceThenValue { reader: self, given: 0 }),
            (LIST_OR_ONE, Kind::Seq(items)) => visitor.visit_seq(Items { reader: self, items: items.iter() }),
            (LIST_OR_ONE, _) => {
                visitor.visit_seq(Items { reader: self, items: std::slice::from_ref(self.node).iter() })
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Seq(items) => visitor.visit_seq(Items { reader: self, items: items.iter() }),
            _ => Err(self.expected(&"a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Pairs { reader: self, entries: entries.iter(), value: None }),
            _ => Err(self.expected(&"a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Kind::Map(entries) = &self.node.kind else { return Err(self.expected(&visitor)) };
        for (key, value) in entries.iter().filter(|(_, value)| !value.dead.get()) {
            match &key.kind {
                Kind::Scalar(text) if fields.contains(&text.as_str()) => continue,
                Kind::Scalar(text) => self.context.unknown_key(name, text, fields, key.place),
                other => self
                    .context
                    .report(Failure::wrong(format!("expected the name of a key, found {}", other.noun())), key.place),
            }
            value.dead.set(true);
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let what = format!("one of {}", variants.join(", "));
        visitor.visit_enum(self.scalar(&what.as_str())?.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

struct Items<'t> {
    reader: Reader<'t>,
    items: std::slice::Iter<'t, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        match self.items.find(|item| !item.dead.get()) {
            // A single value that stands for a list of one: its parent takes it out.
            Some(item) if std::ptr::eq(item, self.reader.node) => seed.deserialize(self.reader).map(Some),
            Some(item) => self.reader.child(item, seed).map(Some),
            None => Ok(None),
        }
    }
}

struct Pairs<'t> {
    reader: Reader<'t>,
    entries: std::slice::Iter<'t, (Node, Node)>,
    value: Option<&'t Node>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Failure;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some((key, value)) = self.entries.find(|(_, value)| !value.dead.get()) else { return Ok(None) };
        self.value = Some(value);
        let read = self.reader.child(key, seed);
        if read.is_err() {
            value.dead.set(true);
        }
        read.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        match self.value.take() {
            Some(value) => self.reader.child(value, seed),
            None => Err(Failure::wrong("a value was asked for before its key".to_owned())),
        }
    }
}

/// What [`super::Placed`] reads: four numbers, then the value itself.
struct PlaceThenValue<'t> {
    reader: Reader<'t>,
    given: usize,
}

impl<'de> SeqAccess<'de> for PlaceThenValue<'_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Place { line, column, start, len } = self.reader.node.place;
        let number = [line, column, start, len].get(self.given).copied();
        self.given += 1;
        match number {
            Some(number) => seed.deserialize(number.into_deserializer()).map(Some),
            None => seed.deserialize(self.reader).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entries, OneOrMany, Placed};
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(expecting = "a mapping")]
    struct Outer {
        name: Placed<String>,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        inner: Vec<Inner>,
        #[serde(default)]
        free: Entries<Placed<OneOrMany<Placed<String>>>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        a: Placed<String>,
        #[serde(default)]
        b: Option<bool>,
    }

    fn read(text: &str) -> Result<Outer, Diagnostics> {
        read_yaml(&Arc::new(SourceFile::from_text("t.yaml", text)), |_, _| None)
    }

    fn messages(text: &str) -> Vec<String> {
        let shown = |d: &Diagnostic| format!("{}: {}", d.place().map_or(0, |place| place.line), d.message);
        read(text).map_or_else(|found| found.0.iter().map(shown).collect(), |value| panic!("accepted: {value:?}"))
    }

    #[test]
    fn values_keep_the_text_they_were_written_with_and_their_place() {
        let outer = read("name: 7.10\ncount: 3\nfree:\n  x: [7.10, \"on\", 0x10, 010, yes, 1e3]\n  y: one\n").unwrap();
        assert_eq!(outer.name.value, "7.10");
        assert_eq!((outer.name.place.line, outer.name.place.column, outer.name.place.len), (1, 7, 4));
        assert_eq!(outer.count, 3);
        let texts = |n: usize| -> Vec<&str> { outer.free.0[n].1.value.0.iter().map(|v| v.value.as_str()).collect() };
        assert_eq!(texts(0), ["7.10", "on", "0x10", "010", "yes", "1e3"]);
        assert_eq!(texts(1), ["one"]);
        assert_eq!(outer.free.0[1].0.place.line, 5);
    }

    #[test]
    fn all_wrong_nodes_are_reported_at_once() {
        let text = "nmae: x\ncount: many\ninner:\n  - {a: 1, b: maybe}\n  - {b: true}\n  - {a: 1, c: 2}\n  - 7\n";
        let expected = [
            "1: unknown key `nmae`",
            "2: expected a whole number, found `many`",
            "4: expected true or false, found `maybe`",
            "5: the key `a` is missing here",
            "6: unknown key `c`",
            "7: expected struct Inner, found `7`",
        ];
        let mut found = messages(text);
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_hint_names_what_was_likely_meant_or_else_all_there_is() {
        assert_eq!(hint_among("nmae", &["name", "count"], "keys here"), "did you mean `name`?");
        assert_eq!(hint_among("x", &["name", "count"], "keys here"), "the keys here are name, count");
        assert_eq!(hint_among("x", &[], "axes"), "there are no axes");
    }

    #[test]
    fn broken_yaml_is_one_error_with_a_place() {
        for text in [
            "name: [x",
            "name: x\nname: y",
            "a: &a [*a]",
            "name: x\n---\nname: y",
            "? [a]\n: b",
            "name: @x",
            "name: 'x",
            "- x",
            "x",
        ] {
            assert!(!messages(text).is_empty(), "{text}");
        }
        assert!(messages("name: x\nname: y")[0].starts_with("2: not valid YAML: "));
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            text += &format!("a{n}: &a{n} [{aliases}]\n");
        }
        assert_eq!(messages(&text).len(), 1);
    }
}
