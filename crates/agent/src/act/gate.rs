//! Between waves: the next one begins when everything in this one is healthy.

use std::time::{Duration, Instant};

use brokkr_api::reports::{Failure, HealthStatus};

use super::{Actor, missing_kind};
use crate::{
    cluster::{Class, KubeFailure},
    health,
    hold::Stop,
    object::{Manifest, ObjectId},
    plan::Wave,
};

const FIRST_LOOK: Duration = Duration::from_millis(50);
const SLOWEST_LOOK: Duration = Duration::from_secs(2);
/// A wait that has come to looks this far apart is told to the broker.
const WORTH_TELLING: Duration = Duration::from_millis(400);

impl Actor<'_> {
    /// Waits; tells why it stopped waiting before everything was healthy.
    pub(super) async fn until_healthy(&self, wave: &Wave) -> Result<Option<Stop>, (ObjectId, KubeFailure)> {
        let mut waiting: Vec<&Manifest> =
            wave.stages.iter().flat_map(|stage| &stage.actions).map(|action| &*action.manifest).collect();
        let deadline = Instant::now() + self.wave_timeout;
        let (mut look, mut told) = (FIRST_LOOK, None);
        loop {
            let mut left = Vec::new();
            let mut worst: Option<(&Manifest, String)> = None;
            for manifest in waiting {
                if let Some(trouble) =
                    self.trouble_of(manifest, look >= WORTH_TELLING).await.map_err(|failure| (manifest.id.clone(), failure))?
                {
                    worst.get_or_insert((manifest, trouble));
                    left.push(manifest);
                }
            }
            let Some((manifest, trouble)) = worst else { return Ok(None) };
            let message = format!("wave {} is not healthy yet, and the next one waits for it: {trouble}", wave.number);
            if look >= WORTH_TELLING && told.as_ref() != Some(&message) {
                let failure =
                    Failure { reason: "earlier_wave".to_owned(), message: message.clone(), object: Some(manifest.reference()) };
                // Nobody listens when the attempt is over.
                self.waiting.send(failure).ok();
                told = Some(message.clone());
            }
            if Instant::now() >= deadline {
                return Err((manifest.id.clone(), KubeFailure::new(Class::Unhealthy, message)));
            }
            if let Some(stop) = self.hold.pause(look).await {
                return Ok(Some(stop));
            }
            waiting = left;
            look = (look * 2).min(SLOWEST_LOOK);
        }
    }

    /// Why an object is not healthy; nothing when it is. Its pods and events are asked too when it matters to a person, and because
    /// only they tell that a claim waits for a pod, which a later wave may bring.
    async fn trouble_of(&self, manifest: &Manifest, in_depth: bool) -> Result<Option<String>, KubeFailure> {
        if !health::has_health(&manifest.id.kind, self.rules) {
            return Ok(None);
        }
        let resource = self.resources.of_manifest(self.cluster, &manifest.id.kind, &manifest.api_version).await?;
        let resource = resource.ok_or_else(|| missing_kind(&manifest.api_version, &manifest.id.kind.kind))?;
        let object = self.cluster.get(&resource, manifest.id.namespace.as_deref(), &manifest.id.name).await?;
        let Some(object) = object else { return Ok(Some("it is gone".to_owned())) };
        let mut assessment = health::assess(&object, self.rules);
        if in_depth && health::needs_diagnosis(&object, &assessment) {
            assessment = health::diagnose(self.cluster, self.resources, &object, assessment).await;
        }
        Ok((assessment.status != HealthStatus::Healthy)
            .then(|| assessment.message.unwrap_or_else(|| "it is not ready".to_owned())))
    }
}
