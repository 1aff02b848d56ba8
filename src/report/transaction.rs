//! What is told of transactions, as lines of text: whom a lock is waited for, who is put back,
//! and how it ended, with a last line that says what is true on every host.
//!
//! Lays out words only; colour and streams are the reporter's.

use std::collections::BTreeMap;

use crate::event::{Event, ParticipantEnd, ParticipantOutcome, TransactionEnd, TransactionOutcome};

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Changed,
    Bad,
}

/// Returns the lines of an event about transactions; of any other, none.
pub(super) fn lines(event: &Event) -> Vec<(Tone, String)> {
    match event {
        Event::LockAwaited { host, holder } => {
            let run = holder.run_url.as_ref().map(|url| format!(", run {url}"));
            let line = format!(
                "waiting for the lock of {host}: held by {} since {}{}",
                holder.who,
                holder.since_text(),
                run.unwrap_or_default()
            );
            vec![(Tone::Plain, line)]
        }
        Event::RollingBack {
            participants,
            reason,
        } => {
            let line = match reason.as_str() {
                "" => format!("rolling back on {}", participants.join(", ")),
                reason => format!("rolling back on {}: {reason}", participants.join(", ")),
            };
            vec![(Tone::Bad, line)]
        }
        Event::BlockUndone {
            host,
            block,
            participants,
        } => {
            let mut lines = vec![(Tone::Changed, format!("undone on {host}: block {block}"))];
            lines.extend(participants.iter().flat_map(details));
            lines
        }
        Event::TransactionEnded(outcome) => ended(outcome),
        _ => Vec::new(),
    }
}

fn ended(outcome: &TransactionOutcome) -> Vec<(Tone, String)> {
    if let Some(block) = &outcome.block {
        return block_ended(block, outcome);
    }
    let mut lines: Vec<_> = outcome
        .participants
        .iter()
        .flat_map(|participant| {
            let head = format!("{:<26} : {}", participant.name, state(&participant.end));
            let mut lines = vec![(tone(&participant.end), head)];
            lines.extend(details(participant));
            lines
        })
        .collect();
    lines.push(last_line(outcome));
    lines
}

fn block_ended(block: &str, outcome: &TransactionOutcome) -> Vec<(Tone, String)> {
    let told: Vec<String> = outcome
        .participants
        .iter()
        .map(|participant| format!("{} {}", participant.name, state(&participant.end)))
        .collect();
    let tone = match outcome.end {
        TransactionEnd::Committed => Tone::Good,
        TransactionEnd::RolledBack => Tone::Changed,
        TransactionEnd::Stuck | TransactionEnd::InDoubt => Tone::Bad,
    };
    let mut lines = vec![(tone, format!("block {block}: {}", told.join(", ")))];
    lines.extend(outcome.participants.iter().flat_map(details));
    lines
}

/// Returns how it ended for a participant, in words.
pub(super) fn state(end: &ParticipantEnd) -> String {
    match end {
        ParticipantEnd::Committed(Some(generation)) => {
            format!("committed, generation {generation}")
        }
        ParticipantEnd::Committed(None) => "unchanged".into(),
        ParticipantEnd::RolledBack => "rolled back".into(),
        ParticipantEnd::Stuck => "STUCK: not everything could be undone".into(),
        ParticipantEnd::Unknown(why) if why.is_empty() => "IN DOUBT: it does not answer".into(),
        ParticipantEnd::Unknown(why) => format!("IN DOUBT: {why}"),
    }
}

fn tone(end: &ParticipantEnd) -> Tone {
    match end {
        ParticipantEnd::Committed(Some(_)) => Tone::Changed,
        ParticipantEnd::Committed(None) => Tone::Good,
        ParticipantEnd::RolledBack => Tone::Plain,
        ParticipantEnd::Stuck | ParticipantEnd::Unknown(_) => Tone::Bad,
    }
}

fn details(participant: &ParticipantOutcome) -> Vec<(Tone, String)> {
    let mut lines = Vec::new();
    for (path, saved) in &participant.drift {
        let kept = match saved {
            Some(saved) => format!("their version is kept as {saved}"),
            None => "there was nothing of it to keep".to_owned(),
        };
        let line = format!("    drift: somebody else had changed {path}; {kept}");
        lines.push((Tone::Bad, line));
    }
    for (what, why) in &participant.stuck {
        lines.push((Tone::Bad, format!("    not undone: {what}: {why}")));
    }
    for what in &participant.not_undone {
        let line = format!("    not undone: {what}: nobody said what undoes it");
        lines.push((Tone::Bad, line));
    }
    lines
}

/// Returns the line that says what is true on every host.
pub(super) fn last_line(outcome: &TransactionOutcome) -> (Tone, String) {
    let all = &outcome.participants;
    let because = match &outcome.reason {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    match outcome.end {
        TransactionEnd::Committed => (Tone::Good, committed(all)),
        TransactionEnd::RolledBack => {
            let line = match all.len() {
                0 => format!("rolled back: no host was changed{because}"),
                _ => format!("rolled back: {} as before{because}", count_is(all.len())),
            };
            (Tone::Bad, line)
        }
        TransactionEnd::Stuck => {
            let left: usize = all
                .iter()
                .map(|it| it.stuck.len() + it.not_undone.len())
                .sum();
            let hosts: Vec<&str> = all
                .iter()
                .filter(|it| !it.stuck.is_empty() || !it.not_undone.is_empty())
                .map(|it| &*it.name)
                .collect();
            let things = if left == 1 {
                "1 thing".to_owned()
            } else {
                format!("{left} things")
            };
            let line = format!(
                "STUCK: rolled back except for {things} on {}, named above{because}",
                hosts.join(", ")
            );
            (Tone::Bad, line)
        }
        TransactionEnd::InDoubt => (Tone::Bad, in_doubt(all, &because)),
    }
}

fn committed(all: &[ParticipantOutcome]) -> String {
    let count =
        |wanted: fn(&ParticipantEnd) -> bool| all.iter().filter(|it| wanted(&it.end)).count();
    let changed = count(|end| matches!(end, ParticipantEnd::Committed(Some(_))));
    let unchanged = count(|end| matches!(end, ParticipantEnd::Committed(None)));
    let left_out: Vec<&str> = all
        .iter()
        .filter(|it| !matches!(it.end, ParticipantEnd::Committed(_)))
        .map(|it| &*it.name)
        .collect();
    let mut line = match (changed, unchanged) {
        (0, _) => "committed: nothing had changed".to_owned(),
        (changed, 0) => format!("committed on {}", hosts(changed)),
        (changed, unchanged) => {
            format!("committed on {}; {unchanged} unchanged", hosts(changed))
        }
    };
    if !left_out.is_empty() {
        line += &format!("; left out and put back: {}", left_out.join(", "));
    }
    line
}

fn in_doubt(all: &[ParticipantOutcome], because: &str) -> String {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for participant in all {
        let word = match participant.end {
            ParticipantEnd::Committed(Some(_)) => "committed",
            ParticipantEnd::Committed(None) => continue,
            ParticipantEnd::RolledBack => "rolled back",
            ParticipantEnd::Stuck => "stuck",
            ParticipantEnd::Unknown(_) => "unknown",
        };
        groups.entry(word).or_default().push(&participant.name);
    }
    let told: Vec<String> = groups
        .iter()
        .map(|(word, names)| format!("{word} on {}", names.join(", ")))
        .collect();
    format!(
        "IN DOUBT: {}{because}; settle it with `backstay recover`",
        told.join("; ")
    )
}

fn hosts(count: usize) -> String {
    if count == 1 {
        "1 host".to_owned()
    } else {
        format!("{count} hosts")
    }
}

fn count_is(count: usize) -> String {
    if count == 1 {
        "the host is".to_owned()
    } else {
        format!("all {count} hosts are")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn participant(name: &str, end: ParticipantEnd) -> ParticipantOutcome {
        ParticipantOutcome {
            name: name.into(),
            end,
            drift: Vec::new(),
            stuck: Vec::new(),
            not_undone: Vec::new(),
        }
    }

    fn told(end: TransactionEnd, participants: Vec<ParticipantOutcome>) -> String {
        let outcome = TransactionOutcome {
            id: "1".into(),
            block: None,
            end,
            reason: (end != TransactionEnd::Committed).then(|| "web2: no".into()),
            participants,
        };
        let lines = lines(&Event::TransactionEnded(outcome));
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }

    #[test]
    fn a_commit_tells_generations_and_who_was_unchanged() {
        assert_eq!(
            told(
                TransactionEnd::Committed,
                vec![
                    participant("web1", ParticipantEnd::Committed(Some(3))),
                    participant("web2", ParticipantEnd::Committed(None)),
                ]
            ),
            "web1                       : committed, generation 3\n\
             web2                       : unchanged\n\
             committed on 1 host; 1 unchanged\n"
        );
    }

    #[test]
    fn a_rollback_names_drift_and_what_nobody_can_undo() {
        let mut web1 = participant("web1", ParticipantEnd::RolledBack);
        web1.drift = vec![("/etc/a".into(), Some("/kept/1".into()))];
        web1.not_undone = vec!["command: ./migrate".into()];
        assert_eq!(
            told(TransactionEnd::Stuck, vec![web1]),
            "web1                       : rolled back\n\
             \x20   drift: somebody else had changed /etc/a; their version is kept as /kept/1\n\
             \x20   not undone: command: ./migrate: nobody said what undoes it\n\
             STUCK: rolled back except for 1 thing on web1, named above (web2: no)\n"
        );
        assert_eq!(
            told(
                TransactionEnd::RolledBack,
                vec![participant("web1", ParticipantEnd::RolledBack)]
            ),
            "web1                       : rolled back\n\
             rolled back: the host is as before (web2: no)\n"
        );
    }

    #[test]
    fn a_mixed_end_says_who_is_where_and_what_settles_it() {
        assert_eq!(
            told(
                TransactionEnd::InDoubt,
                vec![
                    participant("web1", ParticipantEnd::Committed(Some(1))),
                    participant("web2", ParticipantEnd::Unknown("no answer in time".into())),
                ]
            ),
            "web1                       : committed, generation 1\n\
             web2                       : IN DOUBT: no answer in time\n\
             IN DOUBT: committed on web1; unknown on web2 (web2: no); settle it with \
             `backstay recover`\n"
        );
    }
}
