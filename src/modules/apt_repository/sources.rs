//! apt's lists of sources, line by line. Pure.

use indexmap::IndexMap;

const TYPES: [&str; 2] = ["deb", "deb-src"];

/// Files of sources, each line taken apart.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: IndexMap<String, Vec<Source>>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) is_valid: bool,
    pub(super) is_enabled: bool,
    pub(super) text: String,
    comment: String,
}

impl Source {
    /// Reads a line; a source has single blanks after that.
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim();
        let (is_enabled, line) = match line.strip_prefix('#') {
            Some(rest) => (false, rest),
            None => (true, line),
        };
        let (line, comment) = match line.find('#') {
            Some(at) if at > 0 => (&line[..at], line[at + 1..].trim()),
            _ => (line, ""),
        };
        let words: Vec<_> = line.split_whitespace().collect();
        let is_valid = words.first().is_some_and(|word| TYPES.contains(word));
        Self {
            is_valid,
            is_enabled,
            text: if is_valid {
                words.join(" ")
            } else {
                line.trim().to_owned()
            },
            comment: comment.to_owned(),
        }
    }

    fn render(&self) -> String {
        let mut line = String::new();
        if !self.is_enabled {
            line.push_str("# ");
        }
        line.push_str(&self.text);
        if !self.comment.is_empty() {
            line.push_str(" # ");
            line.push_str(&self.comment);
        }
        line.push('\n');
        line
    }
}

impl Sources {
    pub(super) fn load(&mut self, file: &str, text: &str) {
        let lines = text.lines().map(Source::parse).collect();
        self.files.insert(file.to_owned(), lines);
    }

    /// Tells whether the source is known and not commented out.
    pub(super) fn has(&self, line: &str) -> bool {
        let is_it = |source: &Source| source.is_valid && source.is_enabled && source.text == line;
        self.files.values().flatten().any(is_it)
    }

    /// Enables the source wherever it stands, or adds it to `file`.
    pub(super) fn add(&mut self, line: &str, file: &str) {
        let mut is_found = false;
        for source in self.files.values_mut().flatten() {
            if source.is_valid && source.text == line {
                source.is_enabled = true;
                is_found = true;
            }
        }
        if !is_found {
            let lines = self.files.entry(file.to_owned()).or_default();
            lines.push(Source {
                is_valid: true,
                is_enabled: true,
                text: line.to_owned(),
                comment: String::new(),
            });
        }
    }

    /// Removes the source wherever it stands and is not commented out.
    pub(super) fn remove(&mut self, line: &str) {
        for lines in self.files.values_mut() {
            lines.retain(|source| !(source.is_valid && source.is_enabled && source.text == line));
        }
    }

    /// Returns each file that has lines, as it would be written.
    pub(super) fn dump(&self) -> IndexMap<String, String> {
        self.files
            .iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(file, lines)| (file.clone(), lines.iter().map(Source::render).collect()))
            .collect()
    }
}

/// Makes a file's name of a source line: its address without protocol, options and login.
pub(super) fn suggested_name(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        rest = match after.split_once(']') {
            Some((inside, after)) if !inside.is_empty() => after,
            _ => after,
        };
    }
    text.push_str(rest);
    let mut words = text.split_whitespace().filter(|word| !TYPES.contains(word));
    let address = words.next().unwrap_or_default();
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest);
    let parts: Vec<_> = address
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect();
    format!("{}.list", parts.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_enabled_where_it_stands_commented_out() {
        let mut sources = Sources::default();
        sources.load("/l", "#deb  http://x a b # why\n\n# note\n");
        assert!(!sources.has("deb http://x a b"));
        sources.add("deb http://x a b", "/new");
        let text = sources.dump();
        assert_eq!(
            text.get("/l").unwrap(),
            "deb http://x a b # why\n\n# note\n"
        );
        assert_eq!(text.len(), 1);
        sources.remove("deb http://x a b");
        assert_eq!(sources.dump().get("/l").unwrap(), "\n# note\n");
    }

    #[test]
    fn a_files_name_is_made_of_the_address() {
        for (line, name) in [
            (
                "deb http://dl.google.com/linux/chrome/deb/ stable main",
                "dl_google_com_linux_chrome_deb.list",
            ),
            ("deb [arch=amd64 a=b] https://u:p@x.org/y z", "x_org_y.list"),
            ("ppa:nginx/stable_noble", "ppa_nginx_stable_noble.list"),
        ] {
            assert_eq!(suggested_name(line), name);
        }
    }
}
