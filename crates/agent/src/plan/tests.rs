use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::GroupKind;

fn manifest(api_version: &str, kind: &str, name: &str) -> Manifest {
    Manifest::new(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}})).unwrap()
}

fn member(kind: GroupKind, name: &str) -> Member {
    Member {
        id: ObjectId { kind, namespace: Some("shop".to_owned()), name: name.to_owned() },
        api_version: "v1".to_owned(),
        uid: format!("uid-{name}"),
        resource_version: "1".to_owned(),
        managed_by_us: true,
        has_owner: false,
        keep: false,
        is_terminating: false,
    }
}

fn config_maps(count: usize) -> Vec<Member> {
    (0..count).map(|index| member(GroupKind::new("", "ConfigMap"), &format!("c{index}"))).collect()
}

fn deleted(plan: &Plan) -> Vec<String> {
    plan.delete.iter().flat_map(|stage| &stage.members).map(|member| member.id.name.clone()).collect()
}

const APPROVED: Policy = Policy { deletion_approved: true, epoch_changed: false };

#[test]
fn namespaces_and_definitions_come_first_and_custom_resources_last() {
    let plan = plan(
        Goal::Apply(vec![
            manifest("example.com/v1", "Widget", "w"),
            manifest("apps/v1", "Deployment", "web"),
            manifest("v1", "Service", "web"),
            manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com"),
            manifest("v1", "Namespace", "shop"),
        ]),
        &Observed::default(),
        &Policy::default(),
    );
    let kinds: Vec<_> = plan.apply.iter().map(|stage| (stage.objects[0].id.kind.kind.as_str(), stage.wait_established)).collect();
    let expected =
        [("Namespace", false), ("CustomResourceDefinition", true), ("Service", false), ("Deployment", false), ("Widget", false)];
    assert_eq!(kinds, expected);
}

#[test]
fn deletion_goes_in_reverse_and_custom_resources_go_before_their_controllers() {
    let kinds = [
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "ConfigMap"),
        ("apps", "Deployment"),
        ("example.com", "Widget"),
    ];
    let members = kinds.iter().map(|(group, kind)| member(GroupKind::new(group, kind), "x")).collect();
    let plan = plan(Goal::Remove, &Observed { complete: true, members }, &APPROVED);
    let order: Vec<_> = plan.delete.iter().map(|stage| stage.members[0].id.kind.kind.clone()).collect();
    assert_eq!(order, ["Widget", "Deployment", "ConfigMap", "CustomResourceDefinition", "Namespace"]);
}

#[test]
fn an_object_that_left_the_manifests_is_deleted_and_the_rest_is_not() {
    let observed = Observed { complete: true, members: config_maps(5) };
    let kept = (1..5).map(|index| manifest("v1", "ConfigMap", &format!("c{index}"))).collect();
    assert_eq!(deleted(&plan(Goal::Apply(kept), &observed, &Policy::default())), ["c0"]);
}

#[test]
fn many_deletions_at_once_are_held_until_a_person_approves() {
    let observed = Observed { complete: true, members: config_maps(12) };
    let unapproved = plan(Goal::Apply(vec![manifest("v1", "ConfigMap", "c0")]), &observed, &Policy::default());
    assert!(deleted(&unapproved).is_empty());
    assert!(unapproved.held.iter().all(|held| held.reason == HoldReason::TooMany));
    assert_eq!(unapproved.held.len(), 11);
    assert_eq!(deleted(&plan(Goal::Remove, &observed, &APPROVED)).len(), 12);
}

#[test]
fn namespaces_definitions_and_volumes_are_held_even_alone() {
    for (group, kind) in [
        ("", "Namespace"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ] {
        let observed = Observed { complete: true, members: vec![member(GroupKind::new(group, kind), "x")] };
        let plan = plan(Goal::Remove, &observed, &Policy::default());
        assert!(deleted(&plan).is_empty(), "{kind}");
        assert_eq!(plan.held[0].reason, HoldReason::ProtectedKind);
    }
}

#[test]
fn after_a_change_of_epoch_nothing_is_deleted_even_if_the_broker_says_that_a_person_asked() {
    let observed = Observed { complete: true, members: config_maps(1) };
    let policy = Policy { deletion_approved: true, epoch_changed: true };
    let plan = plan(Goal::Remove, &observed, &policy);
    assert!(deleted(&plan).is_empty());
    assert_eq!(plan.held[0].reason, HoldReason::EpochChanged);
}

fn any_member() -> impl Strategy<Value = Member> {
    let kinds = prop_oneof![
        Just(("", "ConfigMap")),
        Just(("apps", "Deployment")),
        Just(("", "Namespace")),
        Just(("example.com", "Widget"))
    ];
    (kinds, 0..20_u8, any::<[bool; 4]>()).prop_map(|((group, kind), name, [managed_by_us, has_owner, keep, is_terminating])| {
        Member { managed_by_us, has_owner, keep, is_terminating, ..member(GroupKind::new(group, kind), &format!("m{name}")) }
    })
}

proptest! {
    #[test]
    fn an_incomplete_observation_deletes_nothing(members in prop::collection::vec(any_member(), 0..30), approved: bool) {
        let policy = Policy { deletion_approved: approved, epoch_changed: false };
        let plan = plan(Goal::Remove, &Observed { complete: false, members }, &policy);
        prop_assert!(plan.delete.is_empty() && plan.held.is_empty());
    }

    #[test]
    fn what_we_did_not_apply_or_another_object_owns_is_never_deleted(members in prop::collection::vec(any_member(), 0..30), approved: bool) {
        let policy = Policy { deletion_approved: approved, epoch_changed: false };
        let plan = plan(Goal::Remove, &Observed { complete: true, members }, &policy);
        for member in plan.delete.iter().flat_map(|stage| &stage.members) {
            prop_assert!(member.managed_by_us && !member.has_owner && !member.keep);
        }
    }

    #[test]
    fn what_the_manifests_name_is_never_deleted(names in prop::collection::hash_set(0..20_u8, 0..20), members in prop::collection::vec(any_member(), 0..30)) {
        let manifests: Vec<_> = names.iter().map(|name| manifest("v1", "ConfigMap", &format!("m{name}"))).collect();
        let plan = plan(Goal::Apply(manifests.clone()), &Observed { complete: true, members }, &APPROVED);
        for member in plan.delete.iter().flat_map(|stage| &stage.members) {
            prop_assert!(manifests.iter().all(|manifest| manifest.id != member.id));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(members in prop::collection::vec(any_member(), 0..30)) {
        let sets = |members: Vec<Member>| {
            let plan = plan(Goal::Remove, &Observed { complete: true, members }, &Policy::default());
            let mut deleted: Vec<_> = plan.delete.into_iter().flat_map(|stage| stage.members).map(|member| (member.id, member.uid)).collect();
            deleted.sort();
            deleted
        };
        let reversed: Vec<_> = members.iter().rev().cloned().collect();
        prop_assert_eq!(sets(members), sets(reversed));
    }
}
