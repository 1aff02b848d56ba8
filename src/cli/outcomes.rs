//! Transactions put side by side over all hosts: which are open, which differ, and what settles
//! them.
//!
//! Pure: reads what hosts said and asks nobody.

use std::collections::BTreeSet;

use crate::agent::protocol::Decision;
use crate::executor::Contact;
use crate::transaction::coordinator::{self, Found, LEFT_OUT, Settling, settle};
use crate::transaction::state::{State, Summary};

/// One transaction as all hosts tell it.
#[derive(Debug, PartialEq)]
pub(super) struct Across {
    pub(super) id: String,
    pub(super) application: String,
    /// Participants by name, and what is found there. Those nobody asked are unknown.
    pub(super) found: Vec<(String, Found)>,
}

/// What a host said, by its name.
pub(super) type Said<'a> = (&'a str, Option<&'a [Summary]>);

/// Returns what hosts said.
pub(super) fn said(contacts: &[Contact]) -> Vec<Said<'_>> {
    contacts
        .iter()
        .map(|contact| (contact.name.as_str(), contact.known.as_deref().ok()))
        .collect()
}

/// Gathers the transactions that are not the same everywhere, or not over.
pub(super) fn unsettled(said: &[Said<'_>]) -> Vec<Across> {
    let ids: BTreeSet<&str> = said
        .iter()
        .filter_map(|(_, list)| *list)
        .flatten()
        .map(|summary| summary.id.as_str())
        .collect();
    let mut all: Vec<Across> = ids.into_iter().map(|id| across(id, said)).collect();
    all.retain(|across| {
        let found: Vec<Found> = across.found.iter().map(|(_, found)| *found).collect();
        let open = |it: &Found| matches!(it, Found::Prepared | Found::Undecided);
        coordinator::is_mixed(&found) || found.iter().any(open)
    });
    all
}

fn across(id: &str, said: &[Said<'_>]) -> Across {
    let mut found = Vec::new();
    let mut application = String::new();
    let mut participants: BTreeSet<&str> = BTreeSet::new();
    for (name, list) in said {
        let Some(list) = list else {
            continue;
        };
        let Some(at) = list.iter().position(|summary| summary.id == id) else {
            continue;
        };
        application.clone_from(&list[at].application);
        participants.extend(list[at].run.participants.iter().map(String::as_str));
        found.push(((*name).to_owned(), standing(&list[at], &list[..at])));
    }
    for name in participants {
        let asked = said.iter().find(|(known, _)| *known == name);
        match asked {
            // It was asked and knows nothing: it changed nothing.
            Some((_, Some(_))) => {}
            Some((_, None)) | None => found.push((name.to_owned(), Found::Unknown)),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Across {
        id: id.to_owned(),
        application,
        found,
    }
}

/// Reads how a transaction stands on a host, where `later` are the host's newer ones.
fn standing(summary: &Summary, later: &[Summary]) -> Found {
    match summary.state {
        State::Committed => {
            let after = later
                .iter()
                .rev()
                .find(|it| it.application == summary.application && it.state == State::Committed);
            match after {
                _ if summary.generation.is_none() => Found::Absent,
                None => Found::Committed,
                Some(after) if after.run.kind == "rollback" => Found::RolledBack,
                // Somebody has deployed since; nothing of it is to be settled any more.
                Some(_) => Found::Absent,
            }
        }
        State::RolledBack if summary.reason.as_deref() == Some(LEFT_OUT) => Found::Absent,
        State::RolledBack => Found::RolledBack,
        State::Stuck => Found::Stuck,
        State::Prepared => Found::Prepared,
        _ => Found::Undecided,
    }
}

/// Decides what each participant is to do: those that are to do nothing are not named.
pub(super) fn decisions(across: &Across) -> Vec<(String, Decision)> {
    let found: Vec<Found> = across.found.iter().map(|(_, found)| *found).collect();
    let names = across.found.iter().map(|(name, _)| name.clone());
    names
        .zip(settle(&found))
        .filter_map(|(name, settling)| {
            let decision = match settling {
                Settling::Leave => return None,
                Settling::Commit => Decision::Commit,
                Settling::Abort => Decision::Abort,
                Settling::Revert => Decision::Revert,
            };
            Some((name, decision))
        })
        .collect()
}

/// Returns the word for what is found.
pub(super) fn found_word(found: Found) -> &'static str {
    match found {
        Found::Absent => "unchanged",
        Found::Undecided => "open",
        Found::Prepared => "prepared",
        Found::Committed => "committed",
        Found::RolledBack => "rolled back",
        Found::Stuck => "STUCK",
        Found::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::state::RunInfo;

    fn summary(id: &str, state: State, kind: &str) -> Summary {
        Summary {
            id: id.into(),
            application: "default".into(),
            run: RunInfo {
                kind: kind.into(),
                participants: vec!["web1".into(), "web2".into()],
                ..RunInfo::default()
            },
            state,
            opened: 1,
            ended: None,
            generation: (state == State::Committed).then_some(1),
            healthy: true,
            changes: 1,
            reason: None,
            drift: Vec::new(),
            stuck: Vec::new(),
            opaque: Vec::new(),
        }
    }

    #[test]
    fn committed_here_and_rolled_back_there_is_mixed_and_the_committed_one_goes_back() {
        let web1 = [summary("t", State::Committed, "deploy")];
        let web2 = [summary("t", State::RolledBack, "deploy")];
        let found = unsettled(&[("web1", Some(&web1)), ("web2", Some(&web2))]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            decisions(&found[0]),
            [("web1".to_owned(), Decision::Revert)]
        );
        // Afterwards the revert stands on top, and nothing is left to settle.
        let web1 = [
            summary("r", State::Committed, "rollback"),
            summary("t", State::Committed, "deploy"),
        ];
        let after = unsettled(&[("web1", Some(&web1)), ("web2", Some(&web2))]);
        assert!(after.iter().all(|across| across.id != "t"), "{after:?}");
    }

    #[test]
    fn a_host_that_was_not_asked_is_unknown_and_one_that_knows_nothing_is_unchanged() {
        let web1 = [summary("t", State::Committed, "deploy")];
        let found = unsettled(&[("web1", Some(&web1))]);
        assert_eq!(
            found[0].found,
            [
                ("web1".to_owned(), Found::Committed),
                ("web2".to_owned(), Found::Unknown)
            ]
        );
        assert!(unsettled(&[("web1", Some(&web1)), ("web2", Some(&[]))]).is_empty());
    }

    #[test]
    fn prepared_everywhere_without_a_commit_goes_back() {
        let prepared = [summary("t", State::Prepared, "deploy")];
        let found = unsettled(&[("web1", Some(&prepared)), ("web2", Some(&prepared))]);
        let decisions = decisions(&found[0]);
        assert!(decisions.iter().all(|(_, it)| *it == Decision::Abort));
        assert_eq!(decisions.len(), 2);
    }
}
