//! One participant: its session, the numbers of its tasks, and how it is found again when the
//! link is cut.
//!
//! Within the lease a cut link costs nothing but time: the agent is started anew, attaches with
//! the token, and is asked for the task by its number, which never runs twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Deploy;
use crate::agent::client::RequestError;
use crate::agent::protocol::Attached;
use crate::executor::failure::Failure;
use crate::executor::session::{ModuleCall, Reported, Session, Target};
use crate::executor::world::World;
use crate::transaction::coordinator::Member;

/// Between two attempts to reach a host again.
const PAUSE: Duration = Duration::from_secs(1);

/// A host as one user, in a transaction.
pub(in crate::executor) struct Participant {
    pub(super) member: Member,
    /// The host's name in the inventory.
    pub(super) host: Arc<str>,
    /// The name users see.
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) slot: tokio::sync::Mutex<Slot>,
    /// What was done beside the agent and nobody can undo.
    beside: Mutex<Vec<String>>,
}

/// The way to a participant's agent.
pub(super) struct Slot {
    /// `None` once the link is lost.
    pub(super) session: Option<Box<dyn Session>>,
    next_seq: u64,
}

impl Participant {
    pub(super) fn new(member: Member, target: &Target, session: Box<dyn Session>) -> Self {
        Self {
            member,
            host: Arc::clone(&target.endpoint.name),
            name: name_of(target).into(),
            target: target.clone(),
            slot: tokio::sync::Mutex::new(Slot {
                session: Some(session),
                next_seq: 1,
            }),
            beside: Mutex::default(),
        }
    }

    /// Notes something that was done beside the agent.
    pub(super) fn beside(&self, what: &str) {
        self.lock_beside().push(what.to_owned());
    }

    /// Returns what was done beside the agent.
    pub(super) fn done_beside(&self) -> Vec<String> {
        self.lock_beside().clone()
    }

    fn lock_beside(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a module at most once, however often the link is cut meanwhile.
    pub(super) async fn call(
        &self,
        deploy: &Deploy,
        world: &World,
        mut call: ModuleCall,
        progress: &(dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Result<Reported, Failure> {
        let mut slot = self.slot.lock().await;
        let seq = slot.next_seq;
        slot.next_seq += 1;
        call.seq = Some(seq);
        loop {
            if let Some(session) = &mut slot.session {
                match session.call(call.clone(), &world.contents, progress).await {
                    Err(failure) if failure.unreachable => slot.session = None,
                    answered => return answered,
                }
            }
            let attached = self.attach_within_lease(deploy, &mut slot).await?;
            if attached.last_seq >= Some(seq) && !attached.done.contains(&seq) {
                return Err(Failure::unreachable(
                    "the connection was lost while the task ran, and the task ended with it",
                ));
            }
        }
    }

    /// Reaches the agent again and takes the transaction over, as long as the lease lasts.
    pub(super) async fn attach_within_lease(
        &self,
        deploy: &Deploy,
        slot: &mut Slot,
    ) -> Result<Attached, Failure> {
        let lease = deploy.options.lease;
        deploy.warn(format!(
            "{}: the connection was lost; trying for {} seconds to take the transaction up again",
            self.name,
            lease.as_secs()
        ));
        let deadline = Instant::now() + lease;
        loop {
            match self.attach(deploy, slot).await {
                Ok(attached) => return Ok(attached),
                Err(NotAttached::Refused(why)) => return Err(Failure::unreachable(why)),
                Err(NotAttached::Lost(failure)) if Instant::now() >= deadline => {
                    return Err(failure);
                }
                Err(NotAttached::Lost(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Starts an agent over a fresh connection and has it take the transaction over.
    pub(super) async fn attach(
        &self,
        deploy: &Deploy,
        slot: &mut Slot,
    ) -> Result<Attached, NotAttached> {
        let opening = deploy.connector.open_afresh(&self.target);
        let mut session = match tokio::time::timeout(deploy.options.lease, opening).await {
            Ok(opened) => opened.map_err(NotAttached::Lost)?,
            Err(_) => return Err(NotAttached::Lost(no_answer())),
        };
        let attached = session
            .agent()
            .attach(&deploy.id, &deploy.token, deploy.options.lease)
            .await?;
        // The agent before can do nothing more; that it ends need not be waited for.
        if let Some(superseded) = slot.session.replace(session) {
            tokio::spawn(superseded.close());
        }
        Ok(attached)
    }
}

/// Why a transaction was not taken over.
pub(super) enum NotAttached {
    /// The host is there, and the transaction is not open any more.
    Refused(String),
    Lost(Failure),
}

impl NotAttached {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Refused(why) => why.clone(),
            Self::Lost(failure) => failure.brief(),
        }
    }
}

impl From<RequestError> for NotAttached {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(why) => Self::Refused(why),
            RequestError::Agent(error) => Self::Lost(error.into()),
        }
    }
}

fn no_answer() -> Failure {
    Failure::unreachable("it did not answer within the lease")
}

/// Returns the name of a target that users see: the host, and the user tasks become there.
pub(in crate::executor) fn name_of(target: &Target) -> String {
    match &target.become_user {
        Some(wanted) => format!("{} ({})", target.endpoint.name, wanted.user),
        None => target.endpoint.name.to_string(),
    }
}
