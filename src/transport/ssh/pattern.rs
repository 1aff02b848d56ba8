//! The host patterns of `known_hosts` and `ssh_config`: `*`, `?`, and lists with negation.

/// Returns whether a pattern list matches `text`: one pattern does, and no `!pattern` does.
/// Letter case does not matter.
pub(super) fn list_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated, text) => return false,
            Some(_) => {}
            None => matched |= matches(pattern, text),
        }
    }
    matched
}

/// Returns whether `pattern` matches the whole of `text`, ignoring letter case.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern = pattern.to_lowercase().into_bytes();
    let text = text.to_lowercase().into_bytes();
    let (mut p, mut t) = (0, 0);
    // Where to go on when a guess about the last `*` fails.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, start)) = retry else {
                    return false;
                };
                retry = Some((star, start + 1));
                p = star + 1;
                t = start + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_ssh() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*.org", "a.b.org", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("WEB", "web", true),
            ("[web]:22", "[web]:22", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_negated_match_rules_the_list_out() {
        assert!(list_matches(["*", "!db*"], "web1"));
        assert!(!list_matches(["*", "!db*"], "db1"));
        assert!(!list_matches(["!db*"], "web1"));
    }
}
