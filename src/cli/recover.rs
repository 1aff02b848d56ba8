//! `backstay recover`: settles what dead runs left behind, so that all hosts are the same again.

use clap::Parser;

use super::fleet::{self, FleetArgs};
use super::outcomes::{decisions, found_word, said, unsettled};
use super::preparation::Preparation;
use crate::agent::protocol::{Decision, Recovered};
use crate::error::{EXIT_IN_DOUBT, EXIT_OK, EXIT_STUCK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::executor::Fleet;
use crate::transaction::state::State;
use crate::value::Value;

/// `backstay recover`.
#[derive(Debug, Parser)]
#[command(name = "backstay-recover")]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// What is stuck was looked after by hand: leave it as it is
    #[arg(long)]
    pub(super) accept: bool,
}

/// What was done on one host.
struct Settled {
    name: String,
    id: String,
    decision: Decision,
    came_to: Result<Recovered, String>,
}

/// Settles every transaction that is open or differs between hosts.
pub(super) fn run(args: &RecoverArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    fleet::ask(&args.fleet, prepared, async |fleet| {
        let mut settled = Vec::new();
        let across = unsettled(&said(&fleet.contacts));
        for across in &across {
            for (name, decision) in decisions(across) {
                settled.push(settle(fleet, &name, &across.id, decision).await);
            }
        }
        let stuck = stuck(fleet);
        if args.accept {
            for (name, id) in &stuck {
                settled.push(settle(fleet, name, id, Decision::Accept).await);
            }
        }
        let left: Vec<String> = across
            .iter()
            .flat_map(|across| &across.found)
            .filter(|(_, found)| found_word(*found) == "unknown")
            .map(|(name, _)| name.clone())
            .collect();
        let told = Told {
            settled: &settled,
            unreached: fleet
                .contacts
                .iter()
                .filter_map(|it| Some((it.name.as_str(), it.known.as_ref().err()?.as_str())))
                .collect(),
            left: &left,
            stuck: if args.accept { &[] } else { &stuck },
        };
        if args.fleet.json {
            fleet::print_json(&told.json())?;
        } else {
            fleet::print(&told.text())?;
        }
        Ok(told.exit_code())
    })?
}

async fn settle(fleet: &mut Fleet, name: &str, id: &str, decision: Decision) -> Settled {
    let contact = fleet.contacts.iter_mut().find(|it| it.name == name);
    let came_to = match contact {
        Some(contact) => contact.recover(id, decision).await,
        None => Err("it was not asked".to_owned()),
    };
    Settled {
        name: name.to_owned(),
        id: id.to_owned(),
        decision,
        came_to,
    }
}

/// Returns the stuck transactions that are the newest of their application on their host.
fn stuck(fleet: &Fleet) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for contact in &fleet.contacts {
        let known = contact.known.as_deref().unwrap_or_default();
        for summary in known.iter().filter(|it| it.state == State::Stuck) {
            found.push((contact.name.clone(), summary.id.clone()));
        }
    }
    found
}

struct Told<'a> {
    settled: &'a [Settled],
    unreached: Vec<(&'a str, &'a str)>,
    /// Participants that nobody has reached.
    left: &'a [String],
    stuck: &'a [(String, String)],
}

impl Told<'_> {
    fn exit_code(&self) -> u8 {
        let failed = self.settled.iter().any(|it| it.came_to.is_err());
        let stuck = self.settled.iter().any(|it| {
            let recovered = it.came_to.as_ref().ok();
            recovered.is_some_and(|recovered| !recovered.report.stuck.is_empty())
        });
        if failed || !self.left.is_empty() {
            EXIT_IN_DOUBT
        } else if stuck || !self.stuck.is_empty() {
            EXIT_STUCK
        } else if !self.unreached.is_empty() {
            EXIT_UNREACHABLE_HOSTS
        } else {
            EXIT_OK
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for settled in self.settled {
            let outcome = match &settled.came_to {
                Ok(recovered) => fleet::word(recovered.state).to_owned(),
                Err(why) => format!("not settled: {why}"),
            };
            text += &format!("{}: transaction {}: {outcome}\n", settled.name, settled.id);
            if let Ok(recovered) = &settled.came_to {
                for item in &recovered.report.stuck {
                    text += &format!("  not undone: {}: {}\n", item.what, item.why);
                }
            }
        }
        for (name, id) in self.stuck {
            text += &format!(
                "{name}: transaction {id} is STUCK: look at `backstay status`, put right by hand \
                 what it names, then `backstay recover --accept`\n"
            );
        }
        for (name, why) in &self.unreached {
            text += &format!("{name}: not reached: {why}\n");
        }
        text += match self.exit_code() {
            EXIT_OK if self.settled.is_empty() => "nothing to recover\n",
            EXIT_OK => "recovered: all hosts are the same\n",
            EXIT_UNREACHABLE_HOSTS => "nothing is left to recover on the hosts that answered\n",
            EXIT_STUCK => "STUCK: something could not be undone\n",
            _ => "IN DOUBT: run it again once all hosts answer\n",
        };
        text
    }

    fn json(&self) -> Value {
        let settled = self.settled.iter().map(|settled| {
            let decision = match settled.decision {
                Decision::Commit => "commit",
                Decision::Abort => "abort",
                Decision::Revert => "revert",
                Decision::Accept => "accept",
            };
            let (state, error) = match &settled.came_to {
                Ok(recovered) => {
                    let word = fleet::word(recovered.state)
                        .to_lowercase()
                        .replace(' ', "_");
                    (Value::from(word), Value::Null)
                }
                Err(why) => (Value::Null, Value::from(why.as_str())),
            };
            Value::map([
                ("name", Value::from(settled.name.as_str())),
                ("id", settled.id.as_str().into()),
                ("decision", decision.into()),
                ("state", state),
                ("error", error),
            ])
        });
        let pairs = |pairs: &mut dyn Iterator<Item = (&str, &str)>, key: &'static str| {
            let maps: Vec<Value> = pairs
                .map(|(name, value)| Value::map([("name", Value::from(name)), (key, value.into())]))
                .collect();
            Value::from(maps)
        };
        let mut stuck = self
            .stuck
            .iter()
            .map(|(name, id)| (name.as_str(), id.as_str()));
        Value::map([
            ("settled", Value::list(settled)),
            ("stuck", pairs(&mut stuck, "id")),
            (
                "unreached",
                pairs(&mut self.unreached.iter().copied(), "error"),
            ),
            (
                "left",
                Value::list(self.left.iter().map(|name| Value::from(name.as_str()))),
            ),
        ])
    }
}
