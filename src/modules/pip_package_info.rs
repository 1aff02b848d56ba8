//! `pip_package_info`: which packages each pip has installed.

use crate::machine::Machine;
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Pip package information.
    pub(crate) struct PipPackageInfoArgs for "community.general.pip_package_info" {
        /// The programs to ask, by name or path.
        clients: Vec<String> { default: "pip" },
    }
}

/// Lists the packages of each pip that there is.
pub(crate) fn run(machine: &mut Machine, args: PipPackageInfoArgs) -> ModuleResult {
    let mut packages = Map::new();
    let mut warnings = Vec::new();
    let mut is_found = false;
    for client in &args.clients {
        let client = machine.expand_text(client);
        let name = client.rsplit('/').next().unwrap_or_default();
        if !name.starts_with("pip") {
            warnings.push(format!("Skipping invalid pip client: {client}"));
            continue;
        }
        let Some(program) = tool::found(machine, &client) else {
            continue;
        };
        is_found = true;
        match listed(machine, &program, &client) {
            Ok(found) => {
                packages.insert(client.into(), found.into());
            }
            Err(failure) => warnings.push(format!(
                "Failed to retrieve packages with {client}: {}",
                failure.msg
            )),
        }
    }
    if !is_found {
        let clients: Vec<_> = args.clients.iter().map(|it| format!("'{it}'")).collect();
        return Err(Failure::new(format!(
            "Unable to use any of the supplied pip clients: [{}]",
            clients.join(", ")
        )));
    }
    let outcome = Outcome::unchanged().with("packages", packages);
    Ok(warnings.into_iter().fold(outcome, Outcome::warn))
}

fn listed(machine: &mut Machine, program: &str, client: &str) -> Result<Map, Failure> {
    let output = tool::ask(machine, &[program, "list", "-l", "--format=json"])?;
    if !output.success() {
        return Err(Failure::new(format!(
            "Unable to list packages rc={} : {}",
            output.status,
            output.stderr_text()
        )));
    }
    let all: Vec<Map> = serde_json::from_str::<Value>(&output.stdout_text())
        .ok()
        .and_then(|all| {
            let all = all.as_list()?.iter();
            all.map(|one| one.as_map().cloned()).collect()
        })
        .ok_or_else(|| Failure::new("pip's list cannot be read"))?;
    let mut packages: Map = Map::new();
    for mut package in all {
        package.insert("source".into(), client.into());
        let name = package.get("name").cloned().unwrap_or_default();
        let mut same: Vec<Value> = packages
            .get(&name)
            .and_then(Value::as_list)
            .map(<[Value]>::to_vec)
            .unwrap_or_default();
        same.push(package.into());
        packages.insert(name, Value::list(same));
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.pip_package_info";

    #[test]
    fn each_pip_lists_its_packages() {
        let host = Programs::new([
            ("pip", r#"echo '[{"name": "six", "version": "1.16.0"}]'"#),
            ("pip9", "echo broken >&2; exit 3"),
        ]);
        assert_eq!(
            host.run(NAME, r#"{"clients": ["pip", "pip9", "conda"]}"#),
            r#"{"changed":false,"packages":{"pip":{"six":[{"name":"six","version":"1.16.0","source":"pip"}]}},"warnings":["Failed to retrieve packages with pip9: Unable to list packages rc=3 : broken\n","Skipping invalid pip client: conda"]}"#
        );
        assert_eq!(
            host.run(NAME, r#"{"clients": ["pip8", "conda"]}"#),
            r#"{"failed":true,"changed":false,"msg":"Unable to use any of the supplied pip clients: ['pip8', 'conda']"}"#
        );
    }
}
