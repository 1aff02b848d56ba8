//! Permission bits: symbolic modes as Ansible reads them, and the process's umask.

use std::sync::OnceLock;

use super::FileKind;

/// Applies a symbolic mode such as `u=rwX,g-w` to the current bits.
///
/// As in Ansible, `X` looks at the bits as changed so far, and an empty user part obeys the umask.
pub fn symbolic_mode(text: &str, current: u32, kind: FileKind, umask: u32) -> Result<u32, String> {
    let mut mode = current;
    for clause in text.split(',') {
        mode = apply_clause(clause, mode, kind, umask)
            .ok_or_else(|| format!("bad symbolic permission for mode: {clause}"))?;
    }
    Ok(mode)
}

fn apply_clause(clause: &str, mut mode: u32, kind: FileKind, umask: u32) -> Option<u32> {
    let start = clause.find(['+', '-', '=']).unwrap_or(clause.len());
    let (users, mut rest) = clause.split_at(start);
    let all_masked = users.is_empty();
    let users = if all_masked || users == "a" {
        "ugo"
    } else {
        users
    };
    if !users.chars().all(|user| "ugo".contains(user)) {
        return None;
    }
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |end| end + 1);
        let permissions = &rest[1..end];
        for user in users.chars() {
            let mask = if all_masked { umask } else { 0 };
            let bits = bits_for(user, permissions, mode, kind, mask)?;
            mode = apply(user, operator, bits, mode);
        }
        rest = &rest[end..];
    }
    Some(mode)
}

fn bits_for(user: char, permissions: &str, mode: u32, kind: FileKind, mask: u32) -> Option<u32> {
    let (shift, special) = match user {
        'u' => (6, 0o4000),
        'g' => (3, 0o2000),
        _ => (0, 0),
    };
    let mut bits = 0;
    for permission in permissions.chars() {
        bits |= match permission {
            'r' => (0o4 << shift) & !mask,
            'w' => (0o2 << shift) & !mask,
            'x' => (0o1 << shift) & !mask,
            'X' if kind == FileKind::Directory || mode & 0o111 != 0 => 0o1 << shift,
            's' => special,
            't' if user == 'o' => 0o1000,
            'X' | 't' => 0,
            'u' => ((mode >> 6) & 0o7) << shift,
            'g' => ((mode >> 3) & 0o7) << shift,
            'o' => (mode & 0o7) << shift,
            _ => return None,
        };
    }
    Some(bits)
}

fn apply(user: char, operator: char, bits: u32, mode: u32) -> u32 {
    let whole = match user {
        'u' => 0o4700,
        'g' => 0o2070,
        _ => 0o1007,
    };
    match operator {
        '=' => (mode & !whole) | bits,
        '+' => mode | bits,
        _ => mode & !bits,
    }
}

/// Returns the umask of this process: read once, for it only ever changes for the moment in which a
/// program starts, and without changing it, where `/proc` tells.
pub(super) fn process_umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("Umask:"))
            .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
            .unwrap_or(0o022)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Each line was checked against ansible-core 2.19.14's `_symbolic_mode_to_octal`.
    #[test]
    fn symbolic_modes_are_ansibles() {
        for (text, current, kind, mode) in [
            ("u=rwx,g=rx,o=", 0o000, FileKind::File, 0o750),
            ("u=rwX,g=rX,o=rX", 0o600, FileKind::File, 0o644),
            ("u=rwX,g=rX,o=rX", 0o600, FileKind::Directory, 0o755),
            ("u=rw-x+X,g=r-x+X,o=r-x+X", 0o755, FileKind::File, 0o755),
            ("a+x", 0o644, FileKind::File, 0o755),
            ("+w", 0o444, FileKind::File, 0o644),
            ("g+s,o+t", 0o755, FileKind::Directory, 0o3755),
            ("g=u", 0o640, FileKind::File, 0o660),
            ("u-s", 0o4755, FileKind::File, 0o755),
        ] {
            assert_eq!(
                symbolic_mode(text, current, kind, 0o022),
                Ok(mode),
                "{text}"
            );
        }
        assert_eq!(
            symbolic_mode("u=rwz", 0, FileKind::File, 0o022),
            Err("bad symbolic permission for mode: u=rwz".into())
        );
    }
}
