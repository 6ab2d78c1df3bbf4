//! In which order objects are applied and deleted.

use super::{ApplyStage, DeleteStage, Member};
use crate::object::{GroupKind, Manifest};

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

const RANKS: [Rank; 6] = [Rank::Namespaces, Rank::Crds, Rank::Foundations, Rank::Workloads, Rank::Hooks, Rank::Custom];

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

pub(super) fn apply_stages(manifests: Vec<Manifest>) -> Vec<ApplyStage> {
    let mut stages: Vec<(Rank, Vec<Manifest>)> = RANKS.map(|rank| (rank, Vec::new())).into();
    for manifest in manifests {
        let rank = Rank::of(&manifest.id.kind);
        if let Some((_, objects)) = stages.iter_mut().find(|(stage, _)| *stage == rank) {
            objects.push(manifest);
        }
    }
    let filled = stages.into_iter().filter(|(_, objects)| !objects.is_empty());
    filled.map(|(rank, objects)| ApplyStage { name: rank.name(), objects, wait_established: rank == Rank::Crds }).collect()
}

/// Custom resources go while their controllers still run to finalise them; definitions and namespaces go last.
pub(super) fn delete_stages(members: Vec<Member>) -> Vec<DeleteStage> {
    let mut stages: Vec<(Rank, Vec<Member>)> = RANKS.map(|rank| (rank, Vec::new())).into();
    for member in members {
        let rank = Rank::of(&member.id.kind);
        if let Some((_, stage)) = stages.iter_mut().find(|(stage, _)| *stage == rank) {
            stage.push(member);
        }
    }
    let filled = stages.into_iter().rev().filter(|(_, members)| !members.is_empty());
    filled.map(|(rank, members)| DeleteStage { name: rank.name(), members }).collect()
}
