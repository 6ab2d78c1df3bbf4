//! What is held back: suspended by a person, or all of it while the broker refuses the agent.

use std::{collections::BTreeMap, time::Duration};

use brokkr_api::{
    StackId,
    desired_state::DesiredState,
    suspension::{Suspension, SuspensionScope},
};
use tokio::sync::watch;

use crate::desired::Desired;

/// Asked before every change in the cluster: the object in hand is finished, the next one is not begun.
#[derive(Clone)]
pub(crate) struct Hold {
    desired: watch::Receiver<Option<Desired>>,
    stack: StackId,
    revision: u64,
}

/// Why work on a stack stops before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody suspended it, or the broker refuses the agent.
    Suspended,
    /// There is a newer revision.
    Superseded,
}

impl Stop {
    /// A word of a closed set.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Superseded => "superseded",
        }
    }
}

impl Hold {
    pub(crate) fn new(desired: watch::Receiver<Option<Desired>>, stack: StackId, revision: u64) -> Self {
        Self { desired, stack, revision }
    }

    /// Whether nothing more of this revision may be changed now. A stack that the newest state does not name goes on: absence of
    /// information is no order.
    pub(crate) fn stop(&self) -> Option<Stop> {
        let desired = self.desired.borrow();
        let Some(state) = desired.as_ref() else { return Some(Stop::Suspended) };
        let deployment = state.deployments.iter().find(|deployment| deployment.stack_id == self.stack)?;
        match () {
            () if deployment.suspended.is_some() => Some(Stop::Suspended),
            () if deployment.revision != self.revision => Some(Stop::Superseded),
            () => None,
        }
    }

    /// Waits so long, or until the work has to stop.
    pub(crate) async fn pause(&self, time: Duration) -> Option<Stop> {
        let mut desired = self.desired.clone();
        let changed = async { while self.stop().is_none() && desired.changed().await.is_ok() {} };
        // When the sender is gone the agent is ending, and the wait with it.
        tokio::time::timeout(time, changed).await.ok();
        self.stop()
    }
}

/// The suspensions that were told, so that each change is told once.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<Suspended, (Suspension, usize)>);

/// What is suspended: one stack, or everything that the agent has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suspended {
    Fleet,
    Agent,
    Stack(StackId, String),
}

/// A change of what is suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Held { what: Suspended, suspension: Suspension, stacks: usize },
    Resumed { what: Suspended },
}

impl Told {
    /// What is new in this desired state.
    pub(crate) fn news(&mut self, desired: &DesiredState) -> Vec<News> {
        let mut now: BTreeMap<Suspended, (Suspension, usize)> = BTreeMap::new();
        for deployment in &desired.deployments {
            if let Some(suspension) = &deployment.suspended {
                let what = match suspension.scope {
                    SuspensionScope::Fleet => Suspended::Fleet,
                    SuspensionScope::Agent => Suspended::Agent,
                    SuspensionScope::Stack => Suspended::Stack(deployment.stack_id, deployment.stack.to_string()),
                };
                now.entry(what).or_insert_with(|| (suspension.clone(), 0)).1 += 1;
            }
        }
        let gone = self.0.keys().filter(|what| !now.contains_key(what)).map(|what| News::Resumed { what: what.clone() });
        let is_new = |what: &Suspended, suspension: &Suspension| self.0.get(what).is_none_or(|(known, _)| known != suspension);
        let held = now.iter().filter(|(what, (suspension, _))| is_new(what, suspension)).map(|(what, (suspension, stacks))| {
            News::Held { what: what.clone(), suspension: suspension.clone(), stacks: *stacks }
        });
        let news = gone.chain(held).collect();
        self.0 = now;
        news
    }

    /// How many stacks are suspended.
    pub(crate) fn stacks(&self) -> usize {
        self.0.values().map(|(_, stacks)| stacks).sum()
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::{
        Timestamp,
        desired_state::{Action, DesiredDeployment},
        policy::StackPolicy,
    };

    use super::*;

    fn suspension(scope: SuspensionScope, reason: &str) -> Suspension {
        Suspension { scope, reason: reason.to_owned(), by: "ann".to_owned(), since: Timestamp::from_micros(1) }
    }

    fn desired(suspensions: &[Option<Suspension>]) -> DesiredState {
        let deployment = |(index, suspended): (usize, &Option<Suspension>)| DesiredDeployment {
            stack_id: format!("00000000-0000-7000-8000-00000000000{index}").parse().unwrap(),
            stack: format!("s{index}").parse().unwrap(),
            revision: 1,
            action: Action::Apply,
            generation: 1,
            digest: None,
            suspended: suspended.clone(),
            policy: StackPolicy::default(),
            approved: None,
            trace: None,
            scope: None,
            content: None,
        };
        DesiredState {
            protocol: 2,
            installation: "i".to_owned(),
            epoch: "e".to_owned(),
            rotate_key: false,
            tracing: None,
            deployments: suspensions.iter().enumerate().map(deployment).collect(),
        }
    }

    #[test]
    fn a_suspension_is_told_once_and_its_end_too() {
        let mut told = Told::default();
        let held = desired(&[Some(suspension(SuspensionScope::Stack, "audit")), None]);
        let news = told.news(&held);
        assert!(matches!(&news[..], [News::Held { what: Suspended::Stack(_, name), stacks: 1, .. }] if name == "s0"), "{news:?}");
        assert_eq!(told.news(&held), []);
        assert!(matches!(&told.news(&desired(&[None, None]))[..], [News::Resumed { what: Suspended::Stack(..) }]));
        assert_eq!(told.stacks(), 0);
    }

    #[test]
    fn the_fleet_is_told_as_one_and_another_reason_is_news() {
        let mut told = Told::default();
        let fleet = |reason| Some(suspension(SuspensionScope::Fleet, reason));
        let news = told.news(&desired(&[fleet("a"), fleet("a")]));
        assert!(matches!(&news[..], [News::Held { what: Suspended::Fleet, stacks: 2, .. }]), "{news:?}");
        assert_eq!(told.stacks(), 2);
        let news = told.news(&desired(&[fleet("b"), fleet("b")]));
        assert!(matches!(&news[..], [News::Held { suspension, .. }] if suspension.reason == "b"), "{news:?}");
    }

    #[test]
    fn work_in_hand_is_held_by_its_own_suspension_and_while_there_is_no_valid_state() {
        let (sender, receiver) = watch::channel(Some(Desired::new(desired(&[None, None]))));
        let hold = |index, revision| {
            Hold::new(receiver.clone(), format!("00000000-0000-7000-8000-00000000000{index}").parse().unwrap(), revision).stop()
        };
        assert_eq!((hold(0, 1), hold(9, 1)), (None, None));
        assert_eq!(hold(0, 2), Some(Stop::Superseded));
        sender.send_replace(Some(Desired::new(desired(&[Some(suspension(SuspensionScope::Stack, "a")), None]))));
        assert_eq!((hold(0, 1), hold(1, 1)), (Some(Stop::Suspended), None));
        sender.send_replace(None);
        assert_eq!(hold(1, 1), Some(Stop::Suspended));
    }
}
