//! `--state-dir`: what every host was like before a deploy, as JSON to keep with the run: its
//! generations, the versions of packages, the states of units, the checksums of chosen files.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::fleet;
use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::executor::{Fleet, TransactionOptions};
use crate::value::{Map, Value};

/// What is kept of the state before.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Transaction options")]
pub(super) struct StateArgs {
    /// Before the deploy, write what every host is like into this directory, one file an attempt
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_dir: Option<PathBuf>,
    /// With --state-dir: a file of the hosts whose checksum is kept
    #[arg(long, value_name = "PATH", requires = "state_dir", action = ArgAction::Append)]
    pub(super) state_path: Vec<String>,
}

/// Captures the state before a deploy.
#[derive(Debug)]
pub(super) struct StateBefore {
    directory: PathBuf,
    paths: Vec<String>,
}

impl StateBefore {
    /// Takes the options; nothing where no directory is named.
    pub(super) fn new(args: &StateArgs, prepared: &Preparation) -> Option<Self> {
        let directory = args.state_dir.as_ref()?;
        Some(Self {
            directory: prepared.surroundings.working_directory.join(directory),
            paths: args.state_path.clone(),
        })
    }

    /// Asks every host, and returns the text of the file. A host that does not answer stands in it
    /// with the reason: the deploy itself decides what that means.
    pub(super) async fn capture(&self, hosts: &mut Fleet, options: &TransactionOptions) -> String {
        let units = hosts.look("service_facts", &Map::new()).await;
        let packages = hosts.look("package_facts", &Map::new()).await;
        let mut files: Vec<Vec<(&str, Value)>> = vec![Vec::new(); hosts.contacts.len()];
        for path in &self.paths {
            let args: Map = [
                ("path".into(), path.as_str().into()),
                ("checksum_algorithm".into(), "sha256".into()),
            ]
            .into_iter()
            .collect();
            for (host, looked) in files.iter_mut().zip(hosts.look("stat", &args).await) {
                let stat = looked.ok().and_then(|(result, _)| {
                    let stat = result.get("stat")?;
                    stat.get("checksum").cloned()
                });
                host.push((path, stat.unwrap_or_default()));
            }
        }
        let parts = units.into_iter().zip(packages).zip(files);
        let told = hosts.contacts.iter().zip(parts);
        let told = told.map(|(contact, ((units, packages), files))| {
            let known = match &contact.known {
                Ok(known) => known,
                Err(why) => {
                    return Value::map([
                        ("name", Value::from(contact.name.as_str())),
                        ("error", why.as_str().into()),
                    ]);
                }
            };
            Value::map([
                ("name", Value::from(contact.name.as_str())),
                (
                    "transactions",
                    Value::list(known.iter().map(fleet::transaction)),
                ),
                ("units", told_of(units, "services", unit)),
                ("packages", told_of(packages, "packages", versions)),
                ("files", Value::map(files)),
            ])
        });
        let file = Value::map([
            ("application", Value::from(options.application.as_str())),
            (
                "time",
                fleet::when(jiff::Timestamp::now().as_second()).into(),
            ),
            ("runner", options.controller.as_str().into()),
            ("run_url", options.run_url.clone().into()),
            ("hosts", Value::list(told)),
        ]);
        // Only keys that are no texts could fail, and there are none.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Writes the file of this run.
    #[expect(clippy::disallowed_methods, reason = "a file of the controller")]
    pub(super) fn keep(&self, text: &str) -> Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let path = self.directory.join(format!("before-{now}.json"));
        std::fs::create_dir_all(&self.directory)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| {
                let path = path.display();
                Error::usage(format!("the state cannot be kept in `{path}`")).caused_by(error)
            })
    }
}

/// Returns one dictionary of facts with each value made shorter; null where there are none.
fn told_of(
    looked: Result<(Value, std::time::Duration), String>,
    name: &str,
    shorten: fn(&Value) -> Value,
) -> Value {
    let Ok((result, _)) = looked else {
        return Value::Null;
    };
    let facts = result
        .get("ansible_facts")
        .and_then(|facts| facts.get(name));
    let Some(all) = facts.and_then(Value::as_map) else {
        return Value::Null;
    };
    let shortened = all.iter().map(|(key, value)| (key.clone(), shorten(value)));
    shortened.collect::<Map>().into()
}

fn unit(facts: &Value) -> Value {
    facts.get("state").cloned().unwrap_or_default()
}

fn versions(packages: &Value) -> Value {
    let all = packages.as_list().into_iter().flatten();
    Value::list(all.filter_map(|package| package.get("version").cloned()))
}
