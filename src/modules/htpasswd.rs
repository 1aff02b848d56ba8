//! `htpasswd`: one user of a file of passwords for web servers.

use std::path::{Path, PathBuf};

use base64::Engine;

use crate::arguments::FileAttributes;
use crate::crypt::{self, random_salt};
use crate::machine::{Content, Follow, Machine, NewFile};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage user files for basic authentication.
    pub(crate) struct HtpasswdArgs for "community.general.htpasswd" with file_attributes {
        /// The file.
        path: PathBuf { required, aliases: ["dest", "destfile"] },
        /// The user.
        name: String { required, aliases: ["username"] },
        password: Option<String> { no_log },
        /// How the password is hashed, in the words of passlib.
        hash_scheme: String { default: "apr_md5_crypt", aliases: ["crypt_scheme"] },
        state: String { default: "present", choices: ["present", "absent"] },
        /// Make a file that is not there.
        create: bool { default: "true" },
    }
}

/// Adds, changes or removes the user.
pub(crate) fn run(machine: &mut Machine, args: HtpasswdArgs) -> ModuleResult {
    let path = machine.expand(&args.path);
    let shown = path.display().to_string();
    let scheme = Scheme::named(&args.hash_scheme)?;
    let exists = machine.exists(&path)?;
    let text = if exists {
        String::from_utf8_lossy(&machine.read(&path)?).into_owned()
    } else {
        String::new()
    };
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    let start = format!("{}:", args.name);
    let at = lines.iter().position(|line| line.starts_with(&start));
    let name = &args.name;
    let (mut msg, mut changed) = if args.state == "absent" {
        if !exists {
            return Ok(Outcome::unchanged()
                .msg(format!("{name} not present"))
                .warn(format!("{shown} does not exist")));
        }
        match at {
            None => (format!("{name} not present"), false),
            Some(at) => {
                lines.remove(at);
                (format!("Remove {name}"), true)
            }
        }
    } else {
        let password = args
            .password
            .as_deref()
            .ok_or_else(|| Failure::new("secret must be unicode or bytes, not None"))?;
        if !exists && !args.create {
            return Err(Failure::new(format!("Destination {shown} does not exist")));
        }
        let line = |at: Option<usize>| at.and_then(|at| lines[at].strip_prefix(&start));
        if line(at).is_some_and(|hash| verifies(password, hash)) {
            (format!("{name} already present"), false)
        } else {
            let new = format!("{start}{}", scheme.hash(password)?);
            match at {
                Some(at) => lines[at] = new,
                None => lines.push(new),
            }
            let msg = match (exists, machine.is_check()) {
                (true, _) => format!("Add/update {name}"),
                (false, true) => format!("Create {shown}"),
                (false, false) => format!("Created {shown} and added {name}"),
            };
            (msg, true)
        }
    };
    let has_blanks = text.lines().any(|line| line.trim().is_empty());
    if changed || has_blanks {
        write(machine, &path, &lines)?;
    }
    if set_attributes(machine, &path, &args.file)? {
        if changed {
            msg += " and ";
        }
        msg += "ownership, perms or SE linux context changed";
        changed = true;
    }
    Ok(Outcome::unchanged().with_changed(changed).msg(msg))
}

fn write(machine: &mut Machine, path: &Path, lines: &[String]) -> Result<(), Failure> {
    let path = machine.real_path(path)?;
    if let Some(directory) = path.parent() {
        machine.create_dir_all(directory, 0o777 & !machine.umask())?;
    }
    let text: String = lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    let content = Content::Bytes(text.into_bytes());
    Ok(machine.write(&path, content, &NewFile::default())?)
}

fn set_attributes(
    machine: &mut Machine,
    path: &Path,
    wanted: &FileAttributes,
) -> Result<bool, Failure> {
    if !machine.exists(path)? {
        return Ok(false);
    }
    let change = machine.apply_file_attributes(path, wanted, Follow::Yes)?;
    Ok(change.changed)
}

/// A way to hash a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    AprMd5,
    Md5,
    Bcrypt,
    LdapSha1,
    Plain,
}

impl Scheme {
    fn named(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "apr_md5_crypt" | "portable" | "portable_apache_22" | "host" | "host_apache_22" => {
                Self::AprMd5
            }
            "md5_crypt" => Self::Md5,
            "bcrypt" | "portable_apache_24" | "host_apache_24" => Self::Bcrypt,
            "ldap_sha1" => Self::LdapSha1,
            "plaintext" => Self::Plain,
            other => {
                return Err(Failure::new(format!(
                    "hash_scheme must be one of apr_md5_crypt, bcrypt, ldap_sha1, md5_crypt, \
                     plaintext, got: {other}"
                )));
            }
        })
    }

    fn hash(self, password: &str) -> Result<String, Failure> {
        let failed = || Failure::new("the password cannot be hashed");
        Ok(match self {
            Self::AprMd5 => crypt::md5(password, &random_salt(8), "$apr1$"),
            Self::Md5 => crypt::md5(password, &random_salt(8), "$1$"),
            Self::Bcrypt => bcrypt::hash_with_result(password, 12)
                .map_err(|_| failed())?
                .format_for_version(bcrypt::Version::TwoY),
            Self::LdapSha1 => ldap_sha1(password),
            Self::Plain => password.to_owned(),
        })
    }
}

/// Tells whether the password is that of the hash, whatever its scheme; of one that is not known
/// here it is not.
fn verifies(password: &str, hash: &str) -> bool {
    let parts: Vec<_> = hash.splitn(4, '$').collect();
    match parts.as_slice() {
        ["", "apr1", salt, _] => crypt::md5(password, salt, "$apr1$") == hash,
        ["", "1", salt, _] => crypt::md5(password, salt, "$1$") == hash,
        ["", "2a" | "2b" | "2x" | "2y", ..] => bcrypt::verify(password, hash).unwrap_or(false),
        _ if hash.starts_with("{SHA}") => ldap_sha1(password) == hash,
        _ => password == hash,
    }
}

fn ldap_sha1(password: &str) -> String {
    use sha1::Digest;
    let digest = sha1::Sha1::digest(password.as_bytes());
    let text = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("{{SHA}}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Target;

    const NAME: &str = "community.general.htpasswd";

    #[test]
    fn sha1_is_that_of_htpasswd() {
        assert_eq!(ldap_sha1("geheim"), "{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=");
    }

    #[test]
    fn a_user_is_added_once_changed_and_removed() {
        let target = Target::new();
        let set = |password: &str| {
            let options = format!(
                r#"{{"path": "$ROOT/users", "name": "me", "password": "{password}", "mode": "0640"}}"#
            );
            target.run(NAME, &options)
        };
        assert_eq!(
            set("one"),
            r#"{"changed":true,"msg":"Created $ROOT/users and added me and ownership, perms or SE linux context changed"}"#
        );
        assert_eq!(
            set("one"),
            r#"{"changed":false,"msg":"me already present"}"#
        );
        assert_eq!(set("two"), r#"{"changed":true,"msg":"Add/update me"}"#);
        assert!(target.read("users").starts_with("me:$apr1$"));
        let gone = r#"{"path": "$ROOT/users", "name": "me", "state": "absent"}"#;
        assert_eq!(
            target.run(NAME, gone),
            r#"{"changed":true,"msg":"Remove me"}"#
        );
        assert_eq!(
            target.run(NAME, gone),
            r#"{"changed":false,"msg":"me not present"}"#
        );
    }

    #[test]
    fn every_scheme_verifies_what_it_hashed() {
        for name in ["apr_md5_crypt", "md5_crypt", "ldap_sha1", "plaintext"] {
            let hash = Scheme::named(name).unwrap().hash("geheim").unwrap();
            assert!(verifies("geheim", &hash), "{name} {hash}");
            assert!(!verifies("other", &hash), "{name}");
        }
        let hash = bcrypt::hash("geheim", 4).unwrap();
        assert!(verifies("geheim", &hash) && !verifies("other", &hash));
        assert!(Scheme::named("rot13").is_err());
    }
}
