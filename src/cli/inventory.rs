//! `backstay inventory`: the inventory as JSON, YAML or a tree.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::arguments::InventoryArgs;
use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::inventory::{Listing, ListingFormat, VariableFiles, graph_text, host_variables, list};

/// Prints what was asked for.
pub(super) fn run(
    args: &InventoryArgs,
    prepared: &Preparation,
    out: &mut dyn Write,
) -> Result<(), Vec<Error>> {
    let named = prepared.config.text("PLAYBOOK_DIR").map(PathBuf::from);
    let directory = args.playbook_dir.clone().or(named);
    let directory = directory.as_deref().unwrap_or(Path::new("."));
    let directory = prepared.surroundings.working_directory.join(directory);
    let beside_play = [VariableFiles::beside(
        &directory,
        &prepared.inventory_options,
    )];
    let listing = Listing {
        play: &beside_play,
        extra: Some(&prepared.extra),
        limit: prepared.limit.as_ref(),
        facts: prepared
            .inventory_options
            .expressions
            .as_deref()
            .map(|it| it as _),
        secrets: Some(&prepared.secrets),
        export: args.export || prepared.config.is_on("INVENTORY_EXPORT"),
    };
    let inventory = &prepared.inventory;
    let format = match (args.yaml, args.toml) {
        (true, _) => ListingFormat::Yaml,
        (false, true) => ListingFormat::Toml,
        (false, false) => ListingFormat::Json,
    };
    let text = if args.graph {
        let group = args.group.as_deref().unwrap_or("all");
        graph_text(inventory, group, listing, args.vars)?
    } else if let Some(host) = &args.host {
        host_variables(inventory, host, listing, format)?
    } else {
        list(inventory, listing, format)?
    };
    let text = text.trim_end_matches('\n');
    match &args.output {
        Some(path) if args.list => write_file(path, text).map_err(|error| vec![error]),
        _ => writeln!(out, "{text}").map_err(|error| vec![super::cannot_print(error)]),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file of the controller that the user named"
)]
fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, format!("{text}\n")).map_err(|error| {
        Error::usage(format!("the file `{}` cannot be written", path.display())).caused_by(error)
    })
}
