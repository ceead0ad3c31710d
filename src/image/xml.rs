//! XML that is written, as a tree.

use crate::model::escape_xml;

/// An element with attributes and either text or children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Children(Vec<Element>),
}

/// An element with children.
pub fn node(name: &'static str, children: impl IntoIterator<Item = Element>) -> Element {
    Element { name, attributes: Vec::new(), content: Content::Children(children.into_iter().collect()) }
}

/// An element with text.
pub fn leaf(name: &'static str, text: impl ToString) -> Element {
    Element { name, attributes: Vec::new(), content: Content::Text(text.to_string()) }
}

impl Element {
    pub fn with(mut self, attribute: &'static str, value: impl ToString) -> Self {
        self.attributes.push((attribute, value.to_string()));
        self
    }

    /// The whole document, two spaces a level.
    pub fn document(&self) -> String {
        let mut out = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n".to_owned();
        self.write(0, &mut out);
        out
    }

    /// Without the XML declaration.
    pub fn fragment(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, depth: usize, out: &mut String) {
        out.push_str(&"  ".repeat(depth));
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            out.push_str(&format!(" {name}=\"{}\"", escape_xml(value)));
        }
        match &self.content {
            Content::Text(text) => out.push_str(&format!(">{}</{}>\n", escape_xml(text), self.name)),
            Content::Children(children) if children.is_empty() => out.push_str("/>\n"),
            Content::Children(children) => {
                out.push_str(">\n");
                for child in children {
                    child.write(depth + 1, out);
                }
                out.push_str(&format!("{}</{}>\n", "  ".repeat(depth), self.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_back(text in ".*", value in ".*") {
            let xml = node("a", [leaf("b", &text).with("c", &value)]).document();
            let read = roxmltree::Document::parse(&xml).unwrap();
            let b = read.root_element().first_element_child().unwrap();
            let valid = |text: &str| text.chars().all(|c| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'));
            if valid(&text) { assert_eq!(b.text().unwrap_or_default(), text); }
            if valid(&value) { assert_eq!(b.attribute("c").unwrap(), value); }
        }
    }
}
