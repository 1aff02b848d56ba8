//! The filter `urlize`: addresses in a text become links.

use super::super::call::Call;
use super::text::escape;
use super::{Filter, data};
use crate::pyregex::{Flags, Pattern};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[data(
    "urlize",
    "trim_url_limit nofollow target rel extra_schemes",
    urlize,
)];

/// An address on the web, with or without its scheme.
const WEB: &str = r"^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))(?::[\d]{1,5})?(?:[/?#]\S*)?$";
const MAIL: &str = r"^\S+@\w[\w.-]*\.\w+$";
const WORDS: &str = r"\s+|\S+";
const HEAD: &str = r"^([(<]|&lt;)+";
const TAIL: &str = r"([)>.,\n]|&gt;)+$";
const BRACKETS: [(&str, &str); 3] = [("(", ")"), ("<", ">"), ("&lt;", "&gt;")];

fn urlize(call: &Call<'_>) -> Result<Value, String> {
    let mut rel: Vec<String> = call.text_at(3).map_or_else(Vec::new, |rel| {
        rel.split_whitespace().map(str::to_owned).collect()
    });
    if call.flag(1, false) {
        rel.push("nofollow".into());
    }
    rel.push("noopener".into());
    rel.sort();
    rel.dedup();
    let target = call.text_at(2).filter(|target| !target.is_empty());
    let target = target.map_or_else(String::new, |target| {
        format!(" target=\"{}\"", escape(&target))
    });
    let schemes = call.given(4).and_then(Value::as_list).unwrap_or_default();
    let links = Links {
        attributes: format!(" rel=\"{}\"{target}", escape(&rel.join(" "))),
        limit: call
            .given(0)
            .and_then(Value::as_int)
            .and_then(|limit| usize::try_from(limit).ok()),
        schemes: schemes.iter().map(Value::to_string).collect(),
        web: pattern(WEB, true)?,
        mail: pattern(MAIL, false)?,
        head: pattern(HEAD, false)?,
        tail: pattern(TAIL, false)?,
    };
    let text = escape(&call.text());
    let words = pattern(WORDS, false)?;
    let words = words
        .find_all(text.as_str())
        .map_err(|error| error.to_string())?;
    words
        .iter()
        .filter_map(|word| word.span(0))
        .map(|span| links.word(&text[span]))
        .collect::<Result<String, _>>()
        .map(Value::from)
}

fn pattern(text: &str, ignore_case: bool) -> Result<Pattern, String> {
    let flags = Flags {
        ignore_case,
        ..Flags::default()
    };
    Pattern::text(text, flags).map_err(|error| error.to_string())
}

struct Links {
    /// What each link to the web has beside its address.
    attributes: String,
    limit: Option<usize>,
    schemes: Vec<String>,
    web: Pattern,
    mail: Pattern,
    head: Pattern,
    tail: Pattern,
}

impl Links {
    /// Links a word, apart from the brackets and the punctuation around it.
    fn word(&self, word: &str) -> Result<String, String> {
        let found = |pattern: &Pattern, text: &str| {
            let found = pattern.search(text).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.and_then(|found| found.span(0)))
        };
        let head = found(&self.head, word)?.map_or(0, |span| span.end);
        let (head, rest) = word.split_at(head);
        let tail = found(&self.tail, rest)?.map_or(rest.len(), |span| span.start);
        let (middle, tail) = rest.split_at(tail);
        let (mut middle, mut tail) = (middle.to_owned(), tail.to_owned());
        for (open, close) in BRACKETS {
            let opened = middle.matches(open).count();
            if opened <= middle.matches(close).count() {
                continue;
            }
            for _ in 0..opened.min(tail.matches(close).count()) {
                let end = tail.find(close).map_or(0, |at| at + close.len());
                middle.extend(tail.drain(..end));
            }
        }
        let attributes = &self.attributes;
        let linked = if found(&self.web, &middle)?.is_some() {
            let shown = self.trimmed(&middle);
            let has_scheme = middle.starts_with("https://") || middle.starts_with("http://");
            let scheme = if has_scheme { "" } else { "https://" };
            format!("<a href=\"{scheme}{middle}\"{attributes}>{shown}</a>")
        } else if let Some(address) = middle.strip_prefix("mailto:")
            && found(&self.mail, address)?.is_some()
        {
            format!("<a href=\"{middle}\">{address}</a>")
        } else if middle.contains('@')
            && !middle.starts_with("www.")
            && !middle.starts_with('@')
            && !middle.contains(':')
            && found(&self.mail, &middle)?.is_some()
        {
            format!("<a href=\"mailto:{middle}\">{middle}</a>")
        } else {
            self.of_other_scheme(middle)
        };
        Ok(format!("{head}{linked}{tail}"))
    }

    fn of_other_scheme(&self, middle: String) -> String {
        let attributes = &self.attributes;
        let is_one = |scheme: &String| *scheme != middle && middle.starts_with(scheme.as_str());
        if self.schemes.iter().any(is_one) {
            return format!("<a href=\"{middle}\"{attributes}>{middle}</a>");
        }
        middle
    }

    fn trimmed(&self, text: &str) -> String {
        match self.limit {
            Some(limit) if text.chars().count() > limit => {
                text.chars().take(limit).collect::<String>() + "..."
            }
            _ => text.to_owned(),
        }
    }
}
