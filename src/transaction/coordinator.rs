//! The coordinator: two-phase commit over the participants of one deploy, as a pure value.
//!
//! What happened goes in, what to order comes out; who carries the orders, and how long anybody
//! waits, is the driver's business. A commit is revocable: every participant keeps its journal,
//! so a mixed outcome is short, always told, and settled by [`settle`].

/// A participant, by its number in the order of joining.
pub type Member = usize;

/// Something that happened. Messages of participants may come late or twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Every task, handler and check is done, and nothing failed.
    Finished,
    /// Something failed, or somebody wants the end.
    Failed,
    /// An answer to [`Order::Prepare`].
    Voted(Member, Vote),
    /// The participant was attached to over a fresh connection.
    Confirmed(Member),
    /// The participant has committed.
    Committed(Member),
    /// The participant is back where it was, by our order or by itself.
    RolledBack(Member),
    /// The participant could not undo everything.
    Stuck(Member),
    /// The participant does not answer, and is waited for no longer.
    Lost(Member),
}

/// What a participant says when it is asked to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    Yes,
    No,
}

/// What is to be sent to a participant. All are safe to send twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    Prepare(Member),
    /// Attach over a fresh connection.
    Confirm(Member),
    Commit(Member),
    Abort(Member),
}

/// What a participant has come to, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    Prepared,
    Confirmed,
    Committed,
    RolledBack,
    Stuck,
    /// It does not answer.
    Unknown,
    /// It failed as far as the plays allow, and the others go on without it.
    LeftOut,
}

/// The reason journaled by a participant that is undone because the others go on without it; its
/// outcome says nothing about theirs.
pub const LEFT_OUT: &str = "left out: the play goes on without it";

impl Standing {
    /// Tells whether the participant will say nothing more by itself.
    fn is_final(self) -> bool {
        matches!(
            self,
            Self::Committed | Self::RolledBack | Self::Stuck | Self::LeftOut
        )
    }
}

/// How a deploy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every participant committed.
    Committed,
    /// Every participant is back where it was.
    RolledBack,
    /// Nobody committed, and somebody could not undo everything.
    Stuck,
    /// Participants differ, or one does not answer.
    InDoubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Voting,
    Confirming,
    Committing,
    Aborting,
}

/// The state of one deploy.
#[derive(Clone, Debug)]
pub struct Coordinator {
    phase: Phase,
    members: Vec<Standing>,
}

impl Default for Coordinator {
    fn default() -> Self {
        Self::new()
    }
}

impl Coordinator {
    /// Starts a deploy without participants.
    pub fn new() -> Self {
        Self {
            phase: Phase::Running,
            members: Vec::new(),
        }
    }

    /// Adds a participant whose transaction is open; `None` once the deploy is being ended.
    pub fn join(&mut self) -> Option<Member> {
        (self.phase == Phase::Running).then(|| {
            self.members.push(Standing::Open);
            self.members.len() - 1
        })
    }

    /// Leaves a participant out: its outcome is not part of the deploy's any more.
    pub fn leave(&mut self, member: Member) {
        if let (Phase::Running, Some(standing)) = (self.phase, self.members.get_mut(member)) {
            *standing = Standing::LeftOut;
        }
    }

    /// Returns what is known of each participant.
    pub fn standings(&self) -> &[Standing] {
        &self.members
    }

    /// Takes in what happened and returns what is to be ordered now.
    pub fn take(&mut self, happened: Happened) -> Vec<Order> {
        match happened {
            // Without participants there is nobody to ask.
            Happened::Finished if self.is_alone() && self.may_abort() => {
                self.enter(Phase::Committing, Order::Commit)
            }
            Happened::Finished if self.phase == Phase::Running => {
                self.enter(Phase::Voting, Order::Prepare)
            }
            Happened::Failed if self.may_abort() => self.abort(),
            Happened::Finished | Happened::Failed => Vec::new(),
            Happened::Voted(member, Vote::Yes) => {
                self.advance(member, Standing::Open, Standing::Prepared)
            }
            Happened::Voted(_, Vote::No) if self.may_abort() => self.abort(),
            Happened::Voted(..) => Vec::new(),
            Happened::Confirmed(member) => {
                self.advance(member, Standing::Prepared, Standing::Confirmed)
            }
            Happened::Committed(member) => self.settle_member(member, Standing::Committed),
            Happened::RolledBack(member) => self.settle_member(member, Standing::RolledBack),
            Happened::Stuck(member) => self.settle_member(member, Standing::Stuck),
            Happened::Lost(member) => self.lose(member),
        }
    }

    /// Returns the participants whose answer the current step waits for.
    pub fn awaited(&self) -> Vec<Member> {
        let is_awaited = |standing: Standing| match self.phase {
            Phase::Running => false,
            Phase::Voting => standing == Standing::Open,
            Phase::Confirming => standing == Standing::Prepared,
            Phase::Committing | Phase::Aborting => {
                !standing.is_final() && standing != Standing::Unknown
            }
        };
        (0..self.members.len())
            .filter(|member| is_awaited(self.members[*member]))
            .collect()
    }

    /// Returns how the deploy ended, once nobody is waited for any more.
    pub fn verdict(&self) -> Option<Verdict> {
        if !matches!(self.phase, Phase::Committing | Phase::Aborting) || !self.awaited().is_empty()
        {
            return None;
        }
        let all = |wanted| {
            let mut counted = self.members.iter().filter(|it| **it != Standing::LeftOut);
            counted.all(|standing| *standing == wanted)
        };
        let any = |wanted| self.members.contains(&wanted);
        Some(match self.phase {
            Phase::Aborting if all(Standing::RolledBack) => Verdict::RolledBack,
            _ if all(Standing::Committed) => Verdict::Committed,
            _ if any(Standing::Committed) || any(Standing::Unknown) => Verdict::InDoubt,
            _ if any(Standing::Stuck) => Verdict::Stuck,
            _ => Verdict::RolledBack,
        })
    }

    fn is_alone(&self) -> bool {
        let mut members = self.members.iter();
        members.all(|standing| *standing == Standing::LeftOut)
    }

    /// Tells whether no COMMIT was ordered yet.
    pub fn may_abort(&self) -> bool {
        !matches!(self.phase, Phase::Committing | Phase::Aborting)
    }

    fn abort(&mut self) -> Vec<Order> {
        self.phase = Phase::Aborting;
        // One that was lost is asked once more: its link may be back.
        self.order(Order::Abort, |standing| !standing.is_final())
    }

    fn enter(&mut self, phase: Phase, order: fn(Member) -> Order) -> Vec<Order> {
        self.phase = phase;
        self.order(order, |standing| !standing.is_final())
    }

    fn order(&self, order: fn(Member) -> Order, to: fn(Standing) -> bool) -> Vec<Order> {
        (0..self.members.len())
            .filter(|member| to(self.members[*member]))
            .map(order)
            .collect()
    }

    /// Moves a participant on in the phase that is for it, and the deploy when it was the last.
    fn advance(&mut self, member: Member, from: Standing, to: Standing) -> Vec<Order> {
        let expected = match self.phase {
            Phase::Voting => Standing::Open,
            Phase::Confirming => Standing::Prepared,
            Phase::Running | Phase::Committing | Phase::Aborting => return Vec::new(),
        };
        if from != expected || self.members.get(member) != Some(&from) {
            return Vec::new();
        }
        self.members[member] = to;
        let mut counted = self.members.iter().filter(|it| **it != Standing::LeftOut);
        if counted.any(|standing| *standing != to) {
            return Vec::new();
        }
        match self.phase {
            Phase::Voting => self.enter(Phase::Confirming, Order::Confirm),
            _ => self.enter(Phase::Committing, Order::Commit),
        }
    }

    /// Takes in a participant's own final word, which is believed in every phase.
    fn settle_member(&mut self, member: Member, standing: Standing) -> Vec<Order> {
        let Some(known) = self.members.get_mut(member) else {
            return Vec::new();
        };
        if *known == Standing::LeftOut {
            return Vec::new();
        }
        *known = standing;
        if self.may_abort() {
            self.abort()
        } else {
            Vec::new()
        }
    }

    fn lose(&mut self, member: Member) -> Vec<Order> {
        let known = self.members.get(member).copied();
        if known.is_none_or(Standing::is_final) {
            return Vec::new();
        }
        if self.may_abort() {
            return self.abort();
        }
        self.members[member] = Standing::Unknown;
        Vec::new()
    }
}

/// What is found of a transaction on a host when a mixed outcome is to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing is known of it there: it changed nothing, or was collected since.
    Absent,
    /// Open, and not prepared.
    Undecided,
    Prepared,
    Committed,
    RolledBack,
    Stuck,
    /// The host does not answer.
    Unknown,
}

/// What a host is to do to settle a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    Leave,
    Commit,
    Abort,
    /// Undo a committed generation.
    Revert,
}

/// Decides how a transaction is settled, host by host.
///
/// Where anybody is, or is about to be, back at the old state, everybody goes back. Where
/// somebody committed and nobody went back, the prepared ones commit. Where nobody committed, all
/// go back. A host that does not answer changes nothing for the others; when it comes back, the
/// same rule settles it.
pub fn settle(found: &[Found]) -> Vec<Settling> {
    let is_back =
        |found: &Found| matches!(found, Found::Undecided | Found::RolledBack | Found::Stuck);
    let goes_back = found.iter().any(is_back) || !found.contains(&Found::Committed);
    found
        .iter()
        .map(|found| match (found, goes_back) {
            (Found::Prepared, false) => Settling::Commit,
            (Found::Prepared | Found::Undecided, true) => Settling::Abort,
            (Found::Committed, true) => Settling::Revert,
            _ => Settling::Leave,
        })
        .collect()
}

/// Tells whether hosts differ: some have the new state, and some the old or none that is known.
pub fn is_mixed(found: &[Found]) -> bool {
    let committed = found.contains(&Found::Committed);
    let others = found
        .iter()
        .any(|found| !matches!(found, Found::Committed | Found::Absent));
    committed && others
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What the target's end promises, in its smallest form.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Host {
        Open,
        Prepared,
        Committed,
        RolledBack,
    }

    impl Host {
        /// Does what is ordered, whenever and however often it comes, and answers.
        fn obey(&mut self, order: Order, votes_no: bool) -> Happened {
            match (order, *self) {
                (Order::Prepare(_), Self::Open) if votes_no => {}
                (Order::Prepare(_), Self::Open) => *self = Self::Prepared,
                (Order::Commit(_), Self::Prepared) => *self = Self::Committed,
                (Order::Abort(_), Self::Open | Self::Prepared) => *self = Self::RolledBack,
                _ => {}
            }
            match (order, *self) {
                (Order::Prepare(member), Self::Prepared) => Happened::Voted(member, Vote::Yes),
                (Order::Confirm(member), Self::Prepared) => Happened::Confirmed(member),
                (order, Self::Committed) => Happened::Committed(order.member()),
                (order, Self::RolledBack) => Happened::RolledBack(order.member()),
                (order, _) => Happened::Voted(order.member(), Vote::No),
            }
        }

        fn lapse(&mut self) {
            if matches!(self, Self::Open | Self::Prepared) {
                *self = Self::RolledBack;
            }
        }

        fn found(self) -> Found {
            match self {
                Self::Open => Found::Undecided,
                Self::Prepared => Found::Prepared,
                Self::Committed => Found::Committed,
                Self::RolledBack => Found::RolledBack,
            }
        }
    }

    impl Order {
        fn member(self) -> Member {
            match self {
                Self::Prepare(member)
                | Self::Confirm(member)
                | Self::Commit(member)
                | Self::Abort(member) => member,
            }
        }
    }

    /// A deploy over a network that loses, doubles and delays.
    #[derive(Clone)]
    struct World {
        hosts: Vec<Host>,
        /// `None` once the controller is dead.
        coordinator: Option<Coordinator>,
        orders: Vec<Order>,
        answers: Vec<Happened>,
        votes_no: Option<Member>,
        /// What was seen, for the promises that are about the way and not the end.
        voted: HashSet<Member>,
        confirmed: HashSet<Member>,
    }

    impl World {
        fn new(n_hosts: usize, votes_no: Option<Member>) -> Self {
            let mut coordinator = Coordinator::new();
            for _ in 0..n_hosts {
                coordinator.join();
            }
            Self {
                hosts: vec![Host::Open; n_hosts],
                coordinator: Some(coordinator),
                orders: Vec::new(),
                answers: Vec::new(),
                votes_no,
                voted: HashSet::new(),
                confirmed: HashSet::new(),
            }
        }

        fn tell(&mut self, happened: Happened) {
            match happened {
                Happened::Voted(member, Vote::Yes) => self.voted.insert(member),
                Happened::Confirmed(member) => self.confirmed.insert(member),
                _ => false,
            };
            let Some(coordinator) = &mut self.coordinator else {
                return;
            };
            let orders = coordinator.take(happened);
            if orders.iter().any(|order| matches!(order, Order::Commit(_))) {
                let n = self.hosts.len();
                assert_eq!(self.voted.len(), n, "COMMIT before every vote");
                assert_eq!(self.confirmed.len(), n, "COMMIT before every confirmation");
                assert_eq!(orders.len(), n, "COMMIT goes to everybody");
            }
            if orders.iter().any(|order| matches!(order, Order::Abort(_))) {
                let told: HashSet<Member> = orders.iter().map(|order| order.member()).collect();
                for (member, standing) in coordinator.standings().iter().enumerate() {
                    assert!(
                        standing.is_final() || told.contains(&member),
                        "ABORT skips one"
                    );
                }
            }
            self.orders.extend(orders);
        }

        /// Carries order number `at` to its host, and its answer into the network.
        fn carry(&mut self, at: usize) {
            let order = self.orders.swap_remove(at);
            let member = order.member();
            let answer = self.hosts[member].obey(order, self.votes_no == Some(member));
            self.answers.push(answer);
        }

        fn hear(&mut self, at: usize) {
            let answer = self.answers.swap_remove(at);
            self.tell(answer);
        }

        /// Gives up on whoever is still awaited.
        fn give_up(&mut self) {
            let awaited = self.coordinator.as_ref().map(Coordinator::awaited);
            for member in awaited.unwrap_or_default() {
                self.tell(Happened::Lost(member));
            }
        }

        fn verdict(&self) -> Option<Verdict> {
            self.coordinator.as_ref().and_then(Coordinator::verdict)
        }

        fn found(&self) -> Vec<Found> {
            self.hosts.iter().map(|host| host.found()).collect()
        }

        /// Settles as `recover` does; reverted hosts are back where they were.
        fn recover(&mut self) {
            let settling = settle(&self.found());
            for (host, settling) in self.hosts.iter_mut().zip(settling) {
                *host = match settling {
                    Settling::Leave => *host,
                    Settling::Commit => Host::Committed,
                    Settling::Abort | Settling::Revert => Host::RolledBack,
                };
            }
        }

        /// Checks what must hold once nothing moves any more.
        fn check_end(mut self, story: &dyn Fn() -> String) {
            let committed = self.hosts.iter().filter(|host| **host == Host::Committed);
            let (committed, n) = (committed.count(), self.hosts.len());
            match self.verdict() {
                Some(Verdict::Committed) => assert_eq!(committed, n, "{}", story()),
                Some(Verdict::RolledBack) => {
                    let back = self.hosts.iter().filter(|host| **host == Host::RolledBack);
                    assert_eq!(back.count(), n, "{}", story());
                }
                Some(Verdict::Stuck) => panic!("nobody is stuck here: {}", story()),
                // A dead controller says nothing; `recover` finds out.
                Some(Verdict::InDoubt) | None => {}
            }
            self.recover();
            let ends: HashSet<Host> = self.hosts.iter().copied().collect();
            assert_eq!(ends.len(), 1, "hosts differ after recover: {}", story());
            let found = self.found();
            assert!(!is_mixed(&found), "{}", story());
            assert!(
                settle(&found)
                    .iter()
                    .all(|settling| *settling == Settling::Leave),
                "recover is not done after one round: {}",
                story()
            );
        }
    }

    /// A small generator of numbers, so that a failing walk can be walked again from its seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % sides
        }
    }

    /// Walks one deploy; how often trouble comes is part of the seed.
    fn walk(seed: u64) {
        let mut dice = Dice(seed);
        let n_hosts = 1 + dice.roll(5);
        let trouble = [0, 1, 3, 6][dice.roll(4)];
        let votes_no = (dice.roll(6) == 0).then(|| dice.roll(n_hosts));
        let mut world = World::new(n_hosts, votes_no);
        world.tell(if dice.roll(8) == 0 {
            Happened::Failed
        } else {
            Happened::Finished
        });
        for _ in 0..200 {
            if dice.roll(40) < trouble {
                match dice.roll(7) {
                    0 if !world.orders.is_empty() => {
                        let at = dice.roll(world.orders.len());
                        world.orders.swap_remove(at);
                    }
                    1 if !world.answers.is_empty() => {
                        let at = dice.roll(world.answers.len());
                        world.answers.swap_remove(at);
                    }
                    2 if !world.orders.is_empty() => {
                        let at = dice.roll(world.orders.len());
                        world.orders.push(world.orders[at]);
                    }
                    3 if !world.answers.is_empty() => {
                        let at = dice.roll(world.answers.len());
                        world.answers.push(world.answers[at]);
                    }
                    4 => world.hosts[dice.roll(n_hosts)].lapse(),
                    5 => world.tell(Happened::Lost(dice.roll(n_hosts))),
                    6 if dice.roll(4) == 0 => world.coordinator = None,
                    _ => world.tell(Happened::Failed),
                }
            } else if !world.orders.is_empty() && dice.roll(2) == 0 {
                world.carry(dice.roll(world.orders.len()));
            } else if !world.answers.is_empty() {
                world.hear(dice.roll(world.answers.len()));
            } else if world.orders.is_empty() {
                world.give_up();
            }
        }
        // What is left in the network is late: it arrives after everybody gave up.
        world.give_up();
        world.give_up();
        while !world.orders.is_empty() {
            world.carry(0);
        }
        while !world.answers.is_empty() {
            world.hear(0);
        }
        assert!(
            world.coordinator.is_none() || world.verdict().is_some(),
            "seed {seed}"
        );
        world.check_end(&|| format!("seed {seed}"));
    }

    #[test]
    fn whatever_is_lost_doubled_or_late_hosts_are_the_same_after_recover() {
        for seed in 0..40_000 {
            walk(seed);
        }
    }

    /// Walks every order of every message of a deploy, each of which may also be lost, with the
    /// controller dying and a lease lapsing anywhere.
    fn every_way(world: World, troubles: usize, seen: &mut HashSet<String>, ends: &mut usize) {
        let mut key = (world.orders.clone(), world.answers.clone());
        key.0.sort_by_key(|order| format!("{order:?}"));
        key.1.sort_by_key(|answer| format!("{answer:?}"));
        let name = format!("{troubles}{key:?}{:?}{:?}", world.hosts, world.coordinator);
        if !seen.insert(name) {
            return;
        }
        let mut moved = false;
        for at in 0..world.orders.len() {
            moved = true;
            let mut next = world.clone();
            next.carry(at);
            every_way(next, troubles, seen, ends);
            if troubles > 0 {
                let mut next = world.clone();
                next.orders.swap_remove(at);
                every_way(next, troubles - 1, seen, ends);
            }
        }
        for at in 0..world.answers.len() {
            moved = true;
            let mut next = world.clone();
            next.hear(at);
            every_way(next, troubles, seen, ends);
            if troubles > 0 {
                let mut next = world.clone();
                next.answers.swap_remove(at);
                every_way(next, troubles - 1, seen, ends);
            }
        }
        if troubles > 0 {
            for at in 0..world.hosts.len() {
                let mut next = world.clone();
                next.hosts[at].lapse();
                every_way(next, troubles - 1, seen, ends);
            }
            if world.coordinator.is_some() {
                let mut next = world.clone();
                next.coordinator = None;
                every_way(next, troubles - 1, seen, ends);
            }
        }
        if !moved {
            let mut world = world;
            if world
                .coordinator
                .as_ref()
                .is_some_and(|it| !it.awaited().is_empty())
            {
                world.give_up();
                return every_way(world, troubles, seen, ends);
            }
            *ends += 1;
            world.check_end(&|| "exhaustive".into());
        }
    }

    #[test]
    fn every_order_of_messages_with_every_single_and_double_fault_of_two_hosts_ends_well() {
        for votes_no in [None, Some(1)] {
            let mut world = World::new(2, votes_no);
            world.tell(Happened::Finished);
            let mut ends = 0;
            every_way(world, 2, &mut HashSet::new(), &mut ends);
            assert!(ends > 20, "{ends} ends");
        }
    }

    #[test]
    fn an_undisturbed_deploy_prepares_confirms_and_commits_everybody() {
        let mut coordinator = Coordinator::new();
        assert_eq!(coordinator.join(), Some(0));
        assert_eq!(coordinator.join(), Some(1));
        let mut orders = coordinator.take(Happened::Finished);
        assert_eq!(orders, [Order::Prepare(0), Order::Prepare(1)]);
        assert_eq!(coordinator.join(), None);
        assert!(coordinator.take(Happened::Voted(0, Vote::Yes)).is_empty());
        orders = coordinator.take(Happened::Voted(1, Vote::Yes));
        assert_eq!(orders, [Order::Confirm(0), Order::Confirm(1)]);
        assert!(coordinator.take(Happened::Confirmed(1)).is_empty());
        orders = coordinator.take(Happened::Confirmed(0));
        assert_eq!(orders, [Order::Commit(0), Order::Commit(1)]);
        coordinator.take(Happened::Committed(0));
        assert_eq!(coordinator.verdict(), None);
        coordinator.take(Happened::Committed(1));
        assert_eq!(coordinator.verdict(), Some(Verdict::Committed));
    }

    #[test]
    fn after_the_first_commit_nothing_aborts_and_a_silent_host_is_in_doubt() {
        let mut coordinator = Coordinator::new();
        coordinator.join();
        coordinator.join();
        for happened in [
            Happened::Finished,
            Happened::Voted(0, Vote::Yes),
            Happened::Voted(1, Vote::Yes),
            Happened::Confirmed(0),
            Happened::Confirmed(1),
        ] {
            coordinator.take(happened);
        }
        assert!(coordinator.take(Happened::Failed).is_empty());
        assert!(coordinator.take(Happened::Voted(0, Vote::No)).is_empty());
        coordinator.take(Happened::Committed(0));
        assert!(coordinator.take(Happened::Lost(1)).is_empty());
        assert_eq!(coordinator.verdict(), Some(Verdict::InDoubt));
        // Its acknowledgement may still come.
        coordinator.take(Happened::Committed(1));
        assert_eq!(coordinator.verdict(), Some(Verdict::Committed));
    }

    #[test]
    fn a_host_that_is_left_out_is_neither_asked_nor_counted() {
        let mut coordinator = Coordinator::new();
        coordinator.join();
        coordinator.join();
        coordinator.leave(0);
        assert_eq!(coordinator.take(Happened::Finished), [Order::Prepare(1)]);
        let orders = coordinator.take(Happened::Voted(1, Vote::Yes));
        assert_eq!(orders, [Order::Confirm(1)]);
        assert!(coordinator.take(Happened::RolledBack(0)).is_empty());
        assert_eq!(coordinator.take(Happened::Confirmed(1)), [Order::Commit(1)]);
        coordinator.take(Happened::Committed(1));
        assert_eq!(coordinator.verdict(), Some(Verdict::Committed));
    }

    #[test]
    fn one_stuck_host_is_never_told_as_rolled_back() {
        let mut coordinator = Coordinator::new();
        coordinator.join();
        coordinator.join();
        assert_eq!(
            coordinator.take(Happened::Failed),
            [Order::Abort(0), Order::Abort(1)]
        );
        coordinator.take(Happened::RolledBack(0));
        coordinator.take(Happened::Stuck(1));
        assert_eq!(coordinator.verdict(), Some(Verdict::Stuck));
    }

    #[test]
    fn a_deploy_that_met_no_host_is_committed() {
        let mut coordinator = Coordinator::new();
        assert!(coordinator.take(Happened::Finished).is_empty());
        assert_eq!(coordinator.verdict(), Some(Verdict::Committed));
    }

    #[test]
    fn a_host_that_went_back_takes_the_committed_ones_with_it() {
        assert_eq!(
            settle(&[
                Found::Committed,
                Found::RolledBack,
                Found::Prepared,
                Found::Absent
            ]),
            [
                Settling::Revert,
                Settling::Leave,
                Settling::Abort,
                Settling::Leave
            ]
        );
        assert_eq!(
            settle(&[Found::Committed, Found::Prepared, Found::Unknown]),
            [Settling::Leave, Settling::Commit, Settling::Leave]
        );
        assert_eq!(settle(&[Found::Prepared]), [Settling::Abort]);
        assert!(is_mixed(&[Found::Committed, Found::Unknown]));
        assert!(!is_mixed(&[Found::Committed, Found::Absent]));
    }
}
