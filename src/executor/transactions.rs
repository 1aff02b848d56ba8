//! The transactions of a run, as the dispatcher drives them: which one a host is in, what counts
//! as trouble, and when one is opened and ended.
//!
//! A whole run, a batch, a play or a block can be one; of those around a task the innermost is
//! its own, and a block inside another is a savepoint of that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::absorb::Running;
use super::batch::Batch;
use super::deploy::{Deploy, NotOpened, Opaque, names, wanted_of, wrong_transactions};
use super::dispatcher::{Dispatcher, PlayFacts, Stop};
use super::execution::Outcome;
use super::options::OnFailure;
use super::plan::{Savepoint, SavepointStep, is_transactional};
use super::render::Renderer;
use super::session::Target;
use super::target::TargetReader;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, ParticipantEnd, Reversibility, TransactionEnd, TransactionOutcome};
use crate::playbook::{ActionKind, Item, ModuleName, Play, Playbook};
use crate::value::Value;

/// How long an interrupted run waits for the outcome of its ABORT.
const INTERRUPTED: Duration = Duration::from_secs(5);

/// The transactions that are open, and what came of those that are not any more.
#[derive(Default)]
pub(super) struct Transactions {
    /// Of the run, the play or the batch that is at work.
    pub(super) around: Option<Arc<Deploy>>,
    /// Of blocks outside any other transaction, by host, innermost last.
    blocks: HashMap<Arc<str>, Vec<(String, Arc<Deploy>)>>,
    pub(super) ended: Vec<TransactionOutcome>,
    /// The first failure that nothing rescued, as the reason of an undo.
    trouble: Option<String>,
}

/// Tells whether a play, or a block in it that is known before the run, asks to be a transaction.
pub(super) fn asks(play: &Play) -> bool {
    fn any(items: &[Item]) -> bool {
        items.iter().any(|item| match item {
            Item::Block(block) => {
                is_transactional(&block.layer.vars)
                    || any(&block.block)
                    || any(&block.rescue)
                    || any(&block.always)
            }
            Item::Task(_) | Item::RoleComplete(_) => false,
        })
    }
    is_transactional(&play.layer.vars) || play.sections().into_iter().any(any)
}

impl Dispatcher<'_> {
    /// Returns the transaction a host's task is in.
    pub(super) fn deploy_of(&self, host: &str) -> Option<Arc<Deploy>> {
        let transactions = &self.transactions;
        transactions.around.clone().or_else(|| {
            let of_host = transactions.blocks.get(host)?;
            of_host.last().map(|(_, deploy)| Arc::clone(deploy))
        })
    }

    /// Gathers everything about transactions that is wrong in the playbooks before any host is
    /// touched.
    pub(super) fn check_transactions(&self, playbooks: &[Playbook]) -> Vec<Error> {
        let options = &self.world.options;
        let strict = Opaque {
            tags: &options.tags,
        };
        let mut errors = Vec::new();
        for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
            errors.extend(wrong_transactions(play));
            if options.transaction.strict && self.is_transaction(play) {
                errors.extend(strict.of_play(play));
            }
        }
        errors
    }

    /// Returns what an include brought that `--strict` refuses.
    pub(super) fn refused_of_include(&self, play: &Play, items: &[Item]) -> Vec<Error> {
        let options = &self.world.options;
        if !options.transaction.strict || !self.is_transaction(play) {
            return Vec::new();
        }
        let strict = Opaque {
            tags: &options.tags,
        };
        strict.of_items(items)
    }

    fn is_transaction(&self, play: &Play) -> bool {
        self.world.options.transaction.whole_run || is_transactional(&play.layer.vars)
    }

    /// Opens the transaction of the whole run, where it is one.
    pub(super) async fn begin_run(&mut self, playbooks: &[Playbook]) -> Result<(), Stop> {
        let options = &self.world.options;
        let by_batch = options.transaction.on_failure == OnFailure::RollbackBatch;
        if options.check || !options.transaction.whole_run || by_batch {
            return Ok(());
        }
        if let Some(rollback) = &options.transaction.rollback {
            let targets = rollback.targets();
            return self.open_around(targets).await;
        }
        let mut targets = Vec::new();
        for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
            targets.extend(self.targets_of_play(play));
        }
        self.open_around(targets).await
    }

    /// Puts an earlier generation back, where the run is a rollback.
    pub(super) async fn roll_back(&mut self) -> Result<(), Stop> {
        let (Some(rollback), Some(deploy)) = (
            self.world.options.transaction.rollback.clone(),
            self.transactions.around.clone(),
        ) else {
            return Ok(());
        };
        let going_back = deploy.roll_back_generations(&rollback);
        let gone_back = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Stop::Cancelled),
            gone_back = going_back => gone_back,
        };
        gone_back.map_err(|why| Error::new(ErrorKind::TaskFailed, why).into())
    }

    /// Opens the transaction of a play, where it is one and the run is not.
    pub(super) async fn begin_play(&mut self, play: &Arc<Play>) -> Result<bool, Stop> {
        let opens = !self.world.options.check
            && !self.world.options.transaction.whole_run
            && is_transactional(&play.layer.vars);
        if opens {
            let targets = self.targets_of_play(play);
            self.open_around(targets).await?;
            self.inventories.start_play(play);
        }
        Ok(opens)
    }

    /// Opens the transaction of a batch, where each is one.
    pub(super) async fn begin_batch(
        &mut self,
        play: &Arc<Play>,
        hosts: &[Arc<str>],
    ) -> Result<bool, Stop> {
        let options = &self.world.options;
        let opens = !options.check
            && options.transaction.whole_run
            && options.transaction.on_failure == OnFailure::RollbackBatch;
        if opens {
            let targets = self.targets_of(play, hosts);
            self.open_around(targets).await?;
        }
        Ok(opens)
    }

    async fn open_around(&mut self, targets: Vec<Target>) -> Result<(), Stop> {
        let mut deploy = self.new_deploy(None);
        let wanted = wanted_of(targets);
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Stop::Cancelled),
            opened = deploy.open_all(&wanted) => opened,
        };
        let deploy = Arc::new(deploy);
        if let Err(error) = opened {
            return Err(self.not_opened(&deploy, error).await);
        }
        deploy.tell_opened();
        self.transactions.around = Some(deploy);
        Ok(())
    }

    /// Lets go of what was opened, and tells why not everything was.
    async fn not_opened(&mut self, deploy: &Arc<Deploy>, error: NotOpened) -> Stop {
        let (error, unreachable) = error.error();
        deploy.let_go().await;
        self.unreachable.extend(unreachable);
        error.into()
    }

    fn new_deploy(&self, block: Option<String>) -> Deploy {
        Deploy::new(
            Arc::clone(self.world.sessions.connector()),
            self.world.events.clone(),
            &self.world.options.transaction,
            block,
        )
    }

    /// Returns whom a play works on, as far as that is known before it runs.
    pub(super) fn targets_of_play(&mut self, play: &Arc<Play>) -> Vec<Target> {
        self.inventories.start_play(play);
        // What needs facts or earlier plays is met later, and joins then.
        let Ok(hosts) = self.hosts_before_play(play) else {
            return Vec::new();
        };
        self.targets_of(play, &hosts)
    }

    fn targets_of(&self, play: &Arc<Play>, hosts: &[Arc<str>]) -> Vec<Target> {
        let read = |host: &Arc<str>| {
            let scope = self.inventories.host_scope(host, &play.layer).ok()?;
            let reader = TargetReader {
                renderer: Renderer {
                    engine: &self.world.engine,
                    scope: &*scope,
                },
                layer: &play.layer,
                options: &self.world.options,
                host,
            };
            reader.read().ok()
        };
        hosts.iter().filter_map(read).collect()
    }

    /// Tells whether the transaction around cannot be committed any more.
    pub(super) fn is_doomed(&self, batch: &Batch, facts: &PlayFacts) -> bool {
        self.transactions.around.is_some()
            && facts.max_fail_percentage.is_none()
            && (!self.failed.is_empty()
                || !self.unreachable.is_empty()
                || !batch.failed_hosts().is_empty())
    }

    /// Remembers what was done that no agent knows of.
    pub(super) fn note_steps(&self, running: &Running, host: &Arc<str>, outcome: &Outcome) {
        let Some(deploy) = self.deploy_of(host) else {
            return;
        };
        let ActionKind::Module {
            name: ModuleName::Known(name),
            ..
        } = &running.task.action.kind
        else {
            return;
        };
        if matches!(super::actions::short(name), "raw" | "uri") {
            let steps = outcome.steps();
            let opaque = steps
                .iter()
                .filter(|step| step.class == Reversibility::Opaque);
            for step in opaque {
                deploy.cannot_undo(host, &step.what);
            }
        }
    }

    /// Remembers the first failure of a transaction.
    pub(super) fn note_trouble(&mut self, running: &Running, host: &Arc<str>, outcome: &Outcome) {
        let trouble = &mut self.transactions.trouble;
        trouble.get_or_insert_with(|| {
            let title = running.info.title();
            let msg = outcome.whole.result.get("msg").map(Value::to_string);
            match msg.filter(|_| !running.info.no_log) {
                Some(msg) => {
                    let first = msg.lines().next().unwrap_or_default();
                    format!("{host}: task \"{title}\": {first}")
                }
                None => format!("{host}: task \"{title}\" failed"),
            }
        });
    }

    /// Does what a transactional block asks for on each of `hosts`.
    pub(super) async fn savepoint_for_all(
        &mut self,
        batch: &mut Batch,
        step: SavepointStep,
        savepoint: &Savepoint,
        hosts: &[Arc<str>],
    ) -> Result<(), Stop> {
        if self.world.options.check {
            return Ok(());
        }
        for host in hosts {
            let around = self.transactions.around.clone();
            match around {
                Some(deploy) => {
                    self.savepoint_in(&deploy, batch, step, savepoint, host)
                        .await?;
                }
                None => self.block_alone(batch, step, savepoint, host).await,
            }
        }
        Ok(())
    }

    async fn savepoint_in(
        &mut self,
        deploy: &Arc<Deploy>,
        batch: &mut Batch,
        step: SavepointStep,
        savepoint: &Savepoint,
        host: &Arc<str>,
    ) -> Result<(), Stop> {
        let done = match step {
            SavepointStep::Set => deploy.set_savepoint(host, &savepoint.id).await,
            SavepointStep::Release => {
                deploy.release_savepoint(host, &savepoint.id);
                Ok(())
            }
            SavepointStep::Return => match deploy.return_to_savepoint(host, &savepoint.id).await {
                Ok(participants) => {
                    let stuck = participants
                        .iter()
                        .any(|it| it.end == ParticipantEnd::Stuck);
                    let told = names(&participants);
                    self.world.tell(Event::BlockUndone {
                        host: Arc::clone(host),
                        block: savepoint.title.clone(),
                        participants,
                    });
                    if stuck {
                        let why = format!("the block could not be undone on {told}");
                        self.fail_for_good(batch, host, &why);
                    }
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
        };
        if let Err(failure) = done {
            self.fail_for_good(batch, host, &failure.brief());
        }
        Ok(())
    }

    /// Runs a block that is a transaction of its own.
    async fn block_alone(
        &mut self,
        batch: &mut Batch,
        step: SavepointStep,
        savepoint: &Savepoint,
        host: &Arc<str>,
    ) {
        let inner = self
            .transactions
            .blocks
            .get(host)
            .and_then(|of_host| of_host.last());
        match (step, inner.cloned()) {
            (SavepointStep::Set, None) => {
                let deploy = Arc::new(self.new_deploy(Some(savepoint.title.clone())));
                let of_host = self
                    .transactions
                    .blocks
                    .entry(Arc::clone(host))
                    .or_default();
                of_host.push((savepoint.id.clone(), deploy));
            }
            (step, Some((id, deploy))) if id != savepoint.id => {
                // A savepoint of the block around it.
                self.savepoint_in(&deploy, batch, step, savepoint, host)
                    .await
                    .ok();
            }
            (SavepointStep::Release, Some((_, deploy))) => {
                self.transactions.blocks.remove(host);
                let outcome = deploy.finish(true, &mut self.cancel).await;
                let is_committed = outcome.end == TransactionEnd::Committed;
                self.transactions.ended.push(outcome);
                if !is_committed {
                    self.fail_for_good(batch, host, "the block was not committed");
                }
            }
            (SavepointStep::Return, Some((_, deploy))) => {
                self.transactions.blocks.remove(host);
                let outcome = deploy.abort("its block failed", Duration::MAX).await;
                if outcome.end != TransactionEnd::RolledBack {
                    self.fail_for_good(batch, host, "the block could not be undone");
                    self.transactions.ended.push(outcome);
                }
            }
            _ => {}
        }
    }

    /// Fails a host past any rescue: what it would go on from is not what it should be.
    fn fail_for_good(&mut self, batch: &mut Batch, host: &Arc<str>, why: &str) {
        let trouble = format!("{host}: {why}");
        self.world.tell(Event::Warning {
            message: trouble.clone(),
            mark: None,
        });
        self.transactions.trouble.get_or_insert(trouble);
        batch.end_host(host);
        self.failed.insert(Arc::clone(host));
    }

    /// Ends blocks that their hosts left without coming to their end.
    pub(super) async fn end_blocks(&mut self) {
        let left: Vec<_> = self.transactions.blocks.drain().collect();
        for (host, of_host) in left {
            for (_, deploy) in of_host {
                let failed = self.failed.contains(&host) || self.unreachable.contains(&host);
                let outcome = if failed {
                    deploy.abort("its block failed", Duration::MAX).await
                } else {
                    deploy.finish(true, &mut self.cancel).await
                };
                self.transactions.ended.push(outcome);
            }
        }
    }

    /// Ends the transaction around, as what happened and the options have it.
    pub(super) async fn end_around(&mut self, stop: Option<&Stop>) {
        let is_cancelled = matches!(stop, Some(Stop::Cancelled));
        if self.transactions.around.is_some() || !self.transactions.blocks.is_empty() {
            self.workers.shutdown().await;
        }
        if is_cancelled || stop.is_some() {
            self.abort_blocks(is_cancelled).await;
        } else {
            self.end_blocks().await;
        }
        let Some(deploy) = self.transactions.around.take() else {
            return;
        };
        let policy = self.world.options.transaction.on_failure;
        let trouble = self.trouble(stop);
        let outcome = match trouble {
            None => {
                let left = self.failed.iter().chain(&self.unreachable);
                deploy.leave_out(left).await;
                deploy.finish(true, &mut self.cancel).await
            }
            Some(_) if is_cancelled => deploy.abort("the run was interrupted", INTERRUPTED).await,
            Some(reason) if policy == OnFailure::Stop && stop.is_none() => {
                deploy.give_reason(&reason);
                deploy.finish(false, &mut self.cancel).await
            }
            Some(reason) => deploy.abort(&reason, Duration::MAX).await,
        };
        self.transactions.ended.push(outcome);
        self.transactions.trouble = None;
    }

    async fn abort_blocks(&mut self, is_cancelled: bool) {
        let patience = if is_cancelled {
            INTERRUPTED
        } else {
            Duration::MAX
        };
        let left: Vec<_> = self.transactions.blocks.drain().collect();
        for (_, deploy) in left.into_iter().flat_map(|(_, of_host)| of_host) {
            let outcome = deploy.abort("the run was ended", patience).await;
            self.transactions.ended.push(outcome);
        }
    }

    /// Returns why the transaction around cannot be committed, if it cannot.
    fn trouble(&self, stop: Option<&Stop>) -> Option<String> {
        match stop {
            Some(Stop::Cancelled) => return Some("the run was interrupted".into()),
            Some(Stop::Error(error)) => return Some(error.message.clone()),
            None => {}
        }
        let all_allowed = self.failures_allowed;
        let failed = self.failed.iter().chain(&self.unreachable);
        let failed: Vec<&str> = failed.map(|host| &**host).collect();
        if failed.is_empty() || all_allowed {
            return None;
        }
        let told = self.transactions.trouble.clone();
        Some(told.unwrap_or_else(|| format!("{} failed", failed.join(", "))))
    }
}
