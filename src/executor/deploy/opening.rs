//! How a transaction begins: whom it needs, in which order locks are taken, and how long they
//! are waited for.
//!
//! Locks are first tried all at once without waiting. When one is held, everything is let go and
//! taken again one after the other in sorted order, so that two runs never wait for each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::participant::name_of;
use super::{Deploy, Participant, identity, random_id};
use crate::agent::client::OpenError;
use crate::agent::protocol::Open;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, LockHolder};
use crate::executor::failure::Failure;
use crate::executor::session::{Session, Target};
use crate::transaction::lock::Holder;
use crate::transaction::state::{State, Summary};

/// Between two lines about a lock that is waited for.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// Between two attempts to take a lock.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a participant did not join.
pub(in crate::executor) enum NotOpened {
    Locked(Arc<str>, Box<Holder>),
    /// The host is not reached, or refuses.
    Failed(Arc<str>, Failure),
}

impl NotOpened {
    /// Returns the error that ends the run, and the host when it is one that was not reached.
    pub(in crate::executor) fn error(self) -> (Error, Option<Arc<str>>) {
        match self {
            Self::Locked(host, holder) => (locked(&host, &holder), None),
            Self::Failed(host, failure) => {
                let kind = if failure.unreachable {
                    ErrorKind::Unreachable
                } else {
                    ErrorKind::TaskFailed
                };
                let unreachable = failure.unreachable.then(|| Arc::clone(&host));
                let message = format!("{host}: {}", failure.brief());
                (Error::new(kind, message), unreachable)
            }
        }
    }
}

fn locked(host: &str, holder: &Holder) -> Error {
    let by = told(holder);
    let run = by.run_url.as_ref().map(|url| format!(", run {url}"));
    let message = format!(
        "the lock of {host} is held by {} since {}{}",
        by.who,
        by.since_text(),
        run.unwrap_or_default()
    );
    Error::new(ErrorKind::Locked, message)
        .help("wait for it with `--lock-wait SECONDS`, or look at it with `backstay lock list`")
}

fn told(holder: &Holder) -> LockHolder {
    let run = &holder.run;
    LockHolder {
        who: match run.host.as_str() {
            "" => run.who.clone(),
            host => format!("{}@{host}", run.who),
        },
        since: holder.since,
        run_url: run.run_url.clone(),
    }
}

/// Sorts targets as locks are taken, each participant once.
pub(in crate::executor) fn wanted_of(targets: Vec<Target>) -> Vec<Target> {
    let mut wanted: Vec<Target> = Vec::new();
    for target in targets {
        if !wanted
            .iter()
            .any(|known| identity(known) == identity(&target))
        {
            wanted.push(target);
        }
    }
    wanted.sort_by_key(name_of);
    wanted
}

impl Deploy {
    /// Opens the transaction on all of `wanted`, which [`wanted_of`] sorted.
    pub(in crate::executor) async fn open_all(
        &mut self,
        wanted: &[Target],
    ) -> Result<(), NotOpened> {
        self.run.participants = wanted.iter().map(name_of).collect();
        let mut sessions = self.connect_all(wanted).await?;
        let mut first_try = Vec::new();
        for (target, mut session) in wanted.iter().zip(sessions.drain(..)) {
            let open = self.open_request();
            first_try.push(async move {
                let opened = session.agent().open(open).await;
                (target, session, opened)
            });
        }
        let mut opened = Vec::new();
        let mut locked = false;
        let mut failed = None;
        for (target, session, answer) in join_all(first_try).await {
            match answer {
                Ok(answer) => {
                    self.heed(target, &answer.warnings, &answer.recovered);
                    opened.push((target, Some(session), true));
                }
                Err(OpenError::Locked(_)) => {
                    locked = true;
                    opened.push((target, Some(session), false));
                }
                Err(error) => {
                    failed.get_or_insert_with(|| not_opened(target, error));
                }
            }
        }
        if !locked && failed.is_none() {
            for (target, session, _) in opened {
                self.admit(target, session.expect("kept since it was opened"));
            }
            return Ok(());
        }
        for (_, session, is_open) in &mut opened {
            if let (Some(session), true) = (session, *is_open) {
                let_go(&mut **session).await;
            }
        }
        // Hosts take each name of a transaction once.
        self.id = random_id();
        self.token = random_id();
        if let Some(failure) = failed {
            return Err(failure);
        }
        for (target, session, _) in opened {
            let session = session.expect("kept since it was connected");
            self.join_waiting(target, session, self.options.lock_wait)
                .await?;
        }
        Ok(())
    }

    /// Returns the participant that a target is, joining it when it is met for the first time.
    pub(super) async fn participant(&self, target: &Target) -> Result<Arc<Participant>, Failure> {
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        let _late = self.late.lock().await;
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        let session = self.connector.open(target).await?;
        // With others' locks in hand, waiting for one more could be for ever.
        let patience = if self.members().is_empty() {
            self.options.lock_wait
        } else {
            Duration::ZERO
        };
        let joined = self.join_waiting(target, session, patience).await;
        let participant = joined.map_err(|error| match error {
            NotOpened::Failed(_, failure) => failure,
            NotOpened::Locked(host, holder) => {
                let error = locked(&host, &holder);
                Failure::action(error.message)
            }
        })?;
        self.inherit_savepoints(&participant).await?;
        Ok(participant)
    }

    async fn connect_all(&self, wanted: &[Target]) -> Result<Vec<Box<dyn Session>>, NotOpened> {
        let connecting = wanted.iter().map(|target| self.connector.open(target));
        let mut sessions = Vec::new();
        for (target, session) in wanted.iter().zip(join_all(connecting).await) {
            let host = Arc::clone(&target.endpoint.name);
            sessions.push(session.map_err(|failure| NotOpened::Failed(host, failure))?);
        }
        Ok(sessions)
    }

    /// Takes the lock of one target, telling now and then whom it waits for.
    async fn join_waiting(
        &self,
        target: &Target,
        mut session: Box<dyn Session>,
        patience: Duration,
    ) -> Result<Arc<Participant>, NotOpened> {
        let host = &target.endpoint.name;
        let started = Instant::now();
        let mut told_at: Option<Instant> = None;
        loop {
            match session.agent().open(self.open_request()).await {
                Ok(opened) => {
                    self.heed(target, &opened.warnings, &opened.recovered);
                    return self.admit(target, session).ok_or_else(|| {
                        let late = Failure::action("the transaction is being ended");
                        NotOpened::Failed(Arc::clone(host), late)
                    });
                }
                Err(OpenError::Locked(holder)) if holder.id == self.id => {
                    return self.second_name(target, &holder).await;
                }
                Err(OpenError::Locked(holder)) if started.elapsed() >= patience => {
                    return Err(NotOpened::Locked(Arc::clone(host), holder));
                }
                Err(OpenError::Locked(holder)) => {
                    if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                        told_at = Some(Instant::now());
                        self.tell(Event::LockAwaited {
                            host: Arc::clone(host),
                            holder: told(&holder),
                        });
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(not_opened(target, error)),
            }
        }
    }

    /// Finds the participant that `target` is another name of.
    async fn second_name(
        &self,
        target: &Target,
        holder: &Holder,
    ) -> Result<Arc<Participant>, NotOpened> {
        for participant in self.members() {
            let mut slot = participant.slot.lock().await;
            let Some(session) = &mut slot.session else {
                continue;
            };
            let known = session.agent().holder(&self.options.application).await;
            if let Ok(Some(known)) = known
                && (known.pid, &known.boot_id, known.since)
                    == (holder.pid, &holder.boot_id, holder.since)
            {
                drop(slot);
                let mut table = self.table();
                table
                    .members
                    .insert(identity(target), Arc::clone(&participant));
                return Ok(participant);
            }
        }
        let failure = Failure::action("it is another host of the run under a second name");
        Err(NotOpened::Failed(
            Arc::clone(&target.endpoint.name),
            failure,
        ))
    }

    fn admit(&self, target: &Target, session: Box<dyn Session>) -> Option<Arc<Participant>> {
        let mut table = self.table();
        let member = table.coordinator.join()?;
        let participant = Arc::new(Participant::new(member, target, session));
        table
            .members
            .insert(identity(target), Arc::clone(&participant));
        Some(participant)
    }

    fn open_request(&self) -> Open {
        Open {
            id: self.id.clone(),
            token: self.token.clone(),
            application: self.options.application.clone(),
            run: self.run.clone(),
            lease: self.options.lease.as_secs_f64(),
            grace: None,
            keep: self.options.keep,
        }
    }

    fn heed(&self, target: &Target, warnings: &[String], recovered: &[Summary]) {
        let name = name_of(target);
        for warning in warnings {
            self.warn(format!("{name}: {warning}"));
        }
        for left in recovered {
            let outcome = match left.state {
                State::RolledBack => "it was rolled back",
                State::Stuck => "it could not be undone whole",
                _ => "it was settled",
            };
            self.warn(format!(
                "{name}: a transaction of {} was left behind there; {outcome}",
                left.run.who
            ));
        }
    }

    /// Tells who takes part.
    pub(in crate::executor) fn tell_opened(&self) {
        let members = self.members();
        self.tell(Event::TransactionOpened {
            id: self.id.clone(),
            participants: members.iter().map(|it| Arc::clone(&it.name)).collect(),
        });
    }
}

/// Ends a transaction in which nothing was changed, without a trace.
pub(super) async fn let_go(session: &mut dyn Session) {
    // A host that does not hear it lets go by its lease.
    if session.agent().prepare().await.is_ok() {
        session.agent().commit(false).await.ok();
    }
}

fn not_opened(target: &Target, error: OpenError) -> NotOpened {
    let host = Arc::clone(&target.endpoint.name);
    let failure = match error {
        OpenError::Locked(holder) => return NotOpened::Locked(host, holder),
        OpenError::Refused(why) => Failure::action(format!("no transaction can be opened: {why}")),
        OpenError::Agent(error) => error.into(),
    };
    NotOpened::Failed(host, failure)
}

/// Waits for all futures side by side; results come in their order.
pub(in crate::executor) async fn join_all<F: Future>(
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures
        .into_iter()
        .map(|it| (Some(Box::pin(it)), None))
        .collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for (future, output) in &mut pending {
            if let Some(waiting) = future {
                match waiting.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => {
                        *output = Some(ready);
                        *future = None;
                    }
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    let outputs = pending.into_iter().filter_map(|(_, output)| output);
    outputs.collect()
}
