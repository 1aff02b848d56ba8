//! `backstay status` and `backstay history`: what hosts know of their transactions.

use std::fmt::Write;

use clap::Parser;

use super::fleet::{self, FleetArgs, by, transaction, when, word};
use super::outcomes::{Across, found_word, said, unsettled};
use super::preparation::Preparation;
use crate::error::{EXIT_IN_DOUBT, EXIT_OK, EXIT_STUCK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::executor::Contact;
use crate::transaction::generations::releases;
use crate::transaction::state::{State, Summary};
use crate::value::Value;

/// `backstay status`.
#[derive(Debug, Parser)]
#[command(name = "backstay-status")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// `backstay history`.
#[derive(Debug, Parser)]
#[command(name = "backstay-history")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// Tells what stands on each host, what is open, and what differs.
pub(super) fn run(args: &StatusArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    fleet::ask(&args.fleet, prepared, async |fleet| {
        let across = unsettled(&said(&fleet.contacts));
        if args.fleet.json {
            fleet::print_json(&status_json(&fleet.contacts, &across))?;
        } else {
            fleet::print(&status_text(&fleet.contacts, &across))?;
        }
        Ok(exit_code(&fleet.contacts, &across))
    })?
}

/// Lists the transactions of each host, newest first.
pub(super) fn history(args: &HistoryArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    fleet::ask(&args.fleet, prepared, async |fleet| {
        if args.fleet.json {
            let hosts = fleet.contacts.iter().map(|contact| match &contact.known {
                Ok(known) => Value::map([
                    ("name", Value::from(contact.name.as_str())),
                    ("transactions", Value::list(known.iter().map(transaction))),
                ]),
                Err(why) => unreached(contact, why),
            });
            fleet::print_json(&Value::list(hosts))?;
        } else {
            fleet::print(&history_text(&fleet.contacts))?;
        }
        Ok(exit_code(&fleet.contacts, &[]))
    })?
}

/// Returns the code a script sees: in doubt before stuck before unreachable.
fn exit_code(contacts: &[Contact], across: &[Across]) -> u8 {
    let mut newest = contacts
        .iter()
        .filter_map(|contact| contact.known.as_ref().ok())
        .flat_map(|known| standing(known));
    if !across.is_empty() {
        EXIT_IN_DOUBT
    } else if newest.any(|summary| summary.state == State::Stuck) {
        EXIT_STUCK
    } else if contacts.iter().any(|contact| contact.known.is_err()) {
        EXIT_UNREACHABLE_HOSTS
    } else {
        EXIT_OK
    }
}

/// Returns the newest transaction of each application.
fn standing(known: &[Summary]) -> Vec<&Summary> {
    let mut found: Vec<&Summary> = Vec::new();
    for summary in known {
        if !found.iter().any(|it| it.application == summary.application) {
            found.push(summary);
        }
    }
    found
}

/// Returns the generation that stands on a host.
fn generation<'s>(known: &'s [Summary], application: &str) -> Option<&'s Summary> {
    known.iter().find(|summary| {
        summary.application == application
            && summary.state == State::Committed
            && summary.generation.is_some()
    })
}

fn status_text(contacts: &[Contact], across: &[Across]) -> String {
    let mut text = String::new();
    for contact in contacts {
        text += &contact.name;
        text.push('\n');
        match &contact.known {
            Err(why) => text += &format!("  not known: {why}\n"),
            Ok(known) if known.is_empty() => text += "  no transaction yet\n",
            Ok(known) => {
                for last in standing(known) {
                    text += &application_text(known, last);
                }
            }
        }
    }
    for across in across {
        text += &across_text(across);
    }
    text
}

fn application_text(known: &[Summary], last: &Summary) -> String {
    let mut text = String::new();
    let name = &last.application;
    match generation(known, name) {
        Some(stands) => {
            let health = if stands.healthy {
                ""
            } else {
                ", not known to be good"
            };
            let number = stands.generation.unwrap_or_default();
            let kind = &stands.run.kind;
            let at = when(stands.ended.unwrap_or(stands.opened));
            let release = match releases(name, known) {
                (Some(now), Some(before)) => format!(", version {now} (before: {before})"),
                (Some(now), None) => format!(", version {now}"),
                (None, _) => String::new(),
            };
            let line = format!(
                "  {name}: generation {number}{release}{health}, {kind} of {at} by {}\n",
                by(&stands.run)
            );
            text += &line;
        }
        None => text += &format!("  {name}: no generation\n"),
    }
    if last.state != State::Committed {
        text += &format!("    last: {}\n", one_line(last));
        text += &details(last);
    }
    text
}

fn one_line(summary: &Summary) -> String {
    let generation = summary
        .generation
        .map(|number| format!(" generation {number}"));
    let health = match (summary.state, summary.healthy) {
        (State::Committed, false) => ", not known to be good",
        _ => "",
    };
    let reason = summary.reason.as_ref().map(|why| format!(" ({why})"));
    format!(
        "{}{}{health} {} of {} by {}{}",
        word(summary.state),
        generation.unwrap_or_default(),
        summary.run.kind,
        when(summary.opened),
        by(&summary.run),
        reason.unwrap_or_default()
    )
}

fn details(summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(diagnosis) = fleet::diagnosis(summary) {
        writeln!(text, "      diagnosis: {}", diagnosis.line()).expect("texts take every line");
    }
    for drift in &summary.drift {
        let kept = drift.saved.as_ref().map(|path| format!("; kept as {path}"));
        let kept = kept.unwrap_or_default();
        writeln!(text, "      drift: {}{kept}", drift.path).expect("texts take every line");
    }
    for item in &summary.stuck {
        writeln!(text, "      not undone: {}: {}", item.what, item.why)
            .expect("texts take every line");
    }
    for what in &summary.opaque {
        writeln!(text, "      not undone: {what}: nobody said what undoes it")
            .expect("texts take every line");
    }
    text
}

fn across_text(across: &Across) -> String {
    let told: Vec<String> = across
        .found
        .iter()
        .map(|(name, found)| format!("{} on {name}", found_word(*found)))
        .collect();
    format!(
        "IN DOUBT: transaction {} of {}: {}; settle it with `backstay recover`\n",
        across.id,
        across.application,
        told.join(", ")
    )
}

fn history_text(contacts: &[Contact]) -> String {
    let mut text = String::new();
    for contact in contacts {
        text += &contact.name;
        text.push('\n');
        match &contact.known {
            Err(why) => text += &format!("  not known: {why}\n"),
            Ok(known) if known.is_empty() => text += "  no transaction yet\n",
            Ok(known) => {
                for summary in known {
                    let line = one_line(summary);
                    text += &format!("  {}: {line}, {}\n", summary.application, &summary.id);
                    if summary.state != State::Committed {
                        text += &details(summary);
                    }
                }
            }
        }
    }
    text
}

fn unreached(contact: &Contact, why: &str) -> Value {
    Value::map([
        ("name", Value::from(contact.name.as_str())),
        ("error", why.into()),
    ])
}

fn status_json(contacts: &[Contact], across: &[Across]) -> Value {
    let hosts = contacts.iter().map(|contact| match &contact.known {
        Err(why) => unreached(contact, why),
        Ok(known) => {
            let applications = standing(known).into_iter().map(|last| {
                let stands = generation(known, &last.application);
                let (version, previous) = releases(&last.application, known);
                Value::map([
                    ("application", Value::from(last.application.as_str())),
                    ("version", version.into()),
                    ("previous", previous.into()),
                    ("stands", stands.map_or(Value::Null, transaction)),
                    ("last", transaction(last)),
                ])
            });
            Value::map([
                ("name", Value::from(contact.name.as_str())),
                ("applications", Value::list(applications)),
            ])
        }
    });
    let in_doubt = across.iter().map(|across| {
        let found = across.found.iter();
        let found = found.map(|(name, found)| {
            let word = found_word(*found).to_lowercase().replace(' ', "_");
            (name.as_str(), Value::from(word))
        });
        Value::map([
            ("id", Value::from(across.id.as_str())),
            ("application", across.application.as_str().into()),
            ("hosts", Value::map(found)),
        ])
    });
    Value::map([
        ("hosts", Value::list(hosts)),
        ("in_doubt", Value::list(in_doubt)),
    ])
}
