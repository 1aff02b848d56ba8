//! What `zypper --xmlout` prints: elements, attributes and texts. Pure.
//!
//! Reads what a program writes of itself, not every document: no types, no namespaces.

use super::super::xml::letter;

/// An element, with the one it stands in.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    /// The name of the element around it.
    pub(super) parent: String,
    attributes: Vec<(String, String)>,
    /// The text that stands in it directly.
    pub(super) text: String,
}

impl Element {
    /// Returns an attribute, or nothing of it.
    pub(super) fn attribute(&self, name: &str) -> &str {
        let mut all = self.attributes.iter();
        all.find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// Reads all elements, each where it ends; says what is wrong with a text that is none.
pub(super) fn elements(text: &str) -> Result<Vec<Element>, String> {
    let mut done = Vec::new();
    let mut open: Vec<Element> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        if let Some(element) = open.last_mut() {
            element.text.push_str(&plain(&rest[..start]));
        }
        rest = &rest[start..];
        if let Some(after) = rest.strip_prefix("<![CDATA[") {
            let (inside, after) = ended(after, "]]>")?;
            if let Some(element) = open.last_mut() {
                element.text.push_str(inside);
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("<!--") {
            rest = ended(after, "-->")?.1;
        } else if rest.starts_with("<?") || rest.starts_with("<!") {
            rest = ended(rest, ">")?.1;
        } else if let Some(after) = rest.strip_prefix("</") {
            let (name, after) = ended(after, ">")?;
            let element = open.pop().filter(|element| element.name == name.trim());
            done.push(element.ok_or_else(|| format!("mismatched tag: </{name}>"))?);
            rest = after;
        } else {
            let (element, is_empty, after) = opened(&rest[1..], open.last())?;
            if is_empty {
                done.push(element);
            } else {
                open.push(element);
            }
            rest = after;
        }
    }
    match open.pop() {
        Some(element) => Err(format!("no end of <{}>", element.name)),
        None if done.is_empty() => Err("no element found".into()),
        None => Ok(done),
    }
}

fn ended<'a>(text: &'a str, end: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(end)
        .ok_or_else(|| format!("no end of a tag: {end}"))
}

fn opened<'a>(text: &'a str, around: Option<&Element>) -> Result<(Element, bool, &'a str), String> {
    let end = text.find(|letter: char| letter.is_whitespace() || "/>".contains(letter));
    let end = end.ok_or("no end of a tag: >")?;
    let mut element = Element {
        name: text[..end].to_owned(),
        parent: around.map_or(String::new(), |it| it.name.clone()),
        ..Element::default()
    };
    let mut rest = text[end..].trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("/>") {
            return Ok((element, true, after));
        }
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((element, false, after));
        }
        let wrong = || format!("not well-formed: <{}", element.name);
        let (name, after) = rest.split_once('=').ok_or_else(wrong)?;
        let after = after.trim_start();
        let quote = after
            .chars()
            .next()
            .filter(|letter| "\"'".contains(*letter));
        let quote = quote.ok_or_else(wrong)?;
        let (value, after) = after[1..].split_once(quote).ok_or_else(wrong)?;
        let attribute = (name.trim().to_owned(), plain(value));
        element.attributes.push(attribute);
        rest = after.trim_start();
    }
}

/// Puts letters in for `&amp;` and its like.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let Some((name, after)) = after.split_once(';') else {
            out.push('&');
            rest = after;
            continue;
        };
        // What stands for no letter stays as it is.
        let letter = letter(name).ok().flatten();
        match letter {
            Some(letter) => out.push(letter),
            None => out.push_str(&format!("&{name};")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_what_they_stand_in() {
        let text = "<?xml version='1.0'?>\n<stream><!-- a > b -->\n<message type=\"info\">a &lt; \
                    b &#39;c&#x27;</message><to-install><solvable name='x&amp;y' edition=\"1 > \
                    0\"/></to-install><url><![CDATA[<raw>]]></url></stream>\n";
        let all = elements(text).unwrap();
        let shown: Vec<_> = all
            .iter()
            .map(|it| format!("{}/{} {}", it.parent, it.name, it.text.trim()))
            .collect();
        assert_eq!(
            shown,
            [
                "stream/message a < b 'c'",
                "to-install/solvable ",
                "stream/to-install ",
                "stream/url <raw>",
                "/stream ",
            ]
        );
        assert_eq!(all[1].attribute("name"), "x&y");
        assert_eq!(all[1].attribute("edition"), "1 > 0");
        assert_eq!(all[1].attribute("none"), "");
    }

    #[test]
    fn what_is_no_such_text_is_said() {
        for (text, why) in [
            ("", "no element found"),
            ("zypper: not found", "no element found"),
            ("<a><b></a>", "mismatched tag: </a>"),
            ("<a>", "no end of <a>"),
            ("<a b", "not well-formed: <a"),
            ("<a b=c>", "not well-formed: <a"),
            ("<a", "no end of a tag: >"),
        ] {
            assert_eq!(elements(text).unwrap_err(), why, "{text}");
        }
    }
}
