//! The dispatcher: plays in sequence, batches of hosts, and all state of the run.
//!
//! Workers get what they need by value and hand back outcomes; nobody else changes anything.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexSet;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::RunOutcome;
use super::batch::Batch;
use super::execution::Outcome;
use super::handlers::HandlerNames;
use super::plan::{self, PlannedStep, Planner, StepKind};
use super::recap::Recap;
use super::render::Renderer;
use super::transactions::Transactions;
use super::variables::Inventories;
use super::world::World;
use super::{Cancellation, Gathering};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, TransactionEnd};
use crate::node::Node;
use crate::playbook::{Context, Keyword, Play, Playbook};
use crate::value::Value;

/// Why a run stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The user wants it.
    Cancelled,
    Error(Box<Error>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

/// A worker's message: a task is over on a host.
///
/// It gives its place back when it is taken in, not before: with `--forks 1` the next host starts
/// when this one is told.
pub(super) struct Finished {
    pub(super) host: Arc<str>,
    pub(super) outcome: Outcome,
    pub(super) places: [Option<OwnedSemaphorePermit>; 2],
}

/// All state of a run.
pub(super) struct Dispatcher<'a> {
    pub(super) world: Arc<World>,
    pub(super) context: &'a Context<'a>,
    pub(super) inventories: Inventories,
    pub(super) recap: Recap,
    /// Hosts out of the run because a task failed.
    pub(super) failed: IndexSet<Arc<str>>,
    pub(super) unreachable: IndexSet<Arc<str>>,
    pub(super) handler_names: HandlerNames,
    pub(super) workers: JoinSet<Finished>,
    pub(super) cancel: Cancellation,
    /// `--step` goes on asking.
    pub(super) stepping: bool,
    started_at_task: bool,
    pub(super) transactions: Transactions,
    /// The hosts that failed are no more than the plays allow.
    pub(super) failures_allowed: bool,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// Too many hosts failed: the play and the run are over.
    BreakRun,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        world: Arc<World>,
        context: &'a Context<'a>,
        inventories: Inventories,
        cancel: Cancellation,
    ) -> Self {
        let stepping = world.options.step;
        Self {
            world,
            context,
            inventories,
            recap: Recap::default(),
            failed: IndexSet::new(),
            unreachable: IndexSet::new(),
            handler_names: HandlerNames::default(),
            workers: JoinSet::new(),
            cancel,
            stepping,
            started_at_task: false,
            transactions: Transactions::default(),
            failures_allowed: false,
        }
    }

    /// Runs the playbooks in order, up to the first that ends badly.
    pub(super) async fn run(mut self, playbooks: &[Playbook]) -> RunOutcome {
        let stop = self.playbooks(playbooks).await.err();
        self.end_around(stop.as_ref()).await;
        self.workers.shutdown().await;
        self.world.sessions.close().await;
        let mut outcome = RunOutcome {
            failed: self.failed.into_iter().collect(),
            unreachable: self.unreachable.into_iter().collect(),
            cancelled: false,
            error: None,
            transactions: self.transactions.ended,
        };
        match stop {
            Some(Stop::Cancelled) => outcome.cancelled = true,
            Some(Stop::Error(error)) => {
                let error = Arc::new(*error);
                self.world.tell(Event::Failed(Arc::clone(&error)));
                outcome.error = Some(error);
            }
            None => outcome.error = not_started(&self.world, self.started_at_task),
        }
        outcome
    }

    /// Ends a run before it began, for what is wrong in its playbooks.
    pub(super) fn refuse(self, errors: Vec<Error>) -> RunOutcome {
        let mut outcome = RunOutcome::default();
        for error in errors {
            let error = Arc::new(error);
            self.world.tell(Event::Failed(Arc::clone(&error)));
            outcome.error = Some(error);
        }
        outcome
    }

    async fn playbooks(&mut self, playbooks: &[Playbook]) -> Result<(), Stop> {
        self.begin_run(playbooks).await?;
        self.roll_back().await?;
        for playbook in playbooks {
            self.playbook(playbook).await?;
            if !self.failed.is_empty() || !self.unreachable.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn playbook(&mut self, playbook: &Playbook) -> Result<(), Stop> {
        self.world.tell(Event::PlaybookStarted {
            path: playbook.path.display().to_string(),
            n_plays: playbook.plays.len(),
        });
        let mut ended = Ok(());
        for play in &playbook.plays {
            match self.play(play).await {
                Ok(Ended::Done) => {}
                Ok(Ended::BreakRun) => break,
                Err(stop) => {
                    ended = Err(stop);
                    break;
                }
            }
        }
        if !matches!(ended, Err(Stop::Error(_))) {
            let (stats, custom) = self.recap.finished();
            self.world.tell(Event::Finished { stats, custom });
        }
        ended
    }

    async fn play(&mut self, play: &Arc<Play>) -> Result<Ended, Stop> {
        if !self.begin_play(play).await? {
            return self.batches(play).await;
        }
        let ended = self.batches(play).await;
        self.end_around(ended.as_ref().err()).await;
        if self.is_not_committed() {
            return ended.map(|_| Ended::BreakRun);
        }
        ended
    }

    async fn batches(&mut self, play: &Arc<Play>) -> Result<Ended, Stop> {
        self.inventories.start_play(play);
        self.ask_for_variables(play).await?;
        let facts = self.play_facts(play)?;
        let hosts = self
            .inventories
            .hosts_of(&facts.patterns, facts.order.as_deref())?;
        let batches = plan::batches(&hosts, &facts.serial).map_err(|message| {
            let place = play.serial.first().map_or(&play.mark, |size| &size.mark);
            Error::content(message)
                .at(place)
                .help("write how many hosts, or a part of them such as `25%`")
        })?;
        if batches.is_empty() {
            self.tell_play(&facts, Vec::new());
            self.world.tell(Event::NoHostsMatched);
            return Ok(Ended::Done);
        }
        // `order` is of the batches: what lists the play's hosts does not follow it.
        let all = self.inventories.hosts_in_order(&facts.patterns)?;
        for batch in batches {
            let before = self.failed.len() + self.unreachable.len();
            let n_hosts = batch.len();
            let opened = self.begin_batch(play, &batch).await?;
            let run = self.batch(play, &facts, &all, batch).await;
            if opened {
                self.end_around(run.as_ref().err()).await;
            }
            let (ended, end_play) = run?;
            if opened && self.is_not_committed() {
                return Ok(Ended::BreakRun);
            }
            if ended == Ended::BreakRun {
                return Ok(ended);
            }
            if end_play {
                return Ok(Ended::Done);
            }
            if n_hosts == (self.failed.len() + self.unreachable.len()).saturating_sub(before) {
                return Ok(Ended::BreakRun);
            }
        }
        Ok(Ended::Done)
    }

    async fn batch(
        &mut self,
        play: &Arc<Play>,
        facts: &PlayFacts,
        all: &[Arc<str>],
        hosts: Vec<Arc<str>>,
    ) -> Result<(Ended, bool), Stop> {
        self.tell_play(facts, hosts.clone());
        let planner = Planner {
            tags: &self.world.options.tags,
            ids: &self.context.ids,
        };
        let plan = planner.plan(play, facts.force_handlers);
        let gathers = self.gathers(facts, &hosts);
        let mut batch = Batch::new(play, &plan, &hosts, |host| gathers.contains(host));
        self.start_at_task(&mut batch);
        for host in &self.failed {
            batch.fail(host);
        }
        for host in &self.unreachable {
            batch.removed.insert(Arc::clone(host));
        }
        // Who failed before takes no part; what follows counts this play's failures alone.
        let before = std::mem::take(&mut self.failed);
        self.inventories.start_batch(&facts.title, all, &hosts);
        self.failures_allowed = facts.max_fail_percentage.is_some();
        let ended = match facts.strategy {
            Strategy::Linear => self.linear(&mut batch, facts).await,
            Strategy::Free { pinned } => self.free(&mut batch, facts, pinned).await,
        };
        if matches!(ended, Ok(Ended::BreakRun)) {
            self.failures_allowed = false;
        }
        if ended.is_ok() && self.transactions.around.is_none() {
            self.end_blocks().await;
        }
        self.failed.extend(before);
        batch.finish();
        self.failed.extend(batch.failed_hosts());
        self.failed.retain(|host| !self.unreachable.contains(host));
        Ok((ended?, batch.end_play))
    }

    /// Tells whether the last transaction came to anything but its commit.
    fn is_not_committed(&self) -> bool {
        let last = self.transactions.ended.last();
        last.is_some_and(|outcome| outcome.end != TransactionEnd::Committed)
    }

    fn tell_play(&self, facts: &PlayFacts, hosts: Vec<Arc<str>>) {
        self.world.tell(Event::PlayStarted {
            name: facts.title.clone(),
            hosts,
            check_mode: facts.check_mode,
            lockstep: facts.strategy == Strategy::Linear,
        });
    }

    /// Returns which hosts gather facts before their tasks.
    fn gathers(&self, facts: &PlayFacts, hosts: &[Arc<str>]) -> HashSet<String> {
        let implied = facts.gather_facts.unwrap_or(true);
        let wants = |host: &Arc<str>| match self.world.options.gathering {
            Gathering::Implicit => implied,
            Gathering::Explicit => facts.gather_facts == Some(true),
            Gathering::Smart => implied && !self.inventories.has_facts(host),
        };
        hosts
            .iter()
            .filter(|host| wants(host))
            .map(ToString::to_string)
            .collect()
    }

    fn start_at_task(&mut self, batch: &mut Batch) {
        let Some(wanted) = self.world.options.start_at_task.clone() else {
            return;
        };
        if self.started_at_task {
            return;
        }
        let pattern = globset::Glob::new(&wanted).map(|glob| glob.compile_matcher());
        self.started_at_task = batch.start_at(|step| {
            let Some(name) = step_name(step) else {
                return false;
            };
            name.iter().any(|name| {
                *name == wanted || pattern.as_ref().is_ok_and(|glob| glob.is_match(name))
            })
        });
    }

    /// Returns a play's hosts as far as they are known before it runs.
    pub(super) fn hosts_before_play(&self, play: &Arc<Play>) -> Result<Vec<Arc<str>>, Error> {
        let facts = self.play_facts(play)?;
        self.inventories
            .hosts_of(&facts.patterns, facts.order.as_deref())
    }

    /// Reads what a play says of itself.
    fn play_facts(&self, play: &Arc<Play>) -> Result<PlayFacts, Error> {
        let scope = self.inventories.play_scope()?;
        let renderer = Renderer {
            engine: &self.world.engine,
            scope: &*scope,
        };
        let placed = |failure: super::failure::Failure| -> Error {
            let mut error = failure.error(&play.mark);
            error.kind = ErrorKind::Content;
            if !error.causes.is_empty() {
                let first = error.causes.remove(0);
                error.message = first.message;
                error.mark = first.mark.or(error.mark);
            }
            error
        };
        let flag = |name: &str, node: &Option<Node>| {
            renderer.own_flag(name, node.as_ref()).map_err(placed)
        };
        let text = |node: &Option<Node>| renderer.text(node.as_ref()).map_err(placed);
        let patterns = renderer
            .names(play.host_patterns())
            .map_err(placed)?
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        let serial = play
            .serial
            .iter()
            .map(|node| Ok(renderer.value(node).map_err(placed)?.unwrap_or_default()))
            .collect::<Result<Vec<Value>, Error>>()?;
        let strategy = text(&play.strategy)?.unwrap_or_else(|| self.world.options.strategy.clone());
        let max_fail = match &play.max_fail_percentage {
            Some(node) => renderer
                .value(node)
                .map_err(placed)?
                .as_ref()
                .and_then(crate::playbook::to_percent),
            None => None,
        };
        let check_mode = renderer
            .flag(&play.layer, Keyword::CheckMode)
            .map_err(placed)?;
        Ok(PlayFacts {
            title: text(&play.name)?
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| patterns.join(",")),
            patterns,
            serial: serial
                .into_iter()
                .flat_map(|size| match size {
                    Value::List(items) => items.to_vec(),
                    size => vec![size],
                })
                .collect(),
            order: text(&play.order)?,
            strategy: strategy_called(&strategy)
                .ok_or_else(|| unknown_strategy(&strategy, play))?,
            gather_facts: flag("gather_facts", &play.gather_facts)?,
            force_handlers: flag("force_handlers", &play.force_handlers)?
                .unwrap_or(self.world.options.force_handlers),
            max_fail_percentage: max_fail,
            check_mode: check_mode.unwrap_or(self.world.options.check),
        })
    }

    /// Waits for a worker; a cancelled run waits no longer.
    pub(super) async fn next_finished(&mut self) -> Result<Option<Finished>, Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            joined = self.workers.join_next() => match joined {
                None => Ok(None),
                Some(Ok(finished)) => Ok(Some(finished)),
                Some(Err(error)) => Err(Error::new(
                    ErrorKind::Internal,
                    format!("a task's worker ended unexpectedly: {error}"),
                )
                .into()),
            },
        }
    }
}

/// What a play says of itself, rendered.
pub(super) struct PlayFacts {
    title: String,
    patterns: Vec<String>,
    serial: Vec<Value>,
    order: Option<String>,
    strategy: Strategy,
    gather_facts: Option<bool>,
    force_handlers: bool,
    pub(super) max_fail_percentage: Option<f64>,
    check_mode: bool,
}

/// In which order hosts take their tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// All hosts take a task before any takes the next.
    Linear,
    /// Each host goes as fast as it can; `pinned` hosts do not wait for a place in between.
    Free { pinned: bool },
}

fn strategy_called(name: &str) -> Option<Strategy> {
    match name.trim_start_matches("ansible.builtin.") {
        "linear" => Some(Strategy::Linear),
        "free" => Some(Strategy::Free { pinned: false }),
        "host_pinned" => Some(Strategy::Free { pinned: true }),
        _ => None,
    }
}

fn unknown_strategy(name: &str, play: &Play) -> Error {
    let mark = play.strategy.as_ref().map_or(&play.mark, |node| &node.mark);
    Error::content(format!("Invalid play strategy specified: {name}"))
        .at(mark)
        .suggest(name, ["linear", "free", "host_pinned"])
}

/// Returns the names a step can be started at.
fn step_name(step: &PlannedStep) -> Option<Vec<String>> {
    let StepKind::Task(task) = &step.kind else {
        return None;
    };
    let name = task.written_name()?.to_string();
    let with_role = task
        .role()
        .map(|role| format!("{} : {name}", role.full_name()));
    Some(std::iter::once(name).chain(with_role).collect())
}

fn not_started(world: &World, started: bool) -> Option<Arc<Error>> {
    let wanted = world.options.start_at_task.as_ref()?;
    if started {
        return None;
    }
    let error = Error::usage(format!("no matching task `{wanted}` found"))
        .help("`--start-at-task` can only follow static includes");
    let error = Arc::new(error);
    world.tell(Event::Failed(Arc::clone(&error)));
    Some(error)
}
