//! How a transaction ends: carries the coordinator's orders to the participants and their
//! answers back, until the coordinator has its verdict.
//!
//! COMMIT is sent over the fresh connections that confirmed. One that is not acknowledged is
//! asked about until its lease is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Deploy;
use super::opening::{join_all, let_go};
use super::participant::{NotAttached, Participant, Slot};
use crate::agent::client::RequestError;
use crate::agent::protocol::{UndoReport, Vote};
use crate::event::{Event, ParticipantEnd, ParticipantOutcome, TransactionEnd, TransactionOutcome};
use crate::executor::{Cancellation, Rollback};
use crate::transaction::coordinator::{self, Happened, Member, Order, Verdict};
use crate::transaction::state::{Drift, Item, State, Summary};

/// Between two attempts to have a commit acknowledged.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an interrupted end waits for the outcome.
const INTERRUPTED: Duration = Duration::from_secs(5);

/// How a transaction is to end.
struct Ending {
    first: Happened,
    healthy: bool,
    patience: Duration,
}

/// What the end of a transaction waited for.
enum Next {
    Interrupted,
    TooLate,
    Answered(Option<Result<Answered, tokio::task::JoinError>>),
}

async fn interrupted(cancel: &mut Option<&mut Cancellation>) {
    match cancel {
        Some(cancel) => cancel.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// What a participant last said of its end.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWord {
    generation: Option<u64>,
    report: UndoReport,
    /// Why it is not known about, or said no.
    why: Option<String>,
}

/// A participant's answer to an order.
struct Answered {
    member: Member,
    happened: Happened,
    word: LastWord,
}

impl Deploy {
    /// Commits everywhere, or nowhere. `healthy` makes the generation one to come back to.
    ///
    /// An interruption before the first COMMIT aborts; after it, everybody commits.
    pub(in crate::executor) async fn finish(
        self: &Arc<Self>,
        healthy: bool,
        cancel: &mut Cancellation,
    ) -> TransactionOutcome {
        let ending = Ending {
            first: Happened::Finished,
            healthy,
            patience: Duration::MAX,
        };
        self.end(ending, Some(cancel)).await
    }

    /// Undoes everything everywhere; those that do not answer within `patience` are left to
    /// their guardians.
    pub(in crate::executor) async fn abort(
        self: &Arc<Self>,
        reason: &str,
        patience: Duration,
    ) -> TransactionOutcome {
        self.give_reason(reason);
        let ending = Ending {
            first: Happened::Failed,
            healthy: false,
            patience,
        };
        self.end(ending, None).await
    }

    /// Lets go of what is open of a transaction that never began, and tells nobody.
    pub(in crate::executor) async fn let_go(&self) {
        for participant in self.members() {
            if let Some(session) = &mut participant.slot.lock().await.session {
                let_go(&mut **session).await;
            }
        }
        self.close(&self.members()).await;
    }

    /// Undoes hosts that failed as far as the plays allow, and goes on without them.
    pub(in crate::executor) async fn leave_out(
        self: &Arc<Self>,
        hosts: impl IntoIterator<Item = &Arc<str>>,
    ) {
        for host in hosts {
            for participant in self.participants_of(host) {
                self.table().coordinator.leave(participant.member);
                let mut slot = participant.slot.lock().await;
                let reason = coordinator::LEFT_OUT;
                let (_, word) = self
                    .undo(participant.member, &participant, &mut slot, reason)
                    .await;
                self.table().left.insert(participant.member, word);
            }
        }
    }

    /// Undoes, inside the transaction, the generations after the one each participant goes to.
    pub(in crate::executor) async fn roll_back_generations(
        &self,
        rollback: &Rollback,
    ) -> Result<(), String> {
        let going = rollback.steps.iter().map(|(target, to)| async move {
            let Some(participant) = self.known(target) else {
                return Ok(());
            };
            let name = &participant.name;
            let mut slot = participant.slot.lock().await;
            let Some(session) = &mut slot.session else {
                return Err(format!("{name}: the connection was lost"));
            };
            let report = session.agent().roll_back_generation(*to).await;
            let report = report.map_err(|error| format!("{name}: {error}"))?;
            for (path, saved) in drifted(&report.drift) {
                let kept = saved.map(|saved| format!("; their version is kept as {saved}"));
                let kept = kept.unwrap_or_default();
                self.warn(format!("{name}: somebody else had changed {path}{kept}"));
            }
            for what in &report.opaque {
                self.warn(format!("{name}: nobody said what undoes {what}"));
            }
            match report.stuck.first() {
                Some(item) => Err(format!("{name}: {}: {}", item.what, item.why)),
                None => Ok(()),
            }
        });
        join_all(going).await.into_iter().collect()
    }

    async fn end(
        self: &Arc<Self>,
        ending: Ending,
        mut cancel: Option<&mut Cancellation>,
    ) -> TransactionOutcome {
        let Ending {
            first,
            healthy,
            patience,
        } = ending;
        let mut deadline = Instant::now().checked_add(patience);
        let members = self.members();
        let mut words = vec![LastWord::default(); members.len()];
        let mut carrying: JoinSet<Answered> = JoinSet::new();
        let mut orders = self.take(first);
        loop {
            self.announce(&orders, &members);
            for order in orders.drain(..) {
                let participant = Arc::clone(&members[member_of(order)]);
                let deploy = Arc::clone(self);
                carrying.spawn(async move { deploy.carry(order, &participant, healthy).await });
            }
            let happened = tokio::select! {
                biased;
                () = interrupted(&mut cancel) => Next::Interrupted,
                () = until(deadline) => Next::TooLate,
                answered = carrying.join_next() => Next::Answered(answered),
            };
            match happened {
                Next::Interrupted => {
                    cancel = None;
                    if self.take_failure() {
                        deadline = Some(Instant::now() + INTERRUPTED);
                        orders = self.take(Happened::Failed);
                    }
                }
                Next::Answered(Some(Ok(answered))) => {
                    if let (Some(why), true) = (&answered.word.why, self.may_explain()) {
                        let name = &members[answered.member].name;
                        self.give_reason(&format!("{name}: {why}"));
                    }
                    words[answered.member] = answered.word;
                    orders = self.take(answered.happened);
                }
                // A carrier that panicked leaves its participant awaited.
                Next::Answered(Some(Err(_))) => {}
                Next::Answered(None) | Next::TooLate => {
                    for member in self.table().coordinator.awaited() {
                        words[member]
                            .why
                            .get_or_insert_with(|| "no answer in time".into());
                        self.take(Happened::Lost(member));
                    }
                    break;
                }
            }
        }
        let outcome = self.outcome(&members, &words);
        self.tell(Event::TransactionEnded(outcome.clone()));
        self.close(&members).await;
        outcome
    }

    /// Gives an interruption as the reason, where it still can be one.
    fn take_failure(&self) -> bool {
        let may_abort = self.table().coordinator.may_abort();
        if may_abort {
            self.give_reason("the run was interrupted");
        }
        may_abort
    }

    fn take(&self, happened: Happened) -> Vec<Order> {
        self.table().coordinator.take(happened)
    }

    fn may_explain(&self) -> bool {
        self.table().reason.is_none()
    }

    /// Remembers why the transaction is not committed, unless there is a reason already.
    pub(in crate::executor) fn give_reason(&self, reason: &str) {
        self.table().reason.get_or_insert_with(|| reason.to_owned());
    }

    fn announce(&self, orders: &[Order], members: &[Arc<Participant>]) {
        let aborted: Vec<_> = orders
            .iter()
            .filter_map(|order| match order {
                Order::Abort(member) => Some(Arc::clone(&members[*member].name)),
                _ => None,
            })
            .collect();
        if !aborted.is_empty() {
            let reason = self.table().reason.clone();
            self.tell(Event::RollingBack {
                participants: aborted,
                reason: reason.unwrap_or_default(),
            });
        }
    }

    async fn carry(&self, order: Order, participant: &Participant, healthy: bool) -> Answered {
        let mut slot = participant.slot.lock().await;
        let (happened, word) = match order {
            Order::Prepare(member) => self.prepare(member, &mut slot).await,
            Order::Confirm(member) => self.confirm(member, participant, &mut slot).await,
            Order::Commit(member) => self.commit(member, participant, &mut slot, healthy).await,
            Order::Abort(member) => {
                let reason = self.table().reason.clone().unwrap_or_default();
                self.undo(member, participant, &mut slot, &reason).await
            }
        };
        Answered {
            member: member_of(order),
            happened,
            word,
        }
    }

    async fn prepare(&self, member: Member, slot: &mut Slot) -> (Happened, LastWord) {
        let Some(session) = &mut slot.session else {
            let why = "the connection was lost".to_owned();
            return (Happened::Lost(member), LastWord::lost(why));
        };
        let asking = session.agent().prepare();
        match tokio::time::timeout(self.options.lease, asking).await {
            Ok(Ok(Vote::Yes { .. })) => (
                Happened::Voted(member, coordinator::Vote::Yes),
                LastWord::default(),
            ),
            Ok(Ok(Vote::No { why })) => (
                Happened::Voted(member, coordinator::Vote::No),
                LastWord::lost(why),
            ),
            Ok(Err(error)) => (Happened::Lost(member), LastWord::lost(error.to_string())),
            Err(_) => {
                let why = "it did not prepare within the lease".to_owned();
                (Happened::Lost(member), LastWord::lost(why))
            }
        }
    }

    async fn confirm(
        &self,
        member: Member,
        participant: &Participant,
        slot: &mut Slot,
    ) -> (Happened, LastWord) {
        let reason = match participant.attach(self, slot).await {
            Ok(attached) if attached.state == State::Prepared => {
                return (Happened::Confirmed(member), LastWord::default());
            }
            // Its lease was over before we came.
            Ok(_) => "it is not open any more".to_owned(),
            Err(not_attached) => not_attached.reason(),
        };
        let why = format!("a fresh connection does not reach the transaction: {reason}");
        (Happened::Lost(member), LastWord::lost(why))
    }

    /// Has a commit acknowledged: over the connection that confirmed, then over new ones.
    async fn commit(
        &self,
        member: Member,
        participant: &Participant,
        slot: &mut Slot,
        healthy: bool,
    ) -> (Happened, LastWord) {
        let deadline = Instant::now() + self.options.lease;
        // Where a host is reached, and is lost again with each commit.
        let last = deadline + 2 * self.options.lease;
        loop {
            let why = match self.commit_once(slot, healthy).await {
                Ok(generation) => {
                    let word = LastWord {
                        generation,
                        ..LastWord::default()
                    };
                    return (Happened::Committed(member), word);
                }
                Err(why) => why,
            };
            slot.session = None;
            match participant.attach(self, slot).await {
                Ok(attached)
                    if matches!(attached.state, State::Prepared | State::Committed)
                        && Instant::now() < last => {}
                // What is no longer open has ended one way or the other; it says which.
                Ok(_) | Err(NotAttached::Refused(_)) => {
                    return self.ask_how_it_ended(member, participant, why).await;
                }
                Err(NotAttached::Lost(_)) if Instant::now() >= deadline => {
                    return (Happened::Lost(member), LastWord::lost(why));
                }
                Err(NotAttached::Lost(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn commit_once(&self, slot: &mut Slot, healthy: bool) -> Result<Option<u64>, String> {
        let Some(session) = &mut slot.session else {
            return Err("the connection was lost".into());
        };
        let committing = session.agent().commit(healthy);
        match tokio::time::timeout(self.options.lease, committing).await {
            Ok(Ok(committed)) => Ok(committed.generation),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the commit was not acknowledged within the lease".into()),
        }
    }

    async fn undo(
        &self,
        member: Member,
        participant: &Participant,
        slot: &mut Slot,
        reason: &str,
    ) -> (Happened, LastWord) {
        if slot.session.is_none()
            && let Err(not_attached) = participant.attach(self, slot).await
        {
            let why = not_attached.reason();
            return self.ask_how_it_ended(member, participant, why).await;
        }
        let Some(session) = &mut slot.session else {
            let why = "the connection was lost".to_owned();
            return (Happened::Lost(member), LastWord::lost(why));
        };
        match session.agent().abort(reason).await {
            Ok(report) => undone(member, report),
            Err(RequestError::Refused(why)) => {
                self.ask_how_it_ended(member, participant, why).await
            }
            Err(RequestError::Agent(error)) => {
                slot.session = None;
                let why = error.to_string();
                self.ask_how_it_ended(member, participant, why).await
            }
        }
    }

    /// Asks a host over a new connection what became of the transaction there.
    async fn ask_how_it_ended(
        &self,
        member: Member,
        participant: &Participant,
        why: String,
    ) -> (Happened, LastWord) {
        let asking = async {
            let mut session = self.connector.open_afresh(&participant.target).await.ok()?;
            let known = session.agent().transactions().await.ok()?;
            session.close().await;
            Some(known.into_iter().find(|known| known.id == self.id))
        };
        match tokio::time::timeout(self.options.lease, asking).await {
            Ok(Some(Some(found))) => settled(member, found, why),
            // Nothing is kept of a transaction that changed nothing.
            Ok(Some(None)) => (Happened::RolledBack(member), LastWord::default()),
            Ok(None) | Err(_) => (Happened::Lost(member), LastWord::lost(why)),
        }
    }

    fn outcome(&self, members: &[Arc<Participant>], words: &[LastWord]) -> TransactionOutcome {
        let (verdict, standings) = {
            let table = self.table();
            (
                table.coordinator.verdict(),
                table.coordinator.standings().to_vec(),
            )
        };
        let left = self.table().left.clone();
        let mut harmless = self.table().harmless.clone();
        let participants: Vec<_> = members
            .iter()
            .zip(words)
            .map(|(participant, word)| {
                let word = left.get(&participant.member).unwrap_or(word);
                let end = match standings[participant.member] {
                    coordinator::Standing::LeftOut if word.why.is_none() => {
                        ParticipantEnd::RolledBack
                    }
                    coordinator::Standing::Committed => ParticipantEnd::Committed(word.generation),
                    coordinator::Standing::RolledBack => ParticipantEnd::RolledBack,
                    coordinator::Standing::Stuck => ParticipantEnd::Stuck,
                    _ => ParticipantEnd::Unknown(word.why.clone().unwrap_or_default()),
                };
                let mut not_undone = Vec::new();
                if !matches!(end, ParticipantEnd::Committed(_)) {
                    not_undone = harmless.taken_from(&participant.host, &word.report.opaque);
                    not_undone.extend(participant.done_beside());
                }
                ParticipantOutcome {
                    name: Arc::clone(&participant.name),
                    end,
                    drift: drifted(&word.report.drift),
                    stuck: items(&word.report.stuck),
                    not_undone,
                }
            })
            .collect();
        let remains = participants.iter().any(|it| !it.not_undone.is_empty());
        TransactionOutcome {
            id: self.id.clone(),
            block: self.block.clone(),
            end: match verdict {
                Some(Verdict::Committed) => TransactionEnd::Committed,
                Some(Verdict::RolledBack) if !remains => TransactionEnd::RolledBack,
                Some(Verdict::RolledBack | Verdict::Stuck) => TransactionEnd::Stuck,
                Some(Verdict::InDoubt) | None => TransactionEnd::InDoubt,
            },
            reason: self.table().reason.clone(),
            participants,
        }
    }

    async fn close(&self, members: &[Arc<Participant>]) {
        let mut closing = JoinSet::new();
        for participant in members {
            // One whose way is still in use is not waited for; dropping it ends it.
            if let Ok(mut slot) = participant.slot.try_lock()
                && let Some(session) = slot.session.take()
            {
                closing.spawn(session.close());
            }
        }
        closing.join_all().await;
    }
}

impl LastWord {
    fn lost(why: String) -> Self {
        Self {
            why: Some(why),
            ..Self::default()
        }
    }
}

fn member_of(order: Order) -> Member {
    match order {
        Order::Prepare(member)
        | Order::Confirm(member)
        | Order::Commit(member)
        | Order::Abort(member) => member,
    }
}

fn undone(member: Member, report: UndoReport) -> (Happened, LastWord) {
    let happened = if report.is_rolled_back() {
        Happened::RolledBack(member)
    } else {
        Happened::Stuck(member)
    };
    let word = LastWord {
        report,
        ..LastWord::default()
    };
    (happened, word)
}

/// Reads what a host lists about the transaction.
fn settled(member: Member, found: Summary, why: String) -> (Happened, LastWord) {
    let happened = match found.state {
        State::Committed => Happened::Committed(member),
        State::RolledBack => Happened::RolledBack(member),
        State::Stuck => Happened::Stuck(member),
        _ => return (Happened::Lost(member), LastWord::lost(why)),
    };
    let word = LastWord {
        generation: found.generation,
        report: UndoReport {
            drift: found.drift,
            stuck: found.stuck,
            opaque: found.opaque,
        },
        why: None,
    };
    (happened, word)
}

pub(super) fn drifted(drift: &[Drift]) -> Vec<(String, Option<String>)> {
    let pairs = drift.iter();
    pairs
        .map(|it| (it.path.clone(), it.saved.clone()))
        .collect()
}

pub(super) fn items(items: &[Item]) -> Vec<(String, String)> {
    items
        .iter()
        .map(|item| (item.what.clone(), item.why.clone()))
        .collect()
}
