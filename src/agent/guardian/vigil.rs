//! When a transaction is over because nobody looks after it any more.
//!
//! A pure value: times go in as spans of a clock that also counts while the machine sleeps, and
//! decisions come out.

use std::time::Duration;

/// The lease of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vigil {
    lease: Duration,
    grace: Duration,
    deadline: Duration,
    /// A worker is there whose controller gives signs of life.
    is_attended: bool,
}

/// Why nobody looks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The controller was silent for the whole lease.
    Silence(Duration),
    /// The worker or its channel went, and nobody came in its place.
    Loss,
}

impl Vigil {
    /// Begins at `now`, with a worker or waiting for one.
    pub(super) fn new(lease: Duration, grace: Duration, now: Duration, is_attended: bool) -> Self {
        Self {
            lease,
            grace: grace.min(lease),
            deadline: now.saturating_add(lease),
            is_attended,
        }
    }

    /// The controller gave a sign of life.
    pub(super) fn beat(&mut self, now: Duration) {
        if self.is_attended {
            self.deadline = now.saturating_add(self.lease);
        }
    }

    /// The worker, or its channel to the controller, is gone.
    pub(super) fn lose(&mut self, now: Duration) {
        if self.is_attended {
            self.is_attended = false;
            self.deadline = self.deadline.min(now.saturating_add(self.grace));
        }
    }

    /// A worker took over.
    pub(super) fn attend(&mut self, now: Duration) {
        self.is_attended = true;
        self.beat(now);
    }

    /// Returns when to ask again.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) fn is_over(&self, now: Duration) -> Option<Over> {
        match () {
            () if now < self.deadline => None,
            () if self.is_attended => Some(Over::Silence(self.lease)),
            () => Some(Over::Loss),
        }
    }
}

impl Over {
    /// Returns the reason as the journal and the user read it.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Silence(lease) => format!(
                "no sign of life came from the controller for {} seconds",
                lease.as_secs_f64()
            ),
            Self::Loss => "the connection to the controller was lost".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn vigil() -> Vigil {
        Vigil::new(at(60), at(15), at(1000), true)
    }

    #[test]
    fn signs_of_life_move_the_end_away() {
        let mut vigil = vigil();
        assert_eq!(vigil.is_over(at(1059)), None);
        vigil.beat(at(1059));
        assert_eq!(vigil.is_over(at(1118)), None);
        assert_eq!(vigil.is_over(at(1119)), Some(Over::Silence(at(60))));
    }

    #[test]
    fn a_lost_worker_shortens_the_wait_and_never_lengthens_it() {
        let mut early = vigil();
        early.lose(at(1001));
        assert_eq!(early.is_over(at(1015)), None);
        assert_eq!(early.is_over(at(1016)), Some(Over::Loss));
        let mut late = vigil();
        late.lose(at(1055));
        assert_eq!(late.deadline(), at(1060));
    }

    #[test]
    fn a_second_loss_starts_no_second_grace() {
        let mut vigil = vigil();
        vigil.lose(at(1001));
        vigil.lose(at(1010));
        assert_eq!(vigil.deadline(), at(1016));
    }

    #[test]
    fn a_worker_that_takes_over_has_a_whole_lease() {
        let mut vigil = vigil();
        vigil.lose(at(1001));
        vigil.beat(at(1002));
        assert_eq!(vigil.deadline(), at(1016));
        vigil.attend(at(1010));
        assert_eq!(vigil.deadline(), at(1070));
    }

    #[test]
    fn a_sleeping_machine_uses_up_the_lease() {
        assert_eq!(vigil().is_over(at(90_000)), Some(Over::Silence(at(60))));
    }
}
