use std::borrow::Borrow;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    applyset::PART_OF,
    draft::Draft,
    fields::Ownership,
    live::{DIGEST, FIELDS},
    object::GroupKind,
};

const SET: &str = "applyset-mine";

fn manifest(api_version: &str, kind: &str, name: &str) -> Arc<Manifest> {
    let body =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "data": {"k": "v"}});
    Arc::new(Draft::new(body).unwrap().finish(SET, &[]))
}

fn in_wave(name: &str, wave: &str) -> Arc<Manifest> {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"brokkr.io/wave": wave}}});
    Arc::new(Draft::new(body).unwrap().finish(SET, &[]))
}

/// Everything of [`manifest`], as the API server notes it.
fn ownership() -> Ownership {
    let fields = json!({"f:metadata": {"f:labels": {format!("f:{PART_OF}"): {}}, "f:annotations": {format!("f:{DIGEST}"): {}, format!("f:{FIELDS}"): {}}}, "f:data": {"f:k": {}}});
    Ownership { api_version: "v1".to_owned(), fields }
}

fn member(kind: GroupKind, name: &str) -> Live {
    Live {
        id: ObjectId { kind, namespace: Some("shop".to_owned()), name: name.to_owned() },
        api_version: "v1".to_owned(),
        uid: format!("uid-{name}"),
        resource_version: "1".to_owned(),
        part_of: Some(SET.to_owned()),
        digest: None,
        ours: Some(ownership()),
        managers: Vec::new(),
        has_owner: false,
        keep: false,
        is_terminating: false,
    }
}

/// The member that applying this manifest makes.
fn result_of(manifest: &Manifest) -> Live {
    Live { id: manifest.id.clone(), digest: Some(manifest.digest.clone()), ..member(manifest.id.kind.clone(), &manifest.id.name) }
}

fn config_maps(count: usize) -> Vec<Live> {
    (0..count).map(|index| member(GroupKind::new("", "ConfigMap"), &format!("c{index}"))).collect()
}

fn seen(members: Vec<Live>) -> Observed {
    Observed { complete: true, members, ..Observed::default() }
}

fn policy() -> Policy {
    Policy { set: SET.to_owned(), revision: 1, ..Policy::default() }
}

fn approved() -> Policy {
    Policy { deletion_approved: true, ..policy() }
}

fn planned(goal: impl Borrow<Goal>, observed: &Observed, policy: &Policy) -> Plan {
    plan(goal.borrow(), observed, policy, Instant::now())
}

fn step(manifest: &Arc<Manifest>, observed: &Observed, policy: &Policy) -> Step {
    let plan = planned(Goal::Apply(vec![Arc::clone(manifest)]), observed, policy);
    plan.actions().map(|action| action.step.clone()).next().unwrap()
}

fn deleted(plan: &Plan) -> Vec<String> {
    plan.delete.iter().flat_map(|stage| &stage.members).map(|member| member.id.name.clone()).collect()
}

#[test]
fn namespaces_and_definitions_come_first_and_custom_resources_last() {
    let plan = planned(
        Goal::Apply(vec![
            manifest("example.com/v1", "Widget", "w"),
            manifest("apps/v1", "Deployment", "web"),
            manifest("v1", "Service", "web"),
            manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com"),
            manifest("v1", "Namespace", "shop"),
        ]),
        &Observed::default(),
        &policy(),
    );
    let stages = &plan.waves[0].stages;
    let kinds: Vec<_> =
        stages.iter().map(|stage| (stage.actions[0].manifest.id.kind.kind.as_str(), stage.wait_established)).collect();
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
    let plan = planned(Goal::Remove, &seen(members), &approved());
    let order: Vec<_> = plan.delete.iter().map(|stage| stage.members[0].id.kind.kind.clone()).collect();
    assert_eq!(order, ["Widget", "Deployment", "ConfigMap", "CustomResourceDefinition", "Namespace"]);
}

#[test]
fn an_object_that_left_the_manifests_is_deleted_and_the_rest_is_not() {
    let observed = seen(config_maps(5));
    let kept = (1..5).map(|index| manifest("v1", "ConfigMap", &format!("c{index}"))).collect();
    assert_eq!(deleted(&planned(Goal::Apply(kept), &observed, &policy())), ["c0"]);
}

#[test]
fn many_deletions_at_once_are_held_until_a_person_approves() {
    let observed = seen(config_maps(12));
    let unapproved = planned(Goal::Apply(vec![manifest("v1", "ConfigMap", "c0")]), &observed, &policy());
    assert!(deleted(&unapproved).is_empty());
    assert!(unapproved.held.iter().all(|held| held.reason == HoldReason::TooMany));
    assert_eq!(unapproved.held.len(), 11);
    assert_eq!(deleted(&planned(Goal::Remove, &observed, &approved())).len(), 12);
}

#[test]
fn namespaces_definitions_and_volumes_are_held_even_alone() {
    for (group, kind) in [
        ("", "Namespace"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ] {
        let observed = seen(vec![member(GroupKind::new(group, kind), "x")]);
        let plan = planned(Goal::Remove, &observed, &policy());
        assert!(deleted(&plan).is_empty(), "{kind}");
        assert_eq!(plan.held[0].reason, HoldReason::ProtectedKind);
    }
}

#[test]
fn after_a_change_of_epoch_nothing_is_deleted_even_if_the_broker_says_that_a_person_asked() {
    let observed = seen(config_maps(1));
    let policy = Policy { epoch_changed: true, ..approved() };
    let plan = planned(Goal::Remove, &observed, &policy);
    assert!(deleted(&plan).is_empty());
    assert_eq!(plan.held[0].reason, HoldReason::EpochChanged);
}

#[test]
fn each_object_gets_what_it_needs() {
    let wanted = manifest("v1", "ConfigMap", "a");
    let there = result_of(&wanted);
    let as_member = |live: &Live| seen(vec![live.clone()]);
    let as_stranger = |live: &Live| Observed { strangers: vec![live.clone()], ..seen(Vec::new()) };
    let adopt = Policy { adoption: Adoption::Adopt, ..policy() };
    assert_eq!(step(&wanted, &seen(Vec::new()), &policy()), Step::Create);
    assert_eq!(step(&wanted, &as_member(&there), &policy()), Step::Nothing);
    let older = Live { digest: Some("another".to_owned()), ..there.clone() };
    assert_eq!(step(&wanted, &as_member(&older), &policy()), Step::Change);
    let going = Live { is_terminating: true, ..there.clone() };
    assert_eq!(step(&wanted, &as_member(&going), &policy()), Step::WaitUntilGone);
    let mut taken = there.clone();
    taken.managers = vec!["kubectl".to_owned()];
    taken.ours.as_mut().unwrap().fields.as_object_mut().unwrap().remove("f:data");
    let repair = Step::Repair { fields: vec![".data.k".to_owned()], managers: vec!["kubectl".to_owned()] };
    assert_eq!(step(&wanted, &as_member(&taken), &policy()), repair);
    let foreign = Live { ours: None, part_of: None, digest: None, managers: vec!["helm".to_owned()], ..there.clone() };
    let refused = Step::Refuse(Refusal::Exists { managers: vec!["helm".to_owned()] });
    assert_eq!(step(&wanted, &as_stranger(&foreign), &policy()), refused);
    assert_eq!(step(&wanted, &as_stranger(&foreign), &adopt), Step::Adopt);
    let copied = Live { ours: None, ..there.clone() };
    assert!(
        matches!(step(&wanted, &as_member(&copied), &policy()), Step::Refuse(Refusal::Exists { .. })),
        "a copied label is nobody's"
    );
    let unlabelled = Live { part_of: None, ..there.clone() };
    assert!(matches!(step(&wanted, &as_stranger(&unlabelled), &policy()), Step::Repair { .. }), "its label was taken off");
    let unreadable = Observed { unreadable: [(GroupKind::new("", "ConfigMap"), "no".to_owned())].into(), ..as_member(&there) };
    assert!(matches!(step(&wanted, &unreadable, &policy()), Step::Refuse(Refusal::Unreadable(_))));
}

#[test]
fn an_object_that_was_applied_and_is_gone_is_made_anew_and_what_is_contested_is_left_for_a_while() {
    let wanted = manifest("v1", "ConfigMap", "a");
    let stack = brokkr_api::StackId(Default::default());
    let applied = Applied::of(stack, &wanted.digest, &result_of(&wanted));
    let gone = Observed { applied: [(wanted.id.clone(), applied.clone())].into(), ..seen(Vec::new()) };
    assert_eq!(step(&wanted, &gone, &policy()), Step::Repair { fields: vec![], managers: vec![] });
    let later = Instant::now() + std::time::Duration::from_secs(60);
    let contested = Observed { contested: [(wanted.id.clone(), later)].into(), ..gone };
    assert!(matches!(step(&wanted, &contested, &policy()), Step::Refuse(Refusal::Contested { .. })));
    let plan = plan(&Goal::Apply(vec![wanted]), &contested, &policy(), later);
    assert!(plan.actions().all(|action| matches!(action.step, Step::Repair { .. })), "its time has come");
}

#[test]
fn an_object_moves_between_stacks_without_being_deleted() {
    let wanted = manifest("v1", "ConfigMap", "a");
    let theirs = Live { part_of: Some("applyset-theirs".to_owned()), ..result_of(&wanted) };
    let held_by = |wants_it| Observed {
        strangers: vec![theirs.clone()],
        other_stacks: [(wanted.id.clone(), OtherStack { name: "shop".to_owned(), wants_it })].into(),
        ..seen(Vec::new())
    };
    assert_eq!(step(&wanted, &held_by(true), &policy()), Step::Refuse(Refusal::OwnedByStack("shop".to_owned())));
    assert_eq!(step(&wanted, &held_by(false), &policy()), Step::Change);
    let unknown = Observed { strangers: vec![theirs.clone()], ..seen(Vec::new()) };
    assert!(matches!(step(&wanted, &unknown, &policy()), Step::Refuse(Refusal::Exists { .. })));
    // The other side: it leaves this stack's manifests, and another has it.
    let leaving = Observed { wanted_elsewhere: [wanted.id.clone()].into(), ..seen(vec![result_of(&wanted)]) };
    assert!(planned(Goal::Apply(Vec::new()), &leaving, &approved()).changes_nothing());
}

#[test]
fn an_approval_counts_for_exactly_these_objects_at_exactly_this_revision() {
    let observed = seen(config_maps(12));
    let held = planned(Goal::Apply(Vec::new()), &observed, &policy()).held_plan.unwrap();
    assert_eq!(held.objects, 12);
    let with = |revision, members: Vec<Live>| {
        let policy = Policy { approved: Some(held.plan.clone()), revision, ..policy() };
        deleted(&planned(Goal::Apply(Vec::new()), &seen(members), &policy)).len()
    };
    assert_eq!(with(1, config_maps(12)), 12);
    assert_eq!(with(2, config_maps(12)), 0, "another revision");
    assert_eq!(with(1, config_maps(13)), 0, "one object more");
    let mut again = config_maps(12);
    again[0].uid = "another".to_owned();
    assert_eq!(with(1, again), 0, "one was made anew");
    // Interrupted on the way, the rest needs no second approval.
    let rest = Observed { approved: config_maps(12).into_iter().map(|live| live.uid).collect(), ..seen(config_maps(11)) };
    assert_eq!(deleted(&planned(Goal::Apply(Vec::new()), &rest, &policy())).len(), 11);
}

#[test]
fn what_is_to_be_orphaned_or_kept_is_let_go_and_not_deleted() {
    let orphan = Policy { delete_policy: DeletePolicy::Orphan, ..approved() };
    let plan = planned(Goal::Remove, &seen(config_maps(3)), &orphan);
    assert_eq!((deleted(&plan).len(), plan.release.len()), (0, 3));
    let kept = vec![Live { keep: true, ..config_maps(1).remove(0) }];
    let plan = planned(Goal::Remove, &seen(kept.clone()), &approved());
    assert_eq!((deleted(&plan).len(), plan.release.len()), (0, 1));
    assert!(
        planned(Goal::Apply(Vec::new()), &seen(kept), &approved()).changes_nothing(),
        "the stack goes on, and so does its member"
    );
}

#[test]
fn while_the_broker_is_away_nothing_is_deleted() {
    let plan = planned(Goal::Remove, &seen(config_maps(3)), &Policy { deletes_nothing: true, ..approved() });
    assert!(plan.changes_nothing() && plan.held.is_empty());
    assert_eq!(plan.postponed, 3, "and it is not taken for done");
}

#[test]
fn waves_come_by_their_number_and_each_has_its_own_order_of_kinds() {
    let manifests = vec![
        in_wave("late", "2"),
        manifest("apps/v1", "Deployment", "web"),
        in_wave("early", "-1"),
        manifest("v1", "Namespace", "shop"),
        manifest("v1", "ConfigMap", "settings"),
    ];
    let plan = planned(Goal::Apply(manifests), &seen(Vec::new()), &policy());
    let mut outline = String::new();
    for wave in &plan.waves {
        for stage in &wave.stages {
            let names: Vec<_> = stage.actions.iter().map(|action| format!("{:?} {}", action.step, action.manifest.id)).collect();
            outline += &format!("wave {} {}: {}\n", wave.number, stage.name, names.join(", "));
        }
    }
    assert_eq!(
        outline,
        "wave -1 foundations: Create ConfigMap shop/early\n\
         wave 0 namespaces: Create Namespace shop/shop\n\
         wave 0 foundations: Create ConfigMap shop/settings\n\
         wave 0 workloads: Create Deployment.apps shop/web\n\
         wave 2 foundations: Create ConfigMap shop/late\n"
    );
}

fn any_member() -> impl Strategy<Value = Live> {
    let kinds = prop_oneof![
        Just(("", "ConfigMap")),
        Just(("apps", "Deployment")),
        Just(("", "Namespace")),
        Just(("example.com", "Widget"))
    ];
    (kinds, 0..20_u8, any::<[bool; 4]>()).prop_map(|((group, kind), name, [is_ours, has_owner, keep, is_terminating])| Live {
        ours: is_ours.then(ownership),
        has_owner,
        keep,
        is_terminating,
        ..member(GroupKind::new(group, kind), &format!("m{name}"))
    })
}

proptest! {
    #[test]
    fn an_incomplete_observation_deletes_nothing(members in prop::collection::vec(any_member(), 0..30), approved: bool) {
        let policy = Policy { deletion_approved: approved, ..policy() };
        let plan = planned(Goal::Remove, &Observed { complete: false, ..seen(members) }, &policy);
        prop_assert!(plan.delete.is_empty() && plan.held.is_empty());
    }

    #[test]
    fn what_we_did_not_apply_or_another_object_owns_is_never_deleted(members in prop::collection::vec(any_member(), 0..30), approved: bool) {
        let policy = Policy { deletion_approved: approved, ..policy() };
        let plan = planned(Goal::Remove, &seen(members), &policy);
        for member in plan.delete.iter().flat_map(|stage| &stage.members) {
            prop_assert!(member.is_ours() && !member.has_owner && !member.keep);
        }
    }

    #[test]
    fn what_the_manifests_name_is_never_deleted(names in prop::collection::hash_set(0..20_u8, 0..20), members in prop::collection::vec(any_member(), 0..30)) {
        let manifests: Vec<_> = names.iter().map(|name| manifest("v1", "ConfigMap", &format!("m{name}"))).collect();
        let plan = planned(Goal::Apply(manifests.clone()), &seen(members), &approved());
        for member in plan.delete.iter().flat_map(|stage| &stage.members) {
            prop_assert!(manifests.iter().all(|manifest| manifest.id != member.id));
        }
    }

    #[test]
    fn planning_again_after_applying_plans_nothing(names in prop::collection::hash_set(0..20_u8, 0..20)) {
        let manifests: Vec<_> = names.iter().map(|name| manifest("v1", "ConfigMap", &format!("m{name}"))).collect();
        let applied = manifests.iter().map(|manifest| result_of(manifest)).collect();
        prop_assert!(planned(Goal::Apply(manifests), &seen(applied), &policy()).changes_nothing());
    }

    #[test]
    fn the_order_of_manifests_does_not_matter(names in prop::collection::hash_set(0..20_u8, 0..20), members in prop::collection::vec(any_member(), 0..30)) {
        let manifests: Vec<_> = names.iter().map(|name| manifest("v1", "ConfigMap", &format!("m{name}"))).collect();
        let steps = |manifests: Vec<Arc<Manifest>>| {
            let plan = planned(Goal::Apply(manifests), &seen(members.clone()), &policy());
            let mut steps: Vec<_> = plan.actions().map(|action| format!("{} {:?}", action.manifest.id, action.step)).collect();
            steps.sort();
            (steps, deleted(&plan))
        };
        let reversed = manifests.iter().rev().cloned().collect();
        prop_assert_eq!(steps(manifests), steps(reversed));
    }

    #[test]
    fn the_order_of_members_does_not_matter(members in prop::collection::vec(any_member(), 0..30)) {
        let sets = |members: Vec<Live>| {
            let plan = planned(Goal::Remove, &seen(members), &policy());
            let mut deleted: Vec<_> = plan.delete.into_iter().flat_map(|stage| stage.members).map(|member| (member.id, member.uid)).collect();
            deleted.sort();
            deleted
        };
        let reversed: Vec<_> = members.iter().rev().cloned().collect();
        prop_assert_eq!(sets(members), sets(reversed));
    }
}
