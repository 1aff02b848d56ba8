//! Who a request comes from: basic and digest authentication, and `~/.netrc`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::machine::{Algorithm, Machine};

/// Returns the header for `user:password`.
pub(in crate::modules) fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

/// Answers a challenge (`WWW-Authenticate`); `None` when it asks for something unknown.
pub(super) fn answer(
    challenges: &[String],
    credentials: &str,
    method: &str,
    target: &str,
) -> Option<String> {
    let scheme = |name: &str| {
        challenges.iter().find_map(|challenge| {
            let (scheme, rest) = challenge.trim().split_once(' ').unwrap_or((challenge, ""));
            scheme.eq_ignore_ascii_case(name).then_some(rest)
        })
    };
    if let Some(parameters) = scheme("digest") {
        return digest(parameters, credentials, method, target);
    }
    scheme("basic").map(|_| basic(credentials))
}

/// Answers a digest challenge (RFC 7616) with MD5, SHA or SHA-256.
fn digest(parameters: &str, credentials: &str, method: &str, target: &str) -> Option<String> {
    let (user, password) = credentials.split_once(':')?;
    let value = |name: &str| parameter(parameters, name);
    let (realm, nonce) = (value("realm")?, value("nonce")?);
    let algorithm_name = value("algorithm").unwrap_or_else(|| "MD5".into());
    let algorithm = match algorithm_name.to_uppercase().as_str() {
        "MD5" => Algorithm::Md5,
        "SHA" => Algorithm::Sha1,
        "SHA-256" => Algorithm::Sha256,
        _ => return None,
    };
    let hash = |text: String| algorithm.of(text.as_bytes());
    let secret = hash(format!("{user}:{realm}:{password}"));
    let request = hash(format!("{method}:{target}"));
    let has_quality =
        value("qop").is_some_and(|list| list.split(',').any(|quality| quality.trim() == "auth"));
    let response = if has_quality {
        let own = format!("{:016x}", rand::random::<u64>());
        let response = hash(format!("{secret}:{nonce}:00000001:{own}:auth:{request}"));
        format!("response=\"{response}\", qop=auth, nc=00000001, cnonce=\"{own}\"")
    } else {
        let response = hash(format!("{secret}:{nonce}:{request}"));
        format!("response=\"{response}\"")
    };
    let opaque =
        value("opaque").map_or_else(String::new, |opaque| format!(", opaque=\"{opaque}\""));
    Some(format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", \
         {response}{opaque}, algorithm={algorithm_name}"
    ))
}

/// Returns a parameter of a header such as `a="b, c", d=e`.
pub(super) fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((name, after)) = rest.split_once('=') {
        let name =
            name.trim_matches(|letter: char| letter.is_whitespace() || ",;".contains(letter));
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after
                .find([',', ';'])
                .map_or((after, ""), |end| after.split_at(end)),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

/// Returns `user:password` for a host from the user's netrc file.
pub(super) fn from_netrc(machine: &mut Machine, host: &str) -> Option<String> {
    let path = machine
        .variable("NETRC")
        .unwrap_or_else(|| "~/.netrc".into());
    let path = machine.expand(path.as_ref());
    let text = String::from_utf8(machine.read(&path).ok()?).ok()?;
    parse_netrc(&text, host)
}

fn parse_netrc(text: &str, host: &str) -> Option<String> {
    let lines = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with('#') => "",
        line => line,
    });
    let mut words = lines.flat_map(str::split_whitespace);
    let (mut applies, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" if applies && login.is_some() => break,
            "machine" => applies = words.next() == Some(host),
            "default" => applies = true,
            "login" | "user" if applies => login = words.next(),
            "password" if applies => password = words.next(),
            _ => {}
        }
    }
    Some(format!("{}:{}", login?, password?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7616, section 3.9.1, with the client's nonce left to us.
    #[test]
    fn a_digest_challenge_is_answered() {
        let challenge = "Digest realm=\"http-auth@example.org\", algorithm=MD5, \
                         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\"";
        let answer = answer(
            &[challenge.into()],
            "Mufasa:Circle of Life",
            "GET",
            "/dir/index.html",
        )
        .unwrap();
        let secret = Algorithm::Md5.of(b"Mufasa:http-auth@example.org:Circle of Life");
        assert_eq!(secret, "3d78807defe7de2157e2b0b6573a855f");
        let request = Algorithm::Md5.of(b"GET:/dir/index.html");
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let response = Algorithm::Md5.of(format!("{secret}:{nonce}:{request}").as_bytes());
        assert_eq!(parameter(&answer, "response"), Some(response));
        assert_eq!(parameter(&answer, "uri"), Some("/dir/index.html".into()));
    }

    #[test]
    fn the_first_login_of_a_host_or_the_default_is_used() {
        let text = "# mine\nmachine a login x password y\nmachine b\n login u\n password p\ndefault login d password e\n";
        assert_eq!(parse_netrc(text, "a"), Some("x:y".into()));
        assert_eq!(parse_netrc(text, "b"), Some("u:p".into()));
        assert_eq!(parse_netrc(text, "c"), Some("d:e".into()));
        assert_eq!(parse_netrc("machine a login x", "a"), None);
    }
}
