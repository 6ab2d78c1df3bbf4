//! In which order objects are applied and deleted.

use std::collections::BTreeMap;

use super::{Action, ApplyStage, DeleteStage, Wave};
use crate::{live::Live, object::GroupKind};

/// Stages of applying, in order. Deleting goes the other way, but for custom resources, which go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Namespaces,
    Crds,
    Foundations,
    Workloads,
    Hooks,
    Custom,
}

impl Rank {
    fn of(kind: &GroupKind) -> Self {
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("", "Namespace") => Self::Namespaces,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Self::Crds,
            ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => Self::Hooks,
            ("apps" | "batch" | "autoscaling", _) | ("", "Pod" | "ReplicationController") => Self::Workloads,
            ("" | "policy" | "events.k8s.io" | "extensions", _) => Self::Foundations,
            (group, _) if group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io") => Self::Foundations,
            _ => Self::Custom,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Crds => "definitions",
            Self::Foundations => "foundations",
            Self::Workloads => "workloads",
            Self::Hooks => "hooks",
            Self::Custom => "custom resources",
        }
    }
}

/// Waves by their number; within a wave stages by rank.
pub(super) fn waves(actions: impl Iterator<Item = Action>) -> Vec<Wave> {
    let mut waves: BTreeMap<i32, BTreeMap<Rank, Vec<Action>>> = BTreeMap::new();
    for action in actions {
        let rank = Rank::of(&action.manifest.id.kind);
        waves.entry(action.manifest.wave).or_default().entry(rank).or_default().push(action);
    }
    let stage =
        |(rank, actions): (Rank, Vec<Action>)| ApplyStage { name: rank.name(), wait_established: rank == Rank::Crds, actions };
    let wave =
        |(number, stages): (i32, BTreeMap<Rank, Vec<Action>>)| Wave { number, stages: stages.into_iter().map(stage).collect() };
    waves.into_iter().map(wave).collect()
}

/// Custom resources go while their controllers still run to finalise them; definitions and namespaces go last.
pub(super) fn delete_stages(members: Vec<Live>) -> Vec<DeleteStage> {
    let mut stages: BTreeMap<Rank, Vec<Live>> = BTreeMap::new();
    for member in members {
        stages.entry(Rank::of(&member.id.kind)).or_default().push(member);
    }
    stages.into_iter().rev().map(|(rank, members)| DeleteStage { name: rank.name(), members }).collect()
}
