//! What Ansible adds to every result that names a `path` or `dest`: owner, group, mode, size,
//! state. Also drops owners that do not exist yet in check mode.

use std::path::Path;

use crate::arguments::FileAttributes;
use crate::machine::{self, Machine};
use crate::value::Map;

/// Describes what is at `path`; empty when it leads nowhere.
pub(super) fn path_info(machine: &mut Machine, path: &Path) -> machine::Result<Map> {
    let mut info = Map::new();
    // A link to itself leads nowhere.
    let Ok(Some(target)) = machine.metadata(path) else {
        return Ok(info);
    };
    let Some(found) = machine.symlink_metadata(path)? else {
        return Ok(info);
    };
    let owner = machine.user_name(found.uid);
    let group = machine.group_name(found.gid);
    let state = if found.is_link() {
        "link"
    } else if found.is_dir() {
        "directory"
    } else if target.nlink > 1 {
        "hard"
    } else {
        "file"
    };
    let mut add = |name: &str, value: crate::value::Value| info.insert(name.into(), value);
    add("uid", found.uid.into());
    add("gid", found.gid.into());
    add(
        "owner",
        owner.unwrap_or_else(|| found.uid.to_string()).into(),
    );
    add(
        "group",
        group.unwrap_or_else(|| found.gid.to_string()).into(),
    );
    add("mode", format!("0{:03o}", found.mode).into());
    add("state", state.into());
    add("size", found.size.into());
    Ok(info)
}

/// Leaves out the owner and group that nobody knows yet, in check mode: an earlier task may be
/// about to create them. Returns a warning for each.
pub(super) fn without_unborn_owners(
    machine: &mut Machine,
    attributes: &FileAttributes,
) -> (FileAttributes, Vec<String>) {
    let mut attributes = attributes.clone();
    let mut warnings = Vec::new();
    if !machine.is_check() {
        return (attributes, warnings);
    }
    let told = |what: &str, named: &str| {
        format!("failed to look up {what} {named}. Create {what} up to this point in real play")
    };
    if let Some(owner) = attributes.owner.clone() {
        match owner.parse() {
            Ok(uid) if machine.user_name(uid).is_none() => {
                warnings.push(told("user", &format!("with uid {uid}")));
            }
            Err(_) if machine.user_id(&owner).is_none() => {
                warnings.push(told("user", &owner));
                attributes.owner = None;
            }
            _ => {}
        }
    }
    if let Some(group) = attributes.group.clone() {
        match group.parse() {
            Ok(gid) if machine.group_name(gid).is_none() => {
                warnings.push(told("group", &format!("with gid {gid}")));
            }
            Err(_) if machine.group_id(&group).is_none() => {
                warnings.push(told("group", &group));
                attributes.group = None;
            }
            _ => {}
        }
    }
    (attributes, warnings)
}
