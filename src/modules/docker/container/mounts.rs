//! Volumes and mounts of a container: from options to the daemon's words.

use serde_json::{Map as JsonMap, Value as Json};

use crate::machine::Machine;
use crate::modules::Failure;
use crate::modules::docker::values::{bytes, field, only, texts, to_json};
use crate::value::{Map, Value};

pub(super) fn bind(machine: &mut Machine, volume: &str) -> Result<Option<String>, Failure> {
    let parts: Vec<_> = volume.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [_] => return Ok(None),
        [source, target] => (*source, *target, "rw"),
        [source, target, mode] => (*source, *target, *mode),
        _ => {
            return Err(Failure::new(format!(
                "Found invalid volumes description: {volume}"
            )));
        }
    };
    let source = if source.starts_with(['.', '~']) {
        machine.expand(source.as_ref()).display().to_string()
    } else {
        source.to_owned()
    };
    Ok(Some(format!("{source}:{target}:{mode}")))
}

pub(super) fn mount(given: &Map) -> Result<Json, Failure> {
    only(
        "mounts",
        given,
        &[
            "target",
            "source",
            "type",
            "read_only",
            "consistency",
            "create_mountpoint",
            "propagation",
            "no_copy",
            "non_recursive",
            "read_only_non_recursive",
            "read_only_force_recursive",
            "labels",
            "volume_driver",
            "volume_options",
            "subpath",
            "tmpfs_size",
            "tmpfs_mode",
            "tmpfs_options",
        ],
    )?;
    let text = |name: &str| field(given, name).map(|value| Json::from(value.to_string()));
    let flag = |name: &str| {
        field(given, name)
            .and_then(Value::to_soft_bool)
            .map(Json::from)
    };
    let Some(target) = text("target") else {
        return Err(Failure::new(
            "missing required arguments: target found in mounts",
        ));
    };
    let kind = text("type").unwrap_or_else(|| "volume".into());
    let group = |pairs: Vec<(&str, Option<Json>)>| {
        let given = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        given.collect::<JsonMap<_, _>>()
    };
    let mut mount = group(vec![
        ("Target", Some(target)),
        ("Type", Some(kind)),
        ("Source", text("source")),
        ("ReadOnly", flag("read_only")),
        ("Consistency", text("consistency")),
    ]);
    let driver = group(vec![
        ("Name", text("volume_driver")),
        (
            "Options",
            field(given, "volume_options")
                .and_then(Value::as_map)
                .map(texts),
        ),
    ]);
    let size = field(given, "tmpfs_size").map(|size| bytes("tmpfs_size", &size.to_string()));
    let mode = field(given, "tmpfs_mode").map(|mode| {
        u32::from_str_radix(&mode.to_string(), 8).map_err(|_| {
            Failure::new(format!(
                "tmpfs_mode of mount is not an octal number: {mode}"
            ))
        })
    });
    let groups = [
        (
            "BindOptions",
            group(vec![
                ("Propagation", text("propagation")),
                ("CreateMountpoint", flag("create_mountpoint")),
                ("NonRecursive", flag("non_recursive")),
                ("ReadOnlyNonRecursive", flag("read_only_non_recursive")),
                ("ReadOnlyForceRecursive", flag("read_only_force_recursive")),
            ]),
        ),
        (
            "VolumeOptions",
            group(vec![
                ("NoCopy", flag("no_copy")),
                (
                    "Labels",
                    field(given, "labels").and_then(Value::as_map).map(texts),
                ),
                ("Subpath", text("subpath")),
                ("DriverConfig", (!driver.is_empty()).then(|| driver.into())),
            ]),
        ),
        (
            "TmpfsOptions",
            group(vec![
                ("SizeBytes", size.transpose()?.map(Json::from)),
                ("Mode", mode.transpose()?.map(Json::from)),
                ("Options", field(given, "tmpfs_options").map(to_json)),
            ]),
        ),
    ];
    for (name, options) in groups {
        if !options.is_empty() {
            mount.insert(name.into(), options.into());
        }
    }
    Ok(mount.into())
}
