//! The text that finds or places the agent on a target, for any POSIX `sh`.
//!
//! It runs inside one pair of single quotes whatever the login shell is, so it holds no single
//! quote, no backslash, no exclamation mark and no line break.
//!
//! Trust: the agent is only ever run from a directory that is ours alone. The script enters the
//! directory and looks at `.` (owner, mode `0700`, no ACL), so nobody can swap it between check and
//! use, and nobody else can have put a file there. Against damage, the agent hashes its own open
//! executable before it does anything else, once a day; a fresh upload is hashed by `sha256sum` too, where
//! there is one. Places that are `noexec` or cannot hold the file are found by trying.

use std::fmt::Write;

use super::binary::Binary;

/// Returns the script for the known binaries; `marker` is fresh and made of hexadecimal digits.
pub(super) fn script(marker: &str, binaries: &[&Binary]) -> String {
    let mut cpus = String::new();
    for binary in binaries {
        write!(
            cpus,
            r#""Linux {}")S={};Z={};;"#,
            binary.cpu, binary.sha256, binary.size
        )
        .expect("writing to a string cannot fail");
    }
    let mut text = format!("M={marker};P=$(pwd);O=$(umask);umask 077;");
    text += "[ -t 0 ]&&stty raw -echo;";
    text += r#"case "$(uname -sm)" in "#;
    text += &cpus;
    text += r#"*)echo "$M arch $(uname -sm)";exit 1;;esac;"#;
    text += ENTER;
    text += FIND;
    text += PLACE;
    text
}

/// Functions: enter a directory that is ours alone; become the agent in it, whose tasks find the
/// login directory in their environment.
const ENTER: &str = concat!(
    r#"U=$(id -u);"#,
    r#"own(){ [ -n "$1" ]&&cd -P "$1" 2>/dev/null||return 1;set -- $(ls -ldn .);"#,
    r#"case "$1 $3" in "drwx------ $U"|"drwx------. $U")return 0;;esac;return 1;};"#,
    r#"go(){ umask $O;unset OLDPWD;PWD=$P exec "./$S" agent --marker $M --sha256 $S --directory "$P";};"#,
);

const FIND: &str = concat!(
    r#"set -- "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/backstay}" "${HOME:+$HOME/.cache/backstay}" "#,
    r#""/var/tmp/backstay-$U" "/tmp/backstay-$U" "/dev/shm/backstay-$U" "/run/user/$U/backstay";"#,
    r#"for d in "$@";do own "$d"&&[ -x "./$S" ]&&go;done;"#,
);

/// Tries each place for running programs and for space, then asks for the bytes.
const PLACE: &str = concat!(
    r#"T=.new-$M;for d in "$@";do [ -n "$d" ]||continue;"#,
    r#"mkdir -p "$d" 2>/dev/null;own "$d"||continue;"#,
    r#"{ echo : >"$T"&&chmod 700 "$T"&&"./$T";} 2>/dev/null||{ rm -f "$T";continue;};"#,
    r#"dd if=/dev/zero of="$T" bs=65536 count=$((Z/65536+1)) 2>/dev/null||{ rm -f "$T";continue;};"#,
    r#"rm -f "$T";E=raw;command -v gzip >/dev/null 2>&1&&E=gzip;"#,
    r#"echo "$M need $E $(uname -m)";read -r E G;"#,
    r#"if [ "$E" = gzip ];then head -c "$G"|gzip -dc >"$T";else head -c "$G" >"$T";fi;"#,
    r#"[ $(($(wc -c <"$T"))) -eq $Z ]||{ rm -f "$T";echo "$M short";exit 1;};"#,
    r#"case "$(sha256sum <"$T" 2>/dev/null)" in ""|$S*);;*)rm -f "$T";echo "$M damaged";exit 1;;esac;"#,
    r#"chmod 700 "$T";mv -f "$T" "$S";"#,
    r#"find . -type f -mtime +30 -exec rm -f {} + 2>/dev/null;"#,
    r#"go;done;echo "$M nowhere";exit 1"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_line_that_any_shell_can_quote() {
        let binary = Binary {
            cpu: "x86_64".into(),
            path: "/bin/true".into(),
            sha256: "ab".into(),
            size: 3,
        };
        let text = script("00ff", &[&binary]);
        let hostile: Vec<char> = text
            .chars()
            .filter(|letter| "'\\!\n".contains(*letter))
            .collect();
        assert_eq!(hostile, Vec::<char>::new());
        assert!(text.contains(r#"case "$(uname -sm)" in "Linux x86_64")S=ab;Z=3;;*)"#));
    }
}
