//! Savepoints: a transactional block inside a transaction is undone alone, before its `rescue`.

use std::sync::Arc;

use super::ending::{drifted, items};
use super::{Deploy, Harmless, Participant};
use crate::event::{ParticipantEnd, ParticipantOutcome};
use crate::executor::failure::Failure;

impl Deploy {
    /// Names the present state of a host.
    pub(in crate::executor) async fn set_savepoint(
        &self,
        host: &Arc<str>,
        name: &str,
    ) -> Result<(), Failure> {
        for participant in self.participants_of(host) {
            set(&participant, name).await?;
        }
        let mut table = self.table();
        let set = table.savepoints.entry(Arc::clone(host)).or_default();
        set.push(name.to_owned());
        Ok(())
    }

    /// Sets the savepoints of its host on a participant that joined inside of them.
    pub(super) async fn inherit_savepoints(
        &self,
        participant: &Participant,
    ) -> Result<(), Failure> {
        let names = self.table().savepoints.get(&participant.host).cloned();
        for name in names.unwrap_or_default() {
            set(participant, &name).await?;
        }
        Ok(())
    }

    /// Forgets a savepoint; what came after it is part of what is around it.
    pub(in crate::executor) fn release_savepoint(&self, host: &str, name: &str) {
        if let Some(set) = self.table().savepoints.get_mut(host) {
            set.retain(|known| known != name);
        }
    }

    /// Undoes what a host did since a savepoint; empty when it was not set.
    pub(in crate::executor) async fn return_to_savepoint(
        &self,
        host: &str,
        name: &str,
    ) -> Result<Vec<ParticipantOutcome>, Failure> {
        let is_set = self
            .table()
            .savepoints
            .get(host)
            .is_some_and(|set| set.iter().any(|known| known == name));
        if !is_set {
            return Ok(Vec::new());
        }
        self.release_savepoint(host, name);
        let mut outcomes = Vec::new();
        let mut harmless = self.table().harmless.clone();
        for participant in self.participants_of(host) {
            let outcome = self.return_one(&participant, name, &mut harmless).await?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn return_one(
        &self,
        participant: &Participant,
        name: &str,
        harmless: &mut Harmless,
    ) -> Result<ParticipantOutcome, Failure> {
        let mut slot = participant.slot.lock().await;
        let session = slot.session.as_mut().ok_or_else(lost)?;
        let report = session.agent().roll_back_to(name).await;
        let report = report.map_err(|error| Failure::unreachable(error.to_string()))?;
        Ok(ParticipantOutcome {
            name: Arc::clone(&participant.name),
            end: if report.is_rolled_back() {
                ParticipantEnd::RolledBack
            } else {
                ParticipantEnd::Stuck
            },
            drift: drifted(&report.drift),
            stuck: items(&report.stuck),
            not_undone: harmless.taken_from(&participant.host, &report.opaque),
        })
    }
}

async fn set(participant: &Participant, name: &str) -> Result<(), Failure> {
    let mut slot = participant.slot.lock().await;
    let session = slot.session.as_mut().ok_or_else(lost)?;
    let set = session.agent().savepoint(name).await;
    set.map_err(|error| Failure::unreachable(error.to_string()))
}

fn lost() -> Failure {
    Failure::unreachable("the connection was lost")
}
