//! `backstay lock list` and `backstay lock break`: who holds hosts, and making them let go.

use clap::{Parser, Subcommand};

use super::fleet::{self, FleetArgs, by, when};
use super::preparation::Preparation;
use crate::error::{EXIT_OK, EXIT_STUCK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::executor::Fleet;
use crate::transaction::lock::Holder;
use crate::value::Value;

/// `backstay lock`.
#[derive(Debug, Parser)]
#[command(name = "backstay-lock")]
pub(super) struct LockArgs {
    #[command(subcommand)]
    pub(super) action: LockAction,
}

/// What to do with locks.
#[derive(Debug, Subcommand)]
pub(super) enum LockAction {
    /// Show who holds the locks of hosts
    List(LockListArgs),
    /// Undo the run that holds the lock, and free it
    Break(LockBreakArgs),
}

/// `backstay lock list`.
#[derive(Debug, clap::Args)]
pub(super) struct LockListArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// `backstay lock break`.
#[derive(Debug, clap::Args)]
pub(super) struct LockBreakArgs {
    /// Whose lock
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(super) application: String,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

impl LockArgs {
    /// Returns whom the action asks.
    pub(super) fn fleet(&self) -> &FleetArgs {
        match &self.action {
            LockAction::List(args) => &args.fleet,
            LockAction::Break(args) => &args.fleet,
        }
    }
}

/// Lists or breaks locks.
pub(super) fn run(args: &LockArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    match &args.action {
        LockAction::List(args) => list(args, prepared),
        LockAction::Break(args) => break_locks(args, prepared),
    }
}

fn list(args: &LockListArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    fleet::ask(&args.fleet, prepared, async |fleet| {
        let held = held(fleet).await;
        let unreached = unreached(fleet);
        if args.fleet.json {
            let locks = held.iter().map(|(name, holder)| lock_json(name, holder));
            let errors = unreached.iter().map(|(name, why)| {
                Value::map([
                    ("name", Value::from(name.as_str())),
                    ("error", why.as_str().into()),
                ])
            });
            let value = Value::map([
                ("locks", Value::list(locks)),
                ("unreached", Value::list(errors)),
            ]);
            fleet::print_json(&value)?;
        } else {
            let mut text = String::new();
            for (name, holder) in &held {
                text += &format!(
                    "{name}: {} is locked by {} since {}, transaction {}\n",
                    holder.application,
                    by(&holder.run),
                    when(holder.since),
                    holder.id
                );
            }
            for (name, why) in &unreached {
                text += &format!("{name}: not known: {why}\n");
            }
            if held.is_empty() && unreached.is_empty() {
                text += "no host is locked\n";
            }
            fleet::print(&text)?;
        }
        Ok(if unreached.is_empty() {
            EXIT_OK
        } else {
            EXIT_UNREACHABLE_HOSTS
        })
    })?
}

async fn held(fleet: &mut Fleet) -> Vec<(String, Holder)> {
    let applications = fleet::applications(&fleet.contacts, "default");
    let mut held = Vec::new();
    for contact in &mut fleet.contacts {
        for application in &applications {
            if let Ok(Some(holder)) = contact.holder(application).await {
                held.push((contact.name.clone(), holder));
            }
        }
    }
    held
}

fn unreached(fleet: &Fleet) -> Vec<(String, String)> {
    let contacts = fleet.contacts.iter();
    contacts
        .filter_map(|contact| Some((contact.name.clone(), contact.known.as_ref().err()?.clone())))
        .collect()
}

fn lock_json(name: &str, holder: &Holder) -> Value {
    Value::map([
        ("name", Value::from(name)),
        ("application", holder.application.as_str().into()),
        ("id", holder.id.as_str().into()),
        ("who", holder.run.who.as_str().into()),
        ("controller", holder.run.host.as_str().into()),
        ("run_url", holder.run.run_url.clone().into()),
        ("since", when(holder.since).into()),
    ])
}

fn break_locks(args: &LockBreakArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    fleet::ask(&args.fleet, prepared, async |fleet| {
        let mut told = Vec::new();
        let mut code = EXIT_OK;
        for contact in &mut fleet.contacts {
            let holder = match &contact.known {
                Err(why) => Err(why.clone()),
                Ok(_) => contact.holder(&args.application).await,
            };
            let outcome = match holder {
                Err(why) => {
                    code = code.max(EXIT_UNREACHABLE_HOSTS);
                    format!("not known: {why}")
                }
                Ok(None) => continue,
                Ok(Some(_)) => match contact.break_lock(&args.application).await {
                    Ok(recovered) if recovered.report.stuck.is_empty() => {
                        format!("freed; its transaction is {}", fleet::word(recovered.state))
                    }
                    Ok(_) => {
                        code = code.max(EXIT_STUCK);
                        "freed; its transaction is STUCK".to_owned()
                    }
                    Err(why) => {
                        code = code.max(EXIT_STUCK);
                        format!("not freed: {why}")
                    }
                },
            };
            told.push((contact.name.clone(), outcome));
        }
        if args.fleet.json {
            let broken = told.iter().map(|(name, outcome)| {
                Value::map([
                    ("name", Value::from(name.as_str())),
                    ("outcome", outcome.as_str().into()),
                ])
            });
            fleet::print_json(&Value::list(broken))?;
        } else {
            let mut lines = String::new();
            for (name, outcome) in &told {
                lines.extend([name.as_str(), ": ", outcome.as_str(), "\n"]);
            }
            if lines.is_empty() {
                lines = format!("nobody holds the lock of `{}`\n", args.application);
            }
            fleet::print(&lines)?;
        }
        Ok(code)
    })?
}
