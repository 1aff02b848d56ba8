//! One host's way through a play, as a pure value: sections with `rescue` and `always`, tasks
//! spliced in by dynamic includes, handlers, and the end of the way.
//!
//! Knows nothing of tasks but that they are steps with an id; does no I/O and asks nobody. The
//! dispatcher tells it what happened and asks what comes next.

use std::sync::Arc;

use indexmap::IndexSet;

/// Something a host does next.
pub(crate) trait Step: Clone {
    /// Unique in the run; the same for all hosts.
    fn id(&self) -> u64;
}

/// A block: its tasks, and what runs when they fail, and in any case.
#[derive(Clone, Debug)]
pub(crate) struct Section<T> {
    pub(crate) block: Vec<Part<T>>,
    /// What a failure of the block runs before anything else; it rescues nothing.
    pub(crate) undo: Vec<Part<T>>,
    pub(crate) rescue: Vec<Part<T>>,
    pub(crate) always: Vec<Part<T>>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self {
            block: Vec::new(),
            undo: Vec::new(),
            rescue: Vec::new(),
            always: Vec::new(),
        }
    }
}

/// What stands in a section.
#[derive(Clone, Debug)]
pub(crate) enum Part<T> {
    Step(T),
    Section(Arc<Section<T>>),
}

impl<T: Step> Section<T> {
    /// Makes a section of plain tasks.
    pub(crate) fn of(block: Vec<Part<T>>) -> Self {
        Self {
            block,
            ..Self::default()
        }
    }

    /// Tells whether there is nothing to do in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.rescue.is_empty() && self.always.is_empty()
    }

    /// Appends all steps, in the order of the source, to `found`.
    pub(crate) fn flatten_into(&self, found: &mut Vec<T>) {
        let handling = self.undo.iter().chain(&self.rescue).chain(&self.always);
        for part in self.block.iter().chain(handling) {
            match part {
                Part::Step(step) => found.push(step.clone()),
                Part::Section(section) => section.flatten_into(found),
            }
        }
    }

    fn list(&self, stage: Stage) -> &[Part<T>] {
        match stage {
            Stage::Block => &self.block,
            Stage::Undo => &self.undo,
            Stage::Rescue => &self.rescue,
            Stage::Always => &self.always,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Block,
    Undo,
    Rescue,
    Always,
}

/// A place in a list of sections; the frame below it on the stack goes on when it is done.
#[derive(Clone, Debug)]
struct Frame<T> {
    sections: Arc<[Arc<Section<T>>]>,
    section: usize,
    stage: Stage,
    position: usize,
    /// A failure of this section that nothing has rescued.
    failed: bool,
}

impl<T> Frame<T> {
    fn new(sections: Arc<[Arc<Section<T>>]>) -> Self {
        Self {
            sections,
            section: 0,
            stage: Stage::Block,
            position: 0,
            failed: false,
        }
    }

    fn current(&self) -> Option<&Arc<Section<T>>> {
        self.sections.get(self.section)
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.position = 0;
    }
}

/// Handlers being run at a flush: all of them, of which the notified ones count.
#[derive(Clone, Debug)]
struct Flush<T> {
    handlers: Vec<T>,
    position: usize,
}

/// One host's state in a play.
#[derive(Clone, Debug)]
pub(crate) struct HostState<T> {
    setup: Option<T>,
    in_setup: bool,
    frames: Vec<Frame<T>>,
    flush: Option<Flush<T>>,
    /// The names that were notified since the last flush, in order.
    notifications: IndexSet<Arc<str>>,
    /// The ids of the handlers that run at this or the next flush.
    notified: IndexSet<u64>,
    failed: bool,
}

impl<T: Step> HostState<T> {
    /// Starts a host at `setup`, then the first of `sections`.
    pub(crate) fn new(setup: Option<T>, sections: Arc<[Arc<Section<T>>]>) -> Self {
        Self {
            setup,
            in_setup: false,
            frames: vec![Frame::new(sections)],
            flush: None,
            notifications: IndexSet::new(),
            notified: IndexSet::new(),
            failed: false,
        }
    }

    /// Moves to the next step and returns it; `None` once the host is done. Steps that `skip`
    /// names are passed over.
    pub(crate) fn advance(&mut self, skip: &dyn Fn(&Self, &T) -> bool) -> Option<T> {
        self.in_setup = false;
        if let Some(setup) = self.setup.take()
            && !skip(self, &setup)
        {
            self.in_setup = true;
            return Some(setup);
        }
        loop {
            let step = match self.next_handler() {
                Some(handler) => return Some(handler),
                None => self.next_of_sections()?,
            };
            if !skip(self, &step) {
                return Some(step);
            }
        }
    }

    fn next_handler(&mut self) -> Option<T> {
        let flush = self.flush.as_mut()?;
        while let Some(handler) = flush.handlers.get(flush.position) {
            flush.position += 1;
            if self.notified.shift_remove(&handler.id()) {
                return Some(handler.clone());
            }
        }
        self.flush = None;
        None
    }

    fn next_of_sections(&mut self) -> Option<T> {
        loop {
            let frame = self.frames.last_mut()?;
            let Some(section) = frame.current().cloned() else {
                self.frames.pop();
                continue;
            };
            if let Some(part) = section.list(frame.stage).get(frame.position) {
                frame.position += 1;
                match part {
                    Part::Step(step) => return Some(step.clone()),
                    Part::Section(inner) => {
                        self.frames.push(Frame::new(Arc::from([Arc::clone(inner)])));
                    }
                }
            } else {
                self.leave_stage();
            }
        }
    }

    /// Goes on after the end of a list: to `always`, to the next section, or out with a failure.
    fn leave_stage(&mut self) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        match frame.stage {
            Stage::Block => frame.enter(Stage::Always),
            Stage::Undo => self.fail_sections(),
            Stage::Rescue => {
                frame.failed = false;
                frame.enter(Stage::Always);
            }
            Stage::Always if frame.failed => {
                self.frames.pop();
                self.fail_sections();
            }
            Stage::Always => {
                frame.section += 1;
                frame.enter(Stage::Block);
            }
        }
    }

    /// The current task failed: goes to the nearest `rescue` or `always`, or ends the host.
    pub(crate) fn fail(&mut self) {
        if self.flush.take().is_none() && self.in_setup {
            self.frames.clear();
            self.failed = true;
            return;
        }
        if !self.frames.is_empty() {
            self.fail_sections();
        }
    }

    fn fail_sections(&mut self) {
        while let Some(frame) = self.frames.last_mut() {
            frame.failed = true;
            let section = frame.current().cloned().unwrap_or_default();
            match frame.stage {
                Stage::Block if !section.undo.is_empty() => return frame.enter(Stage::Undo),
                Stage::Block | Stage::Undo if !section.rescue.is_empty() => {
                    return frame.enter(Stage::Rescue);
                }
                Stage::Block | Stage::Undo | Stage::Rescue if !section.always.is_empty() => {
                    return frame.enter(Stage::Always);
                }
                _ => {
                    self.frames.pop();
                }
            }
        }
        self.failed = true;
    }

    /// Tells whether a failure now would be rescued.
    pub(crate) fn would_rescue(&self) -> bool {
        self.frames.iter().any(|frame| {
            frame.stage == Stage::Block
                && frame
                    .current()
                    .is_some_and(|section| !section.rescue.is_empty())
        })
    }

    /// Ends the host's part in the play without a failure of its own; a failure that is being
    /// rescued right now counts as rescued, one that only waits for its `always` does not.
    pub(crate) fn end(&mut self) {
        let rescuing = self.flush.is_none()
            && self
                .frames
                .last()
                .is_some_and(|frame| frame.stage == Stage::Rescue);
        let waiting = self.frames.first().is_some_and(|frame| frame.failed);
        self.failed |= waiting && !rescuing;
        self.setup = None;
        self.flush = None;
        self.frames.clear();
    }

    /// Forgets failures. A host that ended because of one stays ended in this play.
    pub(crate) fn clear_errors(&mut self) {
        self.failed = false;
        for frame in &mut self.frames {
            frame.failed = false;
        }
    }

    /// Puts sections in at the current place; of a host that is done, nowhere.
    pub(crate) fn splice(&mut self, sections: Vec<Arc<Section<T>>>) {
        if sections.is_empty() {
            return;
        }
        if let Some(flush) = &mut self.flush {
            let mut steps = Vec::new();
            for section in &sections {
                section.flatten_into(&mut steps);
            }
            flush.handlers.splice(flush.position..flush.position, steps);
        } else if !self.frames.is_empty() {
            self.frames.push(Frame::new(sections.into()));
        }
    }

    /// Starts running those of `handlers` that are notified; false when they run already.
    pub(crate) fn start_flush(&mut self, handlers: Vec<T>) -> bool {
        if self.flush.is_some() {
            return false;
        }
        self.flush = Some(Flush {
            handlers,
            position: 0,
        });
        true
    }

    /// Tells whether handlers are being run.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Remembers a notification until the next flush.
    pub(crate) fn notify(&mut self, name: &Arc<str>) {
        self.notifications.insert(Arc::clone(name));
    }

    /// Returns and forgets the notifications since the last flush.
    pub(crate) fn take_notifications(&mut self) -> Vec<Arc<str>> {
        self.notifications.drain(..).collect()
    }

    /// Marks a handler to be run at this or the next flush; false when it was marked already.
    pub(crate) fn notify_handler(&mut self, id: u64) -> bool {
        self.notified.insert(id)
    }

    /// Unmarks a handler that ran for all hosts.
    pub(crate) fn forget_handler(&mut self, id: u64) {
        self.notified.shift_remove(&id);
    }

    /// Tells whether a flush would have anything to do.
    pub(crate) fn has_notifications(&self) -> bool {
        !self.notifications.is_empty() || !self.notified.is_empty()
    }

    /// Tells whether the host ended with a failure.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Returns the facts step that the host has not taken yet.
    pub(crate) fn setup(&self) -> Option<&T> {
        self.setup.as_ref()
    }

    /// Gives the host its facts step again, before where it stands.
    pub(crate) fn restart_setup(&mut self, setup: Option<T>) {
        self.setup = setup;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Step for u64 {
        fn id(&self) -> u64 {
            *self
        }
    }

    type Tree = Vec<Part<u64>>;

    /// What a section does by its definition, as recursion over the tree.
    fn model(parts: &Tree, fails: &dyn Fn(u64) -> bool, trace: &mut Vec<u64>) -> Result<(), ()> {
        for part in parts {
            match part {
                Part::Step(id) => {
                    trace.push(*id);
                    if fails(*id) {
                        return Err(());
                    }
                }
                Part::Section(section) => {
                    let mut outcome = model(&section.block, fails, trace);
                    if outcome.is_err() {
                        // Its own failure changes nothing: the block has failed already.
                        model(&section.undo, fails, trace).ok();
                    }
                    if outcome.is_err() && !section.rescue.is_empty() {
                        outcome = model(&section.rescue, fails, trace);
                    }
                    model(&section.always, fails, trace)?;
                    outcome?;
                }
            }
        }
        Ok(())
    }

    fn walk(parts: &Tree, fails: &dyn Fn(u64) -> bool) -> (Vec<u64>, bool) {
        let mut state = HostState::new(None, Arc::from([Arc::new(Section::of(parts.clone()))]));
        let mut trace = Vec::new();
        while let Some(id) = state.advance(&|_, _| false) {
            trace.push(id);
            if fails(id) {
                state.fail();
            }
        }
        (trace, state.is_failed())
    }

    /// A small generator of numbers, so that a failing tree can be built again from its seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % sides
        }

        fn tree(&mut self, depth: u64, next: &mut u64) -> Tree {
            (0..self.roll(4))
                .map(|_| {
                    if depth > 0 && self.roll(3) == 0 {
                        Part::Section(Arc::new(Section {
                            block: self.tree(depth - 1, next),
                            undo: self.tree(0, next),
                            rescue: self.tree(depth - 1, next),
                            always: self.tree(depth - 1, next),
                        }))
                    } else {
                        *next += 1;
                        Part::Step(*next)
                    }
                })
                .collect()
        }
    }

    #[test]
    fn random_trees_with_random_failures_walk_as_their_definition_says() {
        for seed in 0..3000 {
            let mut dice = Dice(seed);
            let tree = dice.tree(3, &mut 0);
            let failing: Vec<bool> = (0..400).map(|_| dice.roll(4) == 0).collect();
            let fails = |id: u64| failing[usize::try_from(id).unwrap()];
            let mut expected = Vec::new();
            let outcome = model(&tree, &fails, &mut expected);
            assert_eq!(
                walk(&tree, &fails),
                (expected, outcome.is_err()),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn every_choice_of_failures_in_a_nested_block_walks_as_its_definition_says() {
        let inner = Section {
            block: vec![Part::Step(2), Part::Step(3)],
            rescue: vec![Part::Step(4)],
            always: vec![Part::Step(5)],
            ..Section::default()
        };
        let outer = Section {
            block: vec![Part::Step(1), Part::Section(Arc::new(inner)), Part::Step(6)],
            rescue: vec![Part::Step(7), Part::Step(8)],
            always: vec![Part::Step(9)],
            ..Section::default()
        };
        let tree = vec![Part::Section(Arc::new(outer)), Part::Step(10)];
        for failures in 0..2048_u64 {
            let fails = |id: u64| failures & (1 << id) != 0;
            let mut expected = Vec::new();
            let outcome = model(&tree, &fails, &mut expected);
            assert_eq!(walk(&tree, &fails), (expected, outcome.is_err()));
        }
    }

    fn plain(ids: &[u64]) -> HostState<u64> {
        let parts = ids.iter().map(|id| Part::Step(*id)).collect();
        HostState::new(None, Arc::from([Arc::new(Section::of(parts))]))
    }

    fn all(state: &mut HostState<u64>) -> Vec<u64> {
        std::iter::from_fn(|| state.advance(&|_, _| false)).collect()
    }

    #[test]
    fn included_tasks_come_before_what_follows_and_their_failure_is_the_including_blocks() {
        let section = Section {
            block: vec![Part::Step(1), Part::Step(2)],
            rescue: vec![Part::Step(3)],
            ..Section::default()
        };
        let mut state = HostState::new(None, Arc::from([Arc::new(section)]));
        assert_eq!(state.advance(&|_, _| false), Some(1));
        state.splice(vec![Arc::new(Section::of(vec![
            Part::Step(10),
            Part::Step(11),
        ]))]);
        assert_eq!(state.advance(&|_, _| false), Some(10));
        assert!(state.would_rescue());
        state.fail();
        assert_eq!(all(&mut state), [3]);
        assert!(!state.is_failed());
    }

    #[test]
    fn only_notified_handlers_run_in_their_order_and_an_earlier_one_waits_for_the_next_flush() {
        let mut state = plain(&[1, 2]);
        assert_eq!(state.advance(&|_, _| false), Some(1));
        state.notify_handler(102);
        assert!(state.start_flush(vec![100, 101, 102]));
        assert!(!state.start_flush(vec![]));
        assert_eq!(state.advance(&|_, _| false), Some(102));
        assert!(state.notify_handler(100));
        assert!(!state.notify_handler(100));
        assert_eq!(state.advance(&|_, _| false), Some(2));
        assert!(state.has_notifications());
        state.start_flush(vec![100, 101, 102]);
        assert_eq!(all(&mut state), [100]);
    }

    #[test]
    fn a_failing_handler_ends_the_flush_and_is_rescued_by_the_block_of_the_flush() {
        let section = Section {
            block: vec![Part::Step(1), Part::Step(2)],
            rescue: vec![Part::Step(3)],
            ..Section::default()
        };
        let mut state = HostState::new(None, Arc::from([Arc::new(section)]));
        state.advance(&|_, _| false);
        state.notify_handler(100);
        state.notify_handler(101);
        state.start_flush(vec![100, 101]);
        assert_eq!(state.advance(&|_, _| false), Some(100));
        state.fail();
        assert_eq!(all(&mut state), [3]);
    }

    #[test]
    fn handlers_included_by_a_handler_run_right_after_it_when_notified() {
        let mut state = plain(&[1]);
        state.advance(&|_, _| false);
        state.notify_handler(100);
        state.start_flush(vec![100, 101]);
        assert_eq!(state.advance(&|_, _| false), Some(100));
        state.splice(vec![Arc::new(Section::of(vec![Part::Step(200)]))]);
        state.notify_handler(200);
        assert_eq!(all(&mut state), [200]);
    }

    #[test]
    fn a_failed_setup_ends_the_host_before_any_always() {
        let section = Section {
            block: vec![Part::Step(1)],
            always: vec![Part::Step(2)],
            ..Section::default()
        };
        let mut state = HostState::new(Some(9), Arc::from([Arc::new(section)]));
        assert_eq!(state.advance(&|_, _| false), Some(9));
        state.fail();
        assert_eq!(state.advance(&|_, _| false), None);
        assert!(state.is_failed());
    }

    #[test]
    fn ending_a_host_in_a_rescue_counts_as_rescued_but_in_an_always_it_does_not() {
        let section = |rescue: Vec<Part<u64>>| Section {
            block: vec![Part::Step(1)],
            rescue,
            always: vec![Part::Step(3)],
            ..Section::default()
        };
        for (rescue, failed) in [(vec![Part::Step(2)], false), (Vec::new(), true)] {
            let mut state = HostState::new(None, Arc::from([Arc::new(section(rescue))]));
            state.advance(&|_, _| false);
            state.fail();
            state.advance(&|_, _| false);
            state.end();
            assert_eq!(state.advance(&|_, _| false), None);
            assert_eq!(state.is_failed(), failed);
        }
    }

    #[test]
    fn a_failed_block_undoes_before_its_rescue_and_undoing_rescues_nothing() {
        let section = |rescue: Vec<Part<u64>>| Section {
            block: vec![Part::Step(1), Part::Step(2)],
            undo: vec![Part::Step(8)],
            rescue,
            ..Section::default()
        };
        for (rescue, walked, failed) in [
            (vec![Part::Step(3)], vec![8, 3], false),
            (Vec::new(), vec![8], true),
        ] {
            let would_rescue = !rescue.is_empty();
            let mut state = HostState::new(None, Arc::from([Arc::new(section(rescue))]));
            state.advance(&|_, _| false);
            assert_eq!(state.would_rescue(), would_rescue);
            state.fail();
            assert_eq!(all(&mut state), walked);
            assert_eq!(state.is_failed(), failed);
        }
    }

    #[test]
    fn skipped_steps_are_passed_over_without_a_trace() {
        let mut state = plain(&[1, 2, 3]);
        assert_eq!(state.advance(&|_, id| *id == 1), Some(2));
    }
}
