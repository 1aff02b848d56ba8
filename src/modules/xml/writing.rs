//! A tree as libxml2 writes it. Pure.

use super::tree::{Content, Id, Tree};

/// How a tree is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// Elements that hold no text are laid out, one a line.
    pub(super) is_pretty: bool,
    /// Letters beyond ASCII are written as numbers.
    pub(super) is_ascii: bool,
}

/// Writes the whole document: its declaration, its type, and what stands around the root.
pub(super) fn document(tree: &Tree, is_pretty: bool) -> String {
    let style = Style {
        is_pretty,
        is_ascii: false,
    };
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n{}",
        undeclared(tree, style)
    )
}

/// Writes the document without its declaration.
pub(super) fn undeclared(tree: &Tree, style: Style) -> String {
    let mut out = String::new();
    if let Some(doctype) = &tree.doctype {
        out.push_str(doctype);
        out.push('\n');
    }
    for id in &tree.top {
        node(tree, *id, style, 0, &mut out);
        if style.is_pretty {
            out.push('\n');
        }
    }
    out
}

/// Writes an element with the declarations that hold for it, in ASCII; with the text behind it.
pub(super) fn alone(tree: &Tree, id: Id) -> String {
    let mut tree = tree.clone();
    let scope = tree.in_scope(id);
    if let Content::Element(element) = tree.content_mut(id) {
        element.declared = scope;
    }
    let style = Style {
        is_pretty: false,
        is_ascii: true,
    };
    let mut out = String::new();
    for id in tree.detach(id) {
        node(&tree, id, style, 0, &mut out);
    }
    out
}

fn node(tree: &Tree, id: Id, style: Style, depth: usize, out: &mut String) {
    match tree.content(id) {
        Content::Text {
            text,
            is_cdata: true,
        } => {
            out.push_str("<![CDATA[");
            out.push_str(text);
            out.push_str("]]>");
        }
        Content::Text { text, .. } => escaped(text, false, style, out),
        Content::Comment(text) => {
            out.push_str("<!--");
            out.push_str(text);
            out.push_str("-->");
        }
        Content::Instruction { target, text } => {
            let blank = if text.is_empty() { "" } else { " " };
            out.push_str(&format!("<?{target}{blank}{text}?>"));
        }
        Content::Element(element) => {
            let name = element.name.written();
            out.push('<');
            out.push_str(&name);
            for (prefix, uri) in &element.declared {
                out.push_str(" xmlns");
                if !prefix.is_empty() {
                    out.push(':');
                    out.push_str(prefix);
                }
                value(uri, style, out);
            }
            for (name, text) in &element.attributes {
                out.push(' ');
                out.push_str(&name.written());
                value(text, style, out);
            }
            let children = tree.children(id);
            if children.is_empty() {
                out.push_str("/>");
                return;
            }
            out.push('>');
            let is_pretty = style.is_pretty && !children.iter().any(|child| tree.is_text(*child));
            let style = Style { is_pretty, ..style };
            for child in children {
                line(is_pretty, depth + 1, out);
                node(tree, *child, style, depth + 1, out);
            }
            line(is_pretty, depth, out);
            out.push_str("</");
            out.push_str(&name);
            out.push('>');
        }
    }
}

fn line(is_pretty: bool, depth: usize, out: &mut String) {
    if is_pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn value(text: &str, style: Style, out: &mut String) {
    out.push_str("=\"");
    escaped(text, true, style, out);
    out.push('"');
}

fn escaped(text: &str, is_attribute: bool, style: Style, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '"' if is_attribute => out.push_str("&quot;"),
            '\n' if is_attribute => out.push_str("&#10;"),
            '\t' if is_attribute => out.push_str("&#9;"),
            letter if style.is_ascii && !letter.is_ascii() => {
                out.push_str(&format!("&#{};", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
}
