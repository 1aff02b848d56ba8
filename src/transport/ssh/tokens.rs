//! The percent tokens of `ssh_config` values: `%h`, `%p` and friends.

/// What the tokens stand for, for one host.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// `%h`: what is connected to.
    pub(super) host: String,
    /// `%n`: the host as the user named it.
    pub(super) original: String,
    pub(super) port: u16,
    /// `%r`: the remote user.
    pub(super) user: String,
    /// `%u`: the local user.
    pub(super) local_user: String,
    /// `%d`: the local user's home directory.
    pub(super) home: String,
    /// `%k`: the host key alias, or the host as named.
    pub(super) key_alias: String,
    /// `%j`: the jump host.
    pub(super) jump: String,
}

impl Tokens {
    /// Replaces the tokens in `text`. An unknown one is an error.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some('h') => expanded.push_str(&self.host),
                Some('n') => expanded.push_str(&self.original),
                Some('p') => expanded.push_str(&self.port.to_string()),
                Some('r') => expanded.push_str(&self.user),
                Some('u') => expanded.push_str(&self.local_user),
                Some('d') => expanded.push_str(&self.home),
                Some('k') => expanded.push_str(&self.key_alias),
                Some('j') => expanded.push_str(&self.jump),
                Some('i') => expanded.push_str(&rustix::process::getuid().to_string()),
                Some(other) => return Err(format!("`%{other}` is not a token known here")),
                None => return Err("it ends in `%`".to_owned()),
            }
        }
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_and_unknown_ones_refused() {
        let tokens = Tokens {
            host: "10.0.0.1".into(),
            original: "web1".into(),
            port: 2222,
            user: "deploy".into(),
            local_user: "ann".into(),
            home: "/home/ann".into(),
            key_alias: "web".into(),
            jump: String::new(),
        };
        assert_eq!(
            tokens.expand("%n=%h:%p %r@%u %d %k 100%%").as_deref(),
            Ok("web1=10.0.0.1:2222 deploy@ann /home/ann web 100%")
        );
        assert_eq!(
            tokens.expand("%Z"),
            Err("`%Z` is not a token known here".to_owned())
        );
    }
}
