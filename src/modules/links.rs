//! Links below a directory where an account may write: root follows those that root made, and
//! nobody else's.
//!
//! Says where a path leads now; `Machine::below` sees to it that it leads there still when it is
//! used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::machine::{Machine, Metadata};

/// What is below a directory that a task names.
#[derive(Debug)]
pub(super) struct Below {
    base: PathBuf,
    /// Where the directories so far lead.
    known: HashMap<PathBuf, PathBuf>,
}

impl Below {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            known: HashMap::new(),
        }
    }

    /// Returns where a path below the base leads, its last name taken as it is; a link of somebody
    /// else's on the way is an error.
    pub(super) fn place(
        &mut self,
        machine: &mut Machine,
        relative: &Path,
    ) -> Result<PathBuf, Failure> {
        let Some(name) = relative.file_name() else {
            return Ok(machine.real_path(&self.base)?);
        };
        let above = relative.parent().unwrap_or(Path::new(""));
        Ok(self.led(machine, above)?.join(name))
    }

    /// Returns where a directory below the base is, also where its last name is a link.
    pub(super) fn directory(
        &mut self,
        machine: &mut Machine,
        relative: &Path,
    ) -> Result<PathBuf, Failure> {
        match relative.file_name() {
            Some(_) => self.led(machine, relative),
            None => Ok(machine.real_path(&self.base)?),
        }
    }

    fn led(&mut self, machine: &mut Machine, relative: &Path) -> Result<PathBuf, Failure> {
        if let Some(known) = self.known.get(relative) {
            return Ok(known.clone());
        }
        let Some(name) = relative.file_name() else {
            return Ok(self.base.clone());
        };
        let above = relative.parent().unwrap_or(Path::new(""));
        let path = self.led(machine, above)?.join(name);
        let Some(found) = machine.symlink_metadata(&path)?.filter(Metadata::is_link) else {
            // It may become one: only what was followed is remembered.
            return Ok(path);
        };
        if found.uid != 0 && rustix::process::geteuid().is_root() {
            return Err(Failure::new(format!(
                "refusing to follow the symbolic link `{}` (only a link that root owns is followed)",
                path.display()
            )));
        }
        let real = machine.real_path(&path)?;
        self.known.insert(relative.to_owned(), real.clone());
        Ok(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Attributes, Follow};
    use crate::modules::testing::Target;

    #[test]
    fn only_links_of_roots_are_followed() {
        let target = Target::new()
            .directory("tree/d")
            .directory("else")
            .link("tree/link", "$ROOT/else")
            .link("tree/d/up", "../d");
        let mut machine = target.machine();
        let mut below = Below::new(&target.path("tree"));
        let mut place = |path: &str| {
            let place = below.place(&mut machine, path.as_ref()).unwrap();
            let below = place.strip_prefix(target.path("")).unwrap();
            below.display().to_string()
        };
        assert_eq!(place("d/new"), "tree/d/new");
        assert_eq!(place("link"), "tree/link");
        assert_eq!(place("link/new"), "else/new");
        assert_eq!(place("d/up/up/new"), "tree/d/new");
        assert_eq!(place("."), "tree");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let nobodys = Attributes {
            uid: Some(65534),
            ..Attributes::default()
        };
        let link = target.path("tree/link");
        machine.set_attributes(&link, &nobodys, Follow::No).unwrap();
        let mut below = Below::new(&target.path("tree"));
        let refused = below.place(&mut machine, "link/new".as_ref()).unwrap_err();
        assert_eq!(
            refused.msg,
            format!(
                "refusing to follow the symbolic link `{}` (only a link that root owns is followed)",
                link.display()
            )
        );
        assert_eq!(below.place(&mut machine, "link".as_ref()).unwrap(), link);
    }
}
