//! Health: what becomes of what was applied, told when it changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    Name, StackId,
    desired_state::{Action, DesiredDeployment},
    reports::{Health, HealthStatus, ObjectOutcome, ObjectRef, Report, Reports},
    rollouts::Phase,
};
use brokkr_runtime::Clock;
use brokkr_telemetry::{
    TraceContext,
    spans::{self, Past, WaitReason},
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::{
    attempt::Workshop,
    cluster::KubeFailure,
    health::{self, Assessment, HealthReason, Rules},
    object::{GroupKind, ObjectId},
    phases::Subject,
    schedule::sleep_until,
    trace::Place,
    trouble::Trouble,
};

/// News that come so close together are told as one.
const TOGETHER: Duration = Duration::from_millis(30);
/// What is not healthy is looked at again after so long, at first and later: pods and events change without their workload.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LATER_LOOK: Duration = Duration::from_secs(10);
/// Most objects that are looked at side by side.
const CONCURRENCY: usize = 8;

/// The health of every stack that is applied.
#[derive(Default)]
pub(crate) struct Monitor(Mutex<HashMap<StackId, Watched>>);

/// One stack's.
struct Watched {
    /// The report of the attempt that applied it, which the changes of its health repeat.
    report: Arc<Report>,
    epoch: String,
    /// The trace of the change.
    place: Option<Place>,
    /// The attempt that applied it.
    attempt: Option<TraceContext>,
    stack: Name,
    generation: u64,
    applied_at: std::time::SystemTime,
    rules: Arc<Rules>,
    objects: BTreeMap<ObjectId, Look>,
    /// What the broker was told last.
    told: Option<Health>,
}

#[derive(Debug, Clone)]
struct Look {
    object: ObjectRef,
    assessment: Option<Assessment>,
    /// When to look again; nothing when its watch will tell.
    next: Option<Instant>,
    /// When it was first seen not to be healthy.
    since: Option<Instant>,
}

/// An object to be looked at, for which revision of which stack, and by which rules.
type Due = (StackId, u64, ObjectId, ObjectRef, Arc<Rules>);

impl Monitor {
    /// What is known of the health at the end of an attempt. From here on the stack is watched, if it is applied.
    pub(crate) fn begin(
        &self,
        deployment: &DesiredDeployment,
        epoch: &str,
        report: &mut Report,
        place: Option<&Place>,
        clock: &dyn Clock,
        now: Instant,
    ) {
        let mut stacks = self.0.lock();
        if deployment.action != Action::Apply || report.phase != Phase::Applied {
            stacks.remove(&deployment.stack_id);
            return;
        }
        let rules = Arc::new(Rules::compile(&deployment.policy.health));
        let before = stacks.remove(&deployment.stack_id).filter(|before| before.report.revision == report.revision);
        let is_known = before.is_some();
        let mut known = before.map(|before| before.objects).unwrap_or_default();
        let mut objects = BTreeMap::new();
        for reported in &report.objects {
            let is_there =
                matches!(reported.outcome, ObjectOutcome::Created | ObjectOutcome::Configured | ObjectOutcome::Unchanged);
            let id = id_of(&reported.object);
            if is_there && health::has_health(&id.kind, &rules) {
                let look = known.remove(&id).unwrap_or(Look {
                    object: reported.object.clone(),
                    assessment: None,
                    next: None,
                    since: None,
                });
                objects.insert(id, Look { next: Some(now), ..look });
            }
        }
        let mut watched = Watched {
            report: Arc::new(Report { drift: Vec::new(), ..report.clone() }),
            epoch: epoch.to_owned(),
            place: place.cloned(),
            attempt: TraceContext::current(),
            stack: deployment.stack.clone(),
            generation: deployment.generation,
            applied_at: clock.now().to_system_time(),
            rules,
            objects,
            told: None,
        };
        report.health = watched.health();
        watched.told.clone_from(&report.health);
        // A repair takes nothing back: what was told to be healthy or degraded is, until a look finds otherwise.
        if is_known {
            report.phase = Phase::Applied.settled(report.health.as_ref());
        }
        stacks.insert(deployment.stack_id, watched);
    }

    pub(crate) fn keep_stacks(&self, is_there: impl Fn(StackId) -> bool) {
        self.0.lock().retain(|stack, _| is_there(*stack));
    }

    /// How many objects are how; what was not looked at yet is unknown.
    pub(crate) fn by_health(&self) -> Vec<(&'static str, i64)> {
        let mut counts = [HealthStatus::Healthy, HealthStatus::Progressing, HealthStatus::Degraded, HealthStatus::Unknown]
            .map(|status| (status, 0));
        for look in self.0.lock().values().flat_map(|watched| watched.objects.values()) {
            let status = look.assessment.as_ref().map_or(HealthStatus::Unknown, |assessment| assessment.status);
            counts.iter_mut().filter(|(of, _)| *of == status).for_each(|(_, count)| *count += 1);
        }
        counts.map(|(status, count)| (status.as_str(), count)).into()
    }

    /// Looks at what changed, and tells the broker, until `stopping`.
    pub(crate) async fn run(
        workshop: Arc<Workshop>,
        clock: Arc<dyn Clock>,
        mut touched: mpsc::UnboundedReceiver<(StackId, ObjectId)>,
        mut applied: mpsc::UnboundedReceiver<()>,
        stopping: CancellationToken,
    ) {
        loop {
            let next = workshop.health.next_look();
            tokio::select! {
                () = stopping.cancelled() => return,
                Some((stack, id)) = touched.recv() => {
                    workshop.health.touch(stack, &id);
                    tokio::time::sleep(TOGETHER).await;
                    while let Ok((stack, id)) = touched.try_recv() {
                        workshop.health.touch(stack, &id);
                    }
                }
                Some(()) = applied.recv() => {}
                () = sleep_until(next) => {}
            }
            let work = workshop.health.look_around(&workshop, &*clock);
            tokio::select! {
                () = stopping.cancelled() => return,
                () = work => {}
            }
        }
    }

    fn touch(&self, stack: StackId, id: &ObjectId) {
        if let Some(look) = self.0.lock().get_mut(&stack).and_then(|watched| watched.objects.get_mut(id)) {
            look.next = Some(Instant::now());
        }
    }

    fn next_look(&self) -> Option<Instant> {
        self.0.lock().values().flat_map(|watched| watched.objects.values()).filter_map(|look| look.next).min()
    }

    /// Looks at every object that is due.
    async fn look_around(&self, workshop: &Workshop, clock: &dyn Clock) {
        let now = Instant::now();
        let mut due: Vec<Due> = Vec::new();
        for (stack, watched) in &mut *self.0.lock() {
            for (id, look) in &mut watched.objects {
                if look.next.is_some_and(|next| next <= now) {
                    look.next = None;
                    due.push((*stack, watched.report.revision, id.clone(), look.object.clone(), Arc::clone(&watched.rules)));
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let stacks: std::collections::BTreeSet<_> = due.iter().map(|(stack, ..)| *stack).collect();
        let look = |(stack, revision, id, object, rules): Due| async move {
            let found = look_at(workshop, &object, &rules).await;
            (stack, revision, id, found)
        };
        let looks: Vec<_> = due.into_iter().map(look).collect();
        let causes: Vec<_> = stacks.iter().filter_map(|stack| self.trace_of(*stack)).collect();
        let span = spans::job_of("health", &causes);
        let mut looks = stream::iter(looks).buffer_unordered(CONCURRENCY);
        async {
            while let Some((stack, revision, id, found)) = looks.next().await {
                self.found(stack, revision, &id, found, Instant::now());
            }
        }
        .instrument(span.clone())
        .await;
        for stack in stacks {
            self.tell(workshop, stack, clock).instrument(span.clone()).await;
        }
    }

    /// The trace of the change whose health is watched.
    fn trace_of(&self, stack: StackId) -> Option<TraceContext> {
        self.0.lock().get(&stack)?.place.as_ref().map(|place| place.work.clone())
    }

    fn found(&self, stack: StackId, revision: u64, id: &ObjectId, found: Result<Assessment, KubeFailure>, now: Instant) {
        let mut stacks = self.0.lock();
        let watched = stacks.get_mut(&stack).filter(|watched| watched.report.revision == revision);
        let Some(look) = watched.and_then(|watched| watched.objects.get_mut(id)) else { return };
        let is_healthy = found.as_ref().is_ok_and(Assessment::is_healthy);
        // What cannot be asked now stays as it was known.
        if let Ok(assessment) = found {
            look.assessment = Some(assessment);
        }
        if is_healthy {
            look.since = None;
        } else {
            let since = *look.since.get_or_insert(now);
            let young = now.saturating_duration_since(since) < LATER_LOOK;
            let next = now + if young { FIRST_LOOK } else { LATER_LOOK };
            look.next = Some(look.next.map_or(next, |asked| asked.min(next)));
        }
    }

    /// Tells the broker when the health of a stack is another than it was told.
    async fn tell(&self, workshop: &Workshop, stack: StackId, clock: &dyn Clock) {
        let (report, epoch, places, applied_at, name, generation) = {
            let mut stacks = self.0.lock();
            let Some(watched) = stacks.get_mut(&stack) else { return };
            let health = watched.health();
            if health.is_none() || health == watched.told {
                return;
            }
            let before = std::mem::replace(&mut watched.told, health.clone());
            let became_healthy = health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy);
            let is_news = became_healthy && before.is_none_or(|before| before.status != HealthStatus::Healthy);
            let places = watched.places().filter(|_| is_news);
            let report = Report { phase: Phase::Applied.settled(health.as_ref()), health, ..(*watched.report).clone() };
            (report, watched.epoch.clone(), places, watched.applied_at, watched.stack.clone(), watched.generation)
        };
        if let Some((place, cause)) = places {
            let now = clock.now().to_system_time();
            spans::record_past_of(&place, cause.as_ref(), Past::Wait(WaitReason::Health), applied_at, now);
        }
        let health = report.health.as_ref();
        info!(
            stack.id = %stack,
            health = ?health.map(|health| health.status),
            reason = health.and_then(|health| health.reason.as_deref()),
            object = health.and_then(|health| health.object.as_ref()).map(tracing::field::display),
            "the health of a deployment changed"
        );
        let revision = report.revision;
        let reason = health.and_then(|health| health.reason.as_deref());
        workshop.phases.now(Subject { stack, name: &name, generation, revision }, report.phase, reason);
        let span = spans::report();
        let told = workshop.client.report(&Reports { epoch, reports: vec![report] }).instrument(span.clone()).await;
        if let Err(error) = &told {
            spans::record_error(&span, Trouble::of(error).kind);
        }
        if told.is_err() {
            // Told again with the next look.
            let mut stacks = self.0.lock();
            if let Some(watched) = stacks.get_mut(&stack).filter(|watched| watched.report.revision == revision) {
                watched.told = None;
                let later = Instant::now() + LATER_LOOK;
                if let Some(look) = watched.objects.values_mut().next() {
                    look.next = Some(look.next.map_or(later, |next| next.min(later)));
                }
            }
        }
    }
}

impl Watched {
    /// Where the wait for its health stands, and what it links to: beside the attempt in the trace of the change, or below the attempt in the
    /// attempt's own.
    fn places(&self) -> Option<(TraceContext, Option<TraceContext>)> {
        match (&self.place, &self.attempt) {
            (Some(place), attempt) if place.joins => Some((place.work.clone(), attempt.clone())),
            (place, Some(attempt)) => Some((attempt.clone(), place.as_ref().map(|place| place.work.clone()))),
            (_, None) => None,
        }
    }

    /// The worst of the objects; nothing while some have not been looked at.
    fn health(&self) -> Option<Health> {
        let looks = self.objects.values().map(|look| Some((look.object.clone(), look.assessment.as_ref()?)));
        looks.collect::<Option<Vec<_>>>().map(health::worst)
    }
}

async fn look_at(workshop: &Workshop, object: &ObjectRef, rules: &Rules) -> Result<Assessment, KubeFailure> {
    let id = id_of(object);
    let resource = workshop.resources.of_manifest(&workshop.cluster, &id.kind, &object.api_version).await?;
    let found = match resource {
        Some(resource) => workshop.cluster.get(&resource, id.namespace.as_deref(), &id.name).await?,
        None => None,
    };
    let Some(found) = found else { return Ok(Assessment::degraded(HealthReason::Missing, "it is gone")) };
    let assessment = health::assess(&found, rules);
    if health::needs_diagnosis(&found, &assessment) {
        return Ok(health::diagnose(&workshop.cluster, &workshop.resources, &found, assessment).await);
    }
    Ok(assessment)
}

fn id_of(object: &ObjectRef) -> ObjectId {
    let kind = GroupKind::of(&object.api_version, &object.kind);
    ObjectId { kind, namespace: object.namespace.clone(), name: object.name.clone() }
}
