//! URLs as texts: their parts, what is shown of them, and where a redirect leads.

/// The parts of a URL; each is a slice of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::modules) struct Address<'a> {
    pub(in crate::modules) scheme: &'a str,
    /// `user:password`, without the `@`.
    pub(in crate::modules) user_info: Option<&'a str>,
    /// `host:port`.
    pub(in crate::modules) host_port: &'a str,
    /// With its slash, without query and fragment.
    pub(in crate::modules) path: &'a str,
    /// With its question mark.
    pub(in crate::modules) query: &'a str,
}

impl<'a> Address<'a> {
    /// Takes a URL apart; a text without scheme is all path.
    pub(in crate::modules) fn new(url: &'a str) -> Self {
        let url = url.split('#').next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, rest) = if scheme.is_empty() {
            ("", rest)
        } else {
            rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
        };
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (user_info, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        Self {
            scheme,
            user_info,
            host_port,
            path,
            query,
        }
    }

    /// Returns the host without its port and brackets.
    pub(in crate::modules) fn host(&self) -> &'a str {
        match self.host_port.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host_port.split(':').next().unwrap_or_default(),
        }
    }

    /// Returns the last part of the path; nothing for a path that ends with a slash.
    pub(in crate::modules) fn file_name(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the URL without user and fragment.
    pub(in crate::modules) fn bare(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { self.path };
        format!("{}://{}{path}{}", self.scheme, self.host_port, self.query)
    }
}

/// Returns a URL with user and password hidden.
pub(in crate::modules) fn masked(url: &str) -> String {
    match Address::new(url).user_info {
        Some(user_info) if !user_info.is_empty() => {
            let mask = if user_info.contains(':') {
                "****:****"
            } else {
                "****"
            };
            url.replacen(&format!("{user_info}@"), &format!("{mask}@"), 1)
        }
        _ => url.to_owned(),
    }
}

/// Returns where `location` leads from `base`, as `urljoin` does.
pub(in crate::modules) fn join(base: &str, location: &str) -> String {
    let location = location.replace(' ', "%20");
    if location.contains("://") {
        return location;
    }
    let from = Address::new(base);
    let root = |rest: &str| match from.user_info {
        Some(user_info) => format!("{}://{user_info}@{}{rest}", from.scheme, from.host_port),
        None => format!("{}://{}{rest}", from.scheme, from.host_port),
    };
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}://{rest}", from.scheme);
    }
    if location.starts_with('/') {
        return root(&without_dots(&location));
    }
    if location.starts_with('?') {
        return root(&format!("{}{location}", from.path));
    }
    let directory = from.path.rfind('/').map_or("/", |end| &from.path[..=end]);
    root(&without_dots(&format!("{directory}{location}")))
}

/// Resolves `.` and `..` in a path; what follows a question mark stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut parts: Vec<&str> = Vec::new();
    let all: Vec<&str> = path.split('/').skip(1).collect();
    for (index, part) in all.iter().enumerate() {
        let is_last = index + 1 == all.len();
        match *part {
            "." if is_last => parts.push(""),
            "." => {}
            ".." => {
                parts.pop();
                if is_last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

/// Decodes `%41`; what is no such escape stays, and foreign bytes become U+FFFD.
pub(in crate::modules) fn unquote(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let address = Address::new("https://me:pw@h:81/a/b.txt?x=1#f");
        assert_eq!(address.scheme, "https");
        assert_eq!(address.user_info, Some("me:pw"));
        assert_eq!((address.host_port, address.host()), ("h:81", "h"));
        assert_eq!((address.path, address.query), ("/a/b.txt", "?x=1"));
        assert_eq!(address.file_name(), "b.txt");
        assert_eq!(address.bare(), "https://h:81/a/b.txt?x=1");
        assert_eq!(Address::new("http://[::1]:8080").host(), "::1");
        assert_eq!(Address::new("http://h?q").bare(), "http://h/?q");
    }

    #[test]
    fn secrets_in_a_url_are_masked() {
        assert_eq!(masked("http://me:pw@h/x"), "http://****:****@h/x");
        assert_eq!(masked("http://me@h/x"), "http://****@h/x");
        assert_eq!(masked("http://h/x@y"), "http://h/x@y");
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        for (location, target) in [
            ("http://o/x", "http://o/x"),
            ("/x", "http://h/x"),
            ("x", "http://h/a/x"),
            ("../x?q", "http://h/x?q"),
            ("?q", "http://h/a/b?q"),
            ("//o/x", "http://o/x"),
            ("x y", "http://h/a/x%20y"),
        ] {
            assert_eq!(join("http://h/a/b", location), target, "{location}");
        }
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(unquote("a%20b%2"), "a b%2");
        assert_eq!(unquote("%C3%A9%ff"), "é\u{fffd}");
    }
}
