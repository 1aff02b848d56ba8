//! `package_facts`: which packages the target has, from dpkg, rpm, apk and pacman.

use std::collections::HashMap;
use std::path::Path;

use crate::machine::Machine;
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Package information as facts.
    pub(crate) struct PackageFactsArgs for "package_facts" {
        /// The package managers to ask.
        manager: Vec<String> { default: "auto" },
        /// Ask the first that answers, or all.
        strategy: String { default: "first", choices: ["first", "all"] },
    }
}

/// A package: its fields in order, its name first.
type Package = Vec<(&'static str, Value)>;

/// What lists the packages of one package manager.
struct Manager {
    name: &'static str,
    programs: &'static [&'static str],
    list: fn(&mut Machine, &str) -> Result<Vec<Package>, Failure>,
}

const MANAGERS: &[Manager] = &[
    Manager {
        name: "apk",
        programs: &["apk"],
        list: list_apk,
    },
    Manager {
        name: "apt",
        programs: &["apt", "apt-get", "aptitude"],
        list: list_apt,
    },
    Manager {
        name: "pacman",
        programs: &["pacman"],
        list: list_pacman,
    },
    Manager {
        name: "rpm",
        programs: &["rpm"],
        list: list_rpm,
    },
];

/// Returns the fact `packages`: for each name a list of what is installed.
pub(crate) fn run(machine: &mut Machine, args: PackageFactsArgs) -> ModuleResult {
    let asked: Vec<_> = args
        .manager
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    let is_auto = asked.iter().any(|name| name == "auto");
    let managers = managers(&asked, is_auto)?;
    let mut packages: indexmap::IndexMap<String, Vec<Value>> = indexmap::IndexMap::new();
    let mut warnings = Vec::new();
    let mut n_found = 0;
    for manager in managers {
        if args.strategy == "first" && n_found > 0 {
            break;
        }
        let program = manager.programs.iter().find_map(|name| match manager.name {
            "apt" => apt_program(machine, name),
            _ => tool::found(machine, name),
        });
        let Some(program) = program else {
            if !is_auto {
                warnings.push(format!(
                    "Requested package manager {0} was not usable by this module: Unable to use \
                     {0} package manager",
                    manager.name
                ));
            }
            continue;
        };
        let found = (manager.list)(machine, &program).unwrap_or_else(|failure| {
            warnings.push(format!(
                "Failed to retrieve packages with {}: {}",
                manager.name, failure.msg
            ));
            Vec::new()
        });
        if found.is_empty() {
            warnings.push(format!(
                "Found \"{}\" but no associated packages",
                manager.name
            ));
            continue;
        }
        n_found += 1;
        for mut package in found {
            let name = package[0].1.to_string();
            package.push(("source", manager.name.into()));
            packages.entry(name).or_default().push(Value::map(package));
        }
    }
    if n_found == 0 {
        let mut failure = Failure::new(format!(
            "Could not detect a supported package manager from the following list: {}, or the \
             required Python library is not installed. Check warnings for details.",
            crate::value::repr(&Value::list(asked))
        ));
        failure.warnings = warnings;
        return Err(failure);
    }
    let packages: Map = packages
        .into_iter()
        .map(|(name, found)| (Value::from(name), Value::list(found)))
        .collect();
    let mut outcome = Outcome::unchanged();
    outcome.warnings = warnings;
    let facts = Value::map([("packages", Value::from(packages))]);
    Ok(outcome.with("ansible_facts", facts))
}

fn managers(asked: &[String], is_auto: bool) -> Result<Vec<&'static Manager>, Failure> {
    let mut chosen: Vec<&Manager> = Vec::new();
    let mut unknown = Vec::new();
    for name in asked.iter().filter(|name| *name != "auto") {
        let name = match name.as_str() {
            "dnf" | "dnf5" | "yum" | "zypper" => "rpm",
            name => name,
        };
        match MANAGERS.iter().find(|manager| manager.name == name) {
            Some(manager) => chosen.push(manager),
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        return Err(Failure::new(format!(
            "Unsupported package managers requested: {}",
            unknown.join(", ")
        )));
    }
    if is_auto {
        chosen.extend(MANAGERS);
    }
    let mut seen = Vec::new();
    chosen.retain(|manager| {
        let is_new = !seen.contains(&manager.name);
        seen.push(manager.name);
        is_new
    });
    Ok(chosen)
}

fn answer(machine: &mut Machine, argv: &[&str]) -> Result<String, Failure> {
    let output = tool::ask(machine, argv)?;
    if output.success() {
        return Ok(output.stdout_text());
    }
    Err(Failure::new(format!(
        "Unable to list packages rc={} : {}",
        output.status,
        output.stderr_text()
    )))
}

/// Returns the path of a program of apt; Ansible asks a library, whatever the search path.
fn apt_program(machine: &mut Machine, name: &str) -> Option<String> {
    tool::found(machine, name).or_else(|| {
        let usual = format!("/usr/bin/{name}");
        machine.exists(Path::new(&usual)).ok()?.then_some(usual)
    })
}

fn list_apt(machine: &mut Machine, _program: &str) -> Result<Vec<Package>, Failure> {
    const FORMAT: &str =
        "${Package}\\t${Version}\\t${Architecture}\\t${Section}\\t${db:Status-Status}\\n";
    let dpkg = apt_program(machine, "dpkg").unwrap_or_else(|| "dpkg".into());
    let query = apt_program(machine, "dpkg-query").unwrap_or_else(|| "dpkg-query".into());
    let native = answer(machine, &[&dpkg, "--print-architecture"])?;
    let text = answer(machine, &[&query, "-W", "-f", FORMAT])?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .filter(|row: &Vec<&str>| {
            row.len() == 5 && !matches!(row[4], "config-files" | "not-installed")
        })
        .collect();
    let full_name = |row: &[&str]| match row[2] {
        "all" => row[0].to_owned(),
        architecture if architecture == native.trim() => row[0].to_owned(),
        architecture => format!("{}:{architecture}", row[0]),
    };
    let names: Vec<_> = rows.iter().map(|row| full_name(row)).collect();
    let origins = origins(machine, &names)?;
    let package = |(row, name): (&Vec<&str>, &String)| {
        let origin = origins.get(name).cloned().unwrap_or_default();
        vec![
            ("name", name.as_str().into()),
            ("version", row[1].into()),
            ("arch", row[2].into()),
            ("category", row[3].into()),
            ("origin", origin.into()),
        ]
    };
    Ok(rows.iter().zip(&names).map(package).collect())
}

/// Asks apt where the installed version of each package comes from.
fn origins(machine: &mut Machine, names: &[String]) -> Result<HashMap<String, String>, Failure> {
    let Some(program) = apt_program(machine, "apt-cache") else {
        return Ok(HashMap::new());
    };
    let sources = release_origins(&answer(machine, &[&program, "policy"])?);
    let mut found = HashMap::new();
    for some in names.chunks(2000) {
        let mut argv = vec![program.as_str(), "policy"];
        argv.extend(some.iter().map(String::as_str));
        read_origins(&answer(machine, &argv)?, &sources, &mut found);
    }
    Ok(found)
}

/// Reads `apt-cache policy`: the origin of each source, by the line that names the source.
fn release_origins(text: &str) -> HashMap<String, String> {
    let mut origins = HashMap::new();
    let mut source = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(release) = line.strip_prefix("release ") {
            let origin = release.split(',').find_map(|part| part.strip_prefix("o="));
            origins.insert(source.clone(), origin.unwrap_or_default().to_owned());
        } else if let Some((priority, rest)) = line.split_once(' ')
            && priority.parse::<i32>().is_ok()
        {
            rest.clone_into(&mut source);
        }
    }
    origins
}

/// Reads `apt-cache policy NAME…`: the first source of the version that is installed.
fn read_origins(
    text: &str,
    sources: &HashMap<String, String>,
    found: &mut HashMap<String, String>,
) {
    let mut name = "";
    let mut is_installed_row = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            name = line.trim_end_matches(':');
            is_installed_row = false;
        } else if line.starts_with(" *** ") {
            is_installed_row = true;
        } else if is_installed_row && line.starts_with("        ") {
            let source = line.trim().split_once(' ').map_or("", |(_, source)| source);
            let origin = sources.get(source).cloned().unwrap_or_default();
            found.insert(name.to_owned(), origin);
            is_installed_row = false;
        }
    }
}

fn list_rpm(machine: &mut Machine, program: &str) -> Result<Vec<Package>, Failure> {
    const FORMAT: &str = "%{NAME}\\t%{VERSION}\\t%{RELEASE}\\t%{EPOCH}\\t%{ARCH}\\n";
    let text = answer(machine, &[program, "-qa", "--qf", FORMAT])?;
    let value = |text: &str| match text {
        "(none)" => Value::from("None"),
        text => text.into(),
    };
    let package = |line: &str| {
        let names = ["name", "version", "release", "epoch", "arch"];
        names.into_iter().zip(line.split('\t').map(value)).collect()
    };
    Ok(text.lines().map(package).collect())
}

fn list_apk(machine: &mut Machine, program: &str) -> Result<Vec<Package>, Failure> {
    let text = answer(machine, &[program, "info", "-v"])?;
    let package = |line: &str| {
        let parts: Vec<_> = line.rsplitn(3, '-').collect();
        let [release, version, name] = parts[..] else {
            return vec![
                ("name", line.into()),
                ("version", "".into()),
                ("release", "".into()),
            ];
        };
        vec![
            ("name", name.into()),
            ("version", version.into()),
            ("release", release.into()),
        ]
    };
    Ok(text.lines().map(package).collect())
}

fn list_pacman(machine: &mut Machine, program: &str) -> Result<Vec<Package>, Failure> {
    let text = answer(machine, &[program, "-Qi"])?;
    let paragraphs = text.split("\n\n").filter(|one| !one.trim().is_empty());
    let package = |paragraph: &str| {
        let mut fields: HashMap<String, String> = HashMap::new();
        let mut last = String::new();
        for line in paragraph.lines() {
            match line.split_once(" : ") {
                Some((name, value)) if !line.starts_with(' ') => {
                    name.trim_end().clone_into(&mut last);
                    fields.insert(last.clone(), value.to_owned());
                }
                _ => {
                    let more = format!("  {}", line.trim_start());
                    fields.entry(last.clone()).or_default().push_str(&more);
                }
            }
        }
        let field = |name: &str| Value::from(fields.get(name).cloned().unwrap_or_default());
        let provides = fields
            .get("Provides")
            .filter(|provides| *provides != "None");
        let provides = provides.map(|provides| {
            let names = provides.split("  ");
            Value::list(names.map(|name| name.split('=').next().unwrap_or_default()))
        });
        vec![
            ("name", field("Name")),
            ("version", field("Version")),
            ("arch", field("Architecture")),
            ("provides", provides.into()),
        ]
    };
    Ok(paragraphs.map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    fn call(programs: &Programs, json: &str) -> String {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = PackageFactsArgs::parse(given.as_map().unwrap()).unwrap();
        let result = match run(&mut programs.machine(), args) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    #[test]
    fn packages_of_dpkg_have_their_origin() {
        let programs = Programs::new([
            ("apt", ""),
            ("dpkg", "echo amd64"),
            (
                "dpkg-query",
                r"printf 'jq\t1.6\tamd64\tutils\tinstalled\nlibc6\t2\ti386\tlibs\tinstalled\nold\t1\tall\tx\tconfig-files\n'",
            ),
            (
                "apt-cache",
                r"[ $# = 1 ] && printf ' 500 http://deb x/main amd64 Packages\n     release v=12,o=Debian,a=stable\n     origin deb\n' && exit
printf 'jq:\n  Installed: 1.6\n  Version table:\n *** 1.6 500\n        500 http://deb x/main amd64 Packages\n        100 /var/lib/dpkg/status\nlibc6:i386:\n  Installed: 2\n  Version table:\n *** 2 100\n        100 /var/lib/dpkg/status\n'",
            ),
        ]);
        assert_eq!(
            call(&programs, r#"{"manager": "apt"}"#),
            r#"{"changed":false,"ansible_facts":{"packages":{"jq":[{"name":"jq","version":"1.6","arch":"amd64","category":"utils","origin":"Debian","source":"apt"}],"libc6:i386":[{"name":"libc6:i386","version":"2","arch":"i386","category":"libs","origin":"","source":"apt"}]}}}"#
        );
    }

    #[test]
    fn packages_of_rpm_and_apk_are_taken_apart() {
        let programs = Programs::new([
            ("rpm", r"printf 'jq\t1.6\t2.el9\t(none)\tx86_64\n'"),
            ("apk", "echo musl-dev-1.2.3-r4"),
        ]);
        assert_eq!(
            call(
                &programs,
                r#"{"manager": ["dnf", "apk"], "strategy": "all"}"#
            ),
            r#"{"changed":false,"ansible_facts":{"packages":{"jq":[{"name":"jq","version":"1.6","release":"2.el9","epoch":"None","arch":"x86_64","source":"rpm"}],"musl-dev":[{"name":"musl-dev","version":"1.2.3","release":"r4","source":"apk"}]}}}"#
        );
    }

    #[test]
    fn an_unknown_manager_is_named() {
        assert_eq!(
            call(&Programs::new([]), r#"{"manager": "brew"}"#),
            r#"{"failed":true,"changed":false,"msg":"Unsupported package managers requested: brew"}"#
        );
    }
}
