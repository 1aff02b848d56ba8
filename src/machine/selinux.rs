//! SELinux contexts, where the target has SELinux.

use std::ffi::CString;
use std::io;
use std::path::Path;

use crate::arguments::FileAttributes;

use super::{Command, Machine, MachineError, Result, extended};

/// The four parts of a context: user, role, type and level.
pub(super) type Context = [Option<String>; 4];

impl Machine {
    /// Tells whether the target's kernel enforces or observes security label.
    pub fn selinux_enabled(&self) -> bool {
        Path::new("/sys/fs/selinux/enforce").exists()
    }

    /// Tells whether contexts on this target have a level.
    pub fn selinux_mls_enabled(&self) -> bool {
        std::fs::read("/sys/fs/selinux/mls").is_ok_and(|mls| mls.starts_with(b"1"))
    }

    /// Returns the context of a file, a link being itself.
    pub fn selinux_context(&self, path: &Path) -> Result<Option<String>> {
        let label = read(path).map_err(|error| MachineError::io("read context of", path, error))?;
        Ok(label.map(|label| text(&label)))
    }

    /// Returns the context that the options ask for, `None` when it is the present one.
    pub(super) fn selinux_wanted(
        &mut self,
        path: &Path,
        attributes: &FileAttributes,
    ) -> Result<Option<(String, String)>> {
        if !self.selinux_enabled() {
            return Ok(None);
        }
        let Some(current) = self.selinux_context(path)? else {
            return Ok(None);
        };
        let default = self.selinux_default(path, attributes)?;
        let options = [
            &attributes.seuser,
            &attributes.serole,
            &attributes.setype,
            &attributes.selevel,
        ];
        let mut parts = split(&current);
        for (index, option) in options.into_iter().enumerate() {
            match option.as_deref() {
                Some("_default") => {
                    if let Some(part) = &default[index] {
                        parts[index] = Some(part.clone());
                    }
                }
                Some(part) => parts[index] = Some(part.to_owned()),
                None => {}
            }
        }
        let wanted = join(&parts);
        Ok((wanted != current).then_some((current, wanted)))
    }

    fn selinux_default(&mut self, path: &Path, attributes: &FileAttributes) -> Result<Context> {
        let asked = [
            &attributes.seuser,
            &attributes.serole,
            &attributes.setype,
            &attributes.selevel,
        ];
        if !asked.iter().any(|part| part.as_deref() == Some("_default")) {
            return Ok([const { None }; 4]);
        }
        let output = self.query(&Command::new(["matchpathcon", "-n"]).arg(path))?;
        Ok(split(output.stdout_text().trim()))
    }
}

pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    extended::get(path, &attribute())
}

pub(super) fn write(path: &Path, context: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(
        path,
        attribute(),
        context,
        rustix::fs::XattrFlags::empty(),
    )?)
}

fn attribute() -> CString {
    CString::from(c"security.selinux")
}

fn text(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .trim_end_matches('\0')
        .to_owned()
}

/// Splits a context; the level may hold colons itself.
fn split(context: &str) -> Context {
    let mut parts = context.splitn(4, ':').map(str::to_owned);
    [parts.next(), parts.next(), parts.next(), parts.next()]
}

fn join(parts: &Context) -> String {
    parts
        .iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_keeps_its_colons() {
        let context = "system_u:object_r:etc_t:s0:c1,c2";
        assert_eq!(split(context)[3].as_deref(), Some("s0:c1,c2"));
        assert_eq!(join(&split(context)), context);
    }
}
