//! Which state a rollback goes back to, read from what was committed on all hosts.
//!
//! A rollback is a commit of its own, so the newest one is not always the one whose state stands:
//! deploys are a stack, and a rollback takes from it.

use super::state::{State, Summary};

/// A transaction that was committed somewhere, as all hosts tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    /// Seconds since the epoch, by the first host that opened it.
    pub opened: i64,
    pub healthy: bool,
    /// The rollback it is, and the transaction it went back to where it says so.
    pub rollback: Option<Option<String>>,
    /// What was deployed, where the user named it.
    pub release: Option<String>,
}

/// Where a rollback goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// Nothing stands that could be undone.
    Nowhere,
    /// To the state before everything that stands.
    BeforeFirst,
    /// To the state that this transaction made.
    To(Commit),
}

/// Gathers the commits of an application from the lists of several hosts, oldest first.
pub fn commits<'s>(
    application: &str,
    lists: impl IntoIterator<Item = &'s [Summary]>,
) -> Vec<Commit> {
    let mut found: Vec<Commit> = Vec::new();
    let summaries = lists.into_iter().flatten().filter(|summary| {
        summary.application == application
            && summary.state == State::Committed
            && summary.generation.is_some()
    });
    for summary in summaries {
        match found.iter_mut().find(|known| known.id == summary.id) {
            Some(known) => {
                known.opened = known.opened.min(summary.opened);
                known.healthy &= summary.healthy;
            }
            None => found.push(Commit {
                id: summary.id.clone(),
                opened: summary.opened,
                healthy: summary.healthy,
                rollback: (summary.run.kind == "rollback").then(|| summary.run.target.clone()),
                release: summary.run.release.clone(),
            }),
        }
    }
    // Two that were opened in one second are told apart by the order of the hosts' own lists.
    found.reverse();
    found.sort_by_key(|commit| commit.opened);
    found
}

/// Returns the deploys whose effect stands, oldest first.
pub fn standing(commits: &[Commit]) -> Vec<&Commit> {
    let mut stack: Vec<&Commit> = Vec::new();
    for commit in commits {
        match &commit.rollback {
            None => stack.push(commit),
            Some(None) => {
                stack.pop();
            }
            Some(Some(target)) => {
                // A target that is not known any more was before everything that is.
                let at = stack.iter().position(|known| known.id == *target);
                stack.truncate(at.map_or(0, |at| at + 1));
            }
        }
    }
    stack
}

/// Returns the release that stands on a host and the one before it, from its list, newest first.
pub fn releases(application: &str, list: &[Summary]) -> (Option<String>, Option<String>) {
    let commits = commits(application, [list]);
    let mut stack = standing(&commits).into_iter().rev();
    let mut release = || stack.next().and_then(|commit| commit.release.clone());
    (release(), release())
}

/// Returns where the last known good state before the present one is.
pub fn last_known_good(commits: &[Commit]) -> Back {
    let stack = standing(commits);
    let Some((_, before)) = stack.split_last() else {
        return Back::Nowhere;
    };
    match before.iter().rev().find(|commit| commit.healthy) {
        Some(good) => Back::To((*good).clone()),
        None => Back::BeforeFirst,
    }
}

/// Returns the number of the generation a host has to go back to for `back`; `None` when nothing
/// of it stands there.
pub fn generation_of(back: &Back, application: &str, list: &[Summary]) -> Option<u64> {
    let committed: Vec<&Summary> = list
        .iter()
        .filter(|summary| summary.application == application && summary.state == State::Committed)
        .collect();
    let newest = committed.iter().filter_map(|it| it.generation).max()?;
    let to = match back {
        Back::Nowhere => return None,
        Back::BeforeFirst => 0,
        Back::To(commit) => {
            let own = committed.iter().find(|it| it.id == commit.id);
            match own.and_then(|it| it.generation) {
                Some(generation) => generation,
                // It changed nothing here: what was here at its time is its state.
                None => committed
                    .iter()
                    .filter(|it| it.opened <= commit.opened)
                    .filter_map(|it| it.generation)
                    .max()
                    .unwrap_or(0),
            }
        }
    };
    (to < newest).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::super::state::RunInfo;
    use super::*;

    fn summary(id: &str, generation: u64, kind: &str, target: Option<&str>) -> Summary {
        Summary {
            id: id.into(),
            application: "default".into(),
            run: RunInfo {
                kind: kind.into(),
                target: target.map(Into::into),
                ..RunInfo::default()
            },
            state: State::Committed,
            opened: i64::try_from(generation).unwrap(),
            ended: None,
            generation: Some(generation),
            healthy: true,
            changes: 1,
            reason: None,
            drift: Vec::new(),
            stuck: Vec::new(),
            opaque: Vec::new(),
        }
    }

    fn back(list: &[Summary]) -> Option<String> {
        match last_known_good(&commits("default", [list])) {
            Back::Nowhere => None,
            Back::BeforeFirst => Some("before the first".into()),
            Back::To(commit) => Some(commit.id),
        }
    }

    #[test]
    fn a_second_rollback_goes_further_back_and_does_not_flip() {
        let mut list = vec![summary("a", 1, "deploy", None)];
        assert_eq!(back(&list).as_deref(), Some("before the first"));
        list.push(summary("b", 2, "deploy", None));
        list.push(summary("c", 3, "deploy", None));
        assert_eq!(back(&list).as_deref(), Some("b"));
        list.push(summary("r", 4, "rollback", Some("b")));
        assert_eq!(back(&list).as_deref(), Some("a"));
        list.push(summary("s", 5, "rollback", Some("a")));
        assert_eq!(back(&list).as_deref(), Some("before the first"));
        list.push(summary("d", 6, "deploy", None));
        assert_eq!(back(&list).as_deref(), Some("a"));
    }

    #[test]
    fn what_is_not_known_to_be_good_is_passed_over() {
        let mut list = vec![
            summary("a", 1, "deploy", None),
            summary("b", 2, "deploy", None),
            summary("c", 3, "deploy", None),
        ];
        list[1].healthy = false;
        assert_eq!(back(&list).as_deref(), Some("a"));
        assert_eq!(back(&[]), None);
    }

    #[test]
    fn a_host_goes_to_its_own_generation_of_the_state_or_to_none_when_it_is_there() {
        let list = [
            summary("a", 1, "deploy", None),
            summary("c", 3, "deploy", None),
        ];
        let commit = |id: &str, opened| {
            Back::To(Commit {
                id: id.into(),
                opened,
                healthy: true,
                rollback: None,
                release: None,
            })
        };
        assert_eq!(generation_of(&commit("a", 1), "default", &list), Some(1));
        // `b` changed nothing here.
        assert_eq!(generation_of(&commit("b", 2), "default", &list), Some(1));
        assert_eq!(generation_of(&commit("c", 3), "default", &list), None);
        assert_eq!(generation_of(&Back::BeforeFirst, "default", &list), Some(0));
        assert_eq!(generation_of(&Back::BeforeFirst, "other", &list), None);
    }
}
