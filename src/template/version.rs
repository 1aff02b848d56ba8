//! Version numbers compared as Python's `LooseVersion` and `StrictVersion`, Semantic Versioning
//! and PEP 440 compare them. Pure; the error is the reason in Python's words.

use std::cmp::Ordering;

/// Which rules compare two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Loose,
    Strict,
    Semantic,
    Pep440,
}

impl Kind {
    /// Returns the rules of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "loose" => Self::Loose,
            "strict" => Self::Strict,
            "semver" | "semantic" => Self::Semantic,
            "pep440" => Self::Pep440,
            _ => return None,
        })
    }
}

/// Compares two versions.
pub(super) fn compare(a: &str, b: &str, kind: Kind) -> Result<Ordering, String> {
    match kind {
        Kind::Loose => compare_loose(a, b),
        Kind::Strict => Ok(strict(a)?.cmp(&strict(b)?)),
        Kind::Semantic => Ok(semantic(a)?.cmp(&semantic(b)?)),
        Kind::Pep440 => Ok(pep440(a)?.cmp(&pep440(b)?)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Number(u128),
    Word(String),
}

fn loose(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '.' {
            rest = &rest[1..];
            continue;
        }
        let same: fn(char) -> bool = match first {
            c if c.is_ascii_digit() => |c| c.is_ascii_digit(),
            c if c.is_ascii_lowercase() => |c| c.is_ascii_lowercase(),
            _ => |c| !c.is_ascii_digit() && !c.is_ascii_lowercase() && c != '.',
        };
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Word(part.to_owned()),
        });
        rest = after;
    }
    parts
}

fn compare_loose(a: &str, b: &str) -> Result<Ordering, String> {
    let (a, b) = (loose(a), loose(b));
    for (a, b) in a.iter().zip(&b) {
        let ordering = match (a, b) {
            (Part::Number(a), Part::Number(b)) => a.cmp(b),
            (Part::Word(a), Part::Word(b)) => a.cmp(b),
            (Part::Number(_), Part::Word(_)) => {
                return Err("'<' not supported between instances of 'int' and 'str'".into());
            }
            (Part::Word(_), Part::Number(_)) => {
                return Err("'<' not supported between instances of 'str' and 'int'".into());
            }
        };
        if ordering.is_ne() {
            return Ok(ordering);
        }
    }
    Ok(a.len().cmp(&b.len()))
}

type Strict = ([u128; 3], bool, Option<(char, u128)>);

/// `N.N[.N][aN|bN]`; a version without a suffix is later than the same with one.
fn strict(text: &str) -> Result<Strict, String> {
    let wrong = || format!("invalid version number '{text}'");
    let (numbers, suffix) = match text.find(['a', 'b']) {
        Some(at) => {
            let letter = if text.as_bytes()[at] == b'a' {
                'a'
            } else {
                'b'
            };
            let number = text[at + 1..].parse().map_err(|_| wrong())?;
            (&text[..at], Some((letter, number)))
        }
        None => (text, None),
    };
    let parts: Vec<u128> = numbers
        .split('.')
        .map(|part| part.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    match parts[..] {
        [major, minor] => Ok(([major, minor, 0], suffix.is_none(), suffix)),
        [major, minor, patch] => Ok(([major, minor, patch], suffix.is_none(), suffix)),
        _ => Err(wrong()),
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u128),
    Word(String),
}

fn semantic(text: &str) -> Result<([u128; 3], bool, Vec<Identifier>), String> {
    let wrong = || format!("invalid semantic version '{text}'");
    let core = text.split('+').next().unwrap_or_default();
    let (numbers, prerelease) = match core.split_once('-') {
        Some((numbers, prerelease)) => (numbers, Some(prerelease)),
        None => (core, None),
    };
    let parts: Vec<u128> = numbers
        .split('.')
        .map(|part| {
            let leading_zero = part.len() > 1 && part.starts_with('0');
            part.parse()
                .ok()
                .filter(|_| !leading_zero)
                .ok_or_else(wrong)
        })
        .collect::<Result<_, _>>()?;
    let parts: [u128; 3] = parts.try_into().map_err(|_| wrong())?;
    let identifiers = match prerelease {
        None => Vec::new(),
        Some(prerelease) => prerelease
            .split('.')
            .map(|identifier| match identifier.parse() {
                _ if identifier.is_empty() => Err(wrong()),
                Ok(number) => Ok(Identifier::Number(number)),
                Err(_) => Ok(Identifier::Word(identifier.to_owned())),
            })
            .collect::<Result<_, _>>()?,
    };
    Ok((parts, prerelease.is_none(), identifiers))
}

/// The order of PEP 440: epoch, release without trailing zeros, then dev, pre, final, post.
type Pep440 = (
    u128,
    Vec<u128>,
    (i8, u128),
    (i8, u128),
    (i8, u128),
    Vec<Identifier>,
);

fn pep440(text: &str) -> Result<Pep440, String> {
    let wrong = || format!("Invalid version: '{text}'");
    let lower = text.trim().to_lowercase();
    let lower = lower.strip_prefix('v').unwrap_or(&lower);
    let (public, local) = lower.split_once('+').unwrap_or((lower, ""));
    let (epoch, rest) = match public.split_once('!') {
        Some((epoch, rest)) => (epoch.parse().map_err(|_| wrong())?, rest),
        None => (0, public),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (numbers, mut suffix) = rest.split_at(end);
    let mut release: Vec<u128> = numbers
        .trim_end_matches('.')
        .split('.')
        .map(|part| part.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    while release.len() > 1 && release.last() == Some(&0) {
        release.pop();
    }
    let (mut pre, mut post, mut dev) = (None, None, None);
    while !suffix.is_empty() {
        suffix = suffix.trim_start_matches(['.', '-', '_']);
        let letters = suffix
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(suffix.len());
        let (word, after) = suffix.split_at(letters);
        let after = after.trim_start_matches(['.', '-', '_']);
        let digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let number = after[..digits].parse().unwrap_or(0);
        match word {
            "a" | "alpha" => pre = Some((1, number)),
            "b" | "beta" => pre = Some((2, number)),
            "rc" | "c" | "pre" | "preview" => pre = Some((3, number)),
            "post" | "rev" | "r" => post = Some(number),
            "" if digits > 0 => post = Some(number),
            "dev" => dev = Some(number),
            _ => return Err(wrong()),
        }
        suffix = &after[digits..];
    }
    let pre = match (pre, post, dev) {
        (Some(pre), _, _) => pre,
        (None, None, Some(_)) => (0, 0),
        _ => (4, 0),
    };
    let local = local
        .split(['.', '-', '_'])
        .filter(|part| !part.is_empty())
        .map(|part| match part.parse() {
            Ok(number) => Identifier::Number(number),
            Err(_) => Identifier::Word(part.to_owned()),
        })
        .collect();
    Ok((
        epoch,
        release,
        pre,
        post.map_or((0, 0), |post| (1, post)),
        dev.map_or((1, 0), |dev| (0, dev)),
        local,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(kind: Kind, versions: &[&str]) {
        for pair in versions.windows(2) {
            assert_eq!(
                compare(pair[0], pair[1], kind),
                Ok(Ordering::Less),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn each_kind_orders_by_its_own_rules() {
        order(Kind::Loose, &["1.2", "1.2.1", "1.10", "2.0rc1", "3"]);
        order(Kind::Strict, &["0.4a1", "0.4b2", "0.4", "0.5"]);
        order(
            Kind::Semantic,
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-beta",
                "1.0.0",
                "1.0.1",
            ],
        );
        order(
            Kind::Pep440,
            &[
                "1.0.dev1",
                "1.0a1",
                "1.0rc1",
                "1.0",
                "1.0.post1",
                "1.1",
                "1!0.1",
            ],
        );
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        assert_eq!(
            compare("1.a", "1.2", Kind::Loose),
            Err("'<' not supported between instances of 'str' and 'int'".into())
        );
        assert_eq!(
            compare("1", "1.2", Kind::Strict),
            Err("invalid version number '1'".into())
        );
    }
}
