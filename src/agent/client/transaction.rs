//! Transactions from the controller's side: one method for each request, and the heartbeats.
//!
//! Heartbeats go on by themselves from `open` or `attach` to the outcome, however long a task
//! takes and whatever becomes of the futures here. Decides nothing: that is the coordinator's.

use std::fmt;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::outgoing::Outgoing;
use super::{Agent, AgentError, Incoming, unasked};
use crate::agent::protocol::{
    Answer, Ask, Attached, Committed, Decision, Open, Opened, Recovered, ToAgent, ToController,
    UndoReport, Vote, control,
};
use crate::transaction::lock::Holder;
use crate::transaction::state::Summary;

/// Heartbeats in one lease.
const BEATS: u32 = 6;

/// Why a transaction was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// Somebody else holds the lock.
    Locked(Box<Holder>),
    /// The host cannot hold a transaction; the text says why.
    Refused(String),
    Agent(AgentError),
}

/// Why a request about a transaction was not answered.
#[derive(Debug)]
pub enum RequestError {
    /// It cannot be done, and nothing was.
    Refused(String),
    Agent(AgentError),
}

impl From<AgentError> for OpenError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl From<AgentError> for RequestError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Agent(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl Agent {
    /// Takes the lock and opens a transaction, in which every following task runs.
    pub async fn open(&mut self, open: Open) -> Result<Opened, OpenError> {
        // The answer may be lost on the way, and what was left behind may take long to settle.
        self.begin_heartbeats(lease_of(&open));
        let answer = self.ask(Ask::Open(open)).await;
        if !matches!(answer, Ok(Answer::Opened(_))) {
            self.end_heartbeats();
        }
        match answer? {
            Answer::Opened(opened) => Ok(opened),
            Answer::Locked { holder } => Err(OpenError::Locked(Box::new(holder))),
            Answer::Refused { why } => Err(OpenError::Refused(why)),
            _ => Err(OpenError::Agent(unasked("another answer"))),
        }
    }

    /// Takes a transaction over that another agent of the host opened. That one can do nothing
    /// more; a task it still runs is waited for.
    ///
    /// `lease` is the one the transaction was opened with.
    pub async fn attach(
        &mut self,
        id: &str,
        token: &str,
        lease: Duration,
    ) -> Result<Attached, RequestError> {
        let ask = Ask::Attach {
            id: id.to_owned(),
            token: token.to_owned(),
        };
        // A task may take longer than the lease to end.
        self.begin_heartbeats(lease);
        let answer = self.ask(ask).await;
        if !matches!(answer, Ok(Answer::Attached(_))) {
            self.end_heartbeats();
        }
        match granted(answer?)? {
            Answer::Attached(attached) => Ok(attached),
            _ => Err(unexpected()),
        }
    }

    /// Names the present state, to come back to it.
    pub async fn savepoint(&mut self, name: &str) -> Result<(), RequestError> {
        let name = name.to_owned();
        match granted(self.ask(Ask::Savepoint { name }).await?)? {
            Answer::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Undoes what came after the savepoint; the transaction goes on.
    pub async fn roll_back_to(&mut self, name: &str) -> Result<UndoReport, RequestError> {
        let name = name.to_owned();
        undone(self.ask(Ask::RollBackTo { name }).await?)
    }

    /// Asks whether the transaction can be committed.
    pub async fn prepare(&mut self) -> Result<Vote, RequestError> {
        match granted(self.ask(Ask::Prepare).await?)? {
            Answer::Voted(vote) => Ok(vote),
            _ => Err(unexpected()),
        }
    }

    /// Commits durably; doing it again answers the same.
    pub async fn commit(&mut self, healthy: bool) -> Result<Committed, RequestError> {
        match granted(self.ask(Ask::Commit { healthy }).await?)? {
            Answer::Committed(committed) => {
                self.end_heartbeats();
                Ok(committed)
            }
            _ => Err(unexpected()),
        }
    }

    /// Undoes the transaction. A request that was under way is ended, not waited for.
    pub async fn abort(&mut self, reason: &str) -> Result<UndoReport, RequestError> {
        if let Some(seq) = self.abandoned {
            self.wire.queue(&ToAgent::Cancel { seq })?;
        }
        let reason = reason.to_owned();
        let answer = self.ask_now(Ask::Abort { reason }).await?;
        self.end_heartbeats();
        undone(answer)
    }

    /// Lists the host's transactions, newest first; one that lost its guardian is settled first.
    pub async fn transactions(&mut self) -> Result<Vec<Summary>, RequestError> {
        match granted(self.ask(Ask::Transactions).await?)? {
            Answer::Transactions { list } => Ok(list),
            _ => Err(unexpected()),
        }
    }

    /// Undoes the generations after `to`, inside the open transaction.
    pub async fn roll_back_generation(&mut self, to: u64) -> Result<UndoReport, RequestError> {
        undone(self.ask(Ask::RollBackGeneration { to }).await?)
    }

    /// Settles a transaction that was left behind.
    pub async fn recover(
        &mut self,
        id: &str,
        decision: Decision,
    ) -> Result<Recovered, RequestError> {
        let id = id.to_owned();
        match granted(self.ask(Ask::Recover { id, decision }).await?)? {
            Answer::Recovered(recovered) => Ok(recovered),
            _ => Err(unexpected()),
        }
    }

    /// Ends the holder of the application's lock and returns what became of its transaction.
    pub async fn break_lock(&mut self, application: &str) -> Result<Recovered, RequestError> {
        let application = application.to_owned();
        match granted(self.ask(Ask::BreakLock { application }).await?)? {
            Answer::Recovered(recovered) => Ok(recovered),
            _ => Err(unexpected()),
        }
    }

    /// Returns who holds the application's lock, if anybody does.
    pub async fn holder(&mut self, application: &str) -> Result<Option<Holder>, RequestError> {
        let application = application.to_owned();
        match granted(self.ask(Ask::Holder { application }).await?)? {
            Answer::Holder { holder } => Ok(holder),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Answer, AgentError> {
        self.settle().await?;
        self.ask_now(ask).await
    }

    /// Sends a request and waits for its answer, whatever else arrives before it.
    async fn ask_now(&mut self, ask: Ask) -> Result<Answer, AgentError> {
        let seq = self.begin();
        let ask = Box::new(ask);
        self.wire.queue(&ToAgent::Transaction { seq, ask })?;
        loop {
            if let Incoming::Message(ToController::Transaction {
                seq: answered,
                answer,
            }) = self.wire.next_message().await?
                && answered == seq
            {
                self.abandoned = None;
                return Ok(*answer);
            }
        }
    }

    fn begin_heartbeats(&mut self, lease: Duration) {
        self.end_heartbeats();
        self.wire.expect_signs_of_life(Some(lease));
        self.heartbeats = Some(Heartbeats::start(self.wire.outgoing(), lease / BEATS));
    }

    fn end_heartbeats(&mut self) {
        self.heartbeats = None;
        self.wire.expect_signs_of_life(None);
    }
}

/// The task that keeps a lease alive; dropping it ends it.
pub(super) struct Heartbeats(AbortHandle);

impl Heartbeats {
    fn start(outgoing: Outgoing, pause: Duration) -> Self {
        Self(tokio::spawn(beat(outgoing, pause)).abort_handle())
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn beat(outgoing: Outgoing, pause: Duration) {
    let Ok(heartbeat) = control(&ToAgent::Heartbeat) else {
        return;
    };
    loop {
        // On a link that is stuck one is enough; the next turn goes on writing it.
        if outgoing.is_flushed() {
            outgoing.queue(&heartbeat);
        }
        tokio::time::timeout(pause, outgoing.flush()).await.ok();
        tokio::time::sleep(pause).await;
    }
}

fn lease_of(open: &Open) -> Duration {
    Duration::try_from_secs_f64(open.lease).unwrap_or(Duration::from_mins(1))
}

fn granted(answer: Answer) -> Result<Answer, RequestError> {
    match answer {
        Answer::Refused { why } => Err(RequestError::Refused(why)),
        answer => Ok(answer),
    }
}

fn undone(answer: Answer) -> Result<UndoReport, RequestError> {
    match granted(answer)? {
        Answer::Undone(report) => Ok(report),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> RequestError {
    unasked("another answer").into()
}
