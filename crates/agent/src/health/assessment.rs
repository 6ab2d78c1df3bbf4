//! How an object is, and why.

use brokkr_api::reports::{Health, HealthStatus, MAX_MESSAGE, ObjectRef};

use super::HealthReason;

/// How one object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assessment {
    pub(crate) status: HealthStatus,
    /// Why it is not healthy; absent when it is.
    pub(crate) reason: Option<HealthReason>,
    /// For people, at most [`MAX_MESSAGE`] characters; never a value of a Secret, a ConfigMap or an environment variable.
    pub(crate) message: Option<String>,
}

impl Assessment {
    pub(crate) fn healthy() -> Self {
        Self { status: HealthStatus::Healthy, reason: None, message: None }
    }

    pub(crate) fn progressing(reason: HealthReason, message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Progressing, reason, message)
    }

    pub(crate) fn degraded(reason: HealthReason, message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Degraded, reason, message)
    }

    pub(crate) fn unknown(reason: HealthReason, message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Unknown, reason, message)
    }

    fn new(status: HealthStatus, reason: HealthReason, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.trim();
        let message = (!message.is_empty()).then(|| message.chars().take(MAX_MESSAGE).collect());
        Self { status, reason: Some(reason), message }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.status == HealthStatus::Healthy
    }
}

/// The health of a deployment: that of its worst object, the first one among equals. Healthy when there is none.
pub(crate) fn worst<'a>(objects: impl IntoIterator<Item = (ObjectRef, &'a Assessment)>) -> Health {
    let mut worst: Option<(ObjectRef, &Assessment)> = None;
    for (object, assessment) in objects {
        if worst.as_ref().is_none_or(|(_, known)| known.status < assessment.status) {
            worst = Some((object, assessment));
        }
    }
    match worst {
        Some((object, assessment)) if !assessment.is_healthy() => Health {
            status: assessment.status,
            reason: assessment.reason.map(|reason| reason.as_str().to_owned()),
            message: assessment.message.clone(),
            object: Some(object),
        },
        _ => Health { status: HealthStatus::Healthy, reason: None, message: None, object: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef { api_version: "v1".to_owned(), kind: "Pod".to_owned(), namespace: None, name: name.to_owned() }
    }

    #[test]
    fn a_deployment_is_as_healthy_as_the_first_of_its_worst_objects() {
        let (fine, slow) = (Assessment::healthy(), Assessment::progressing(HealthReason::NotReady, "later"));
        let bad = Assessment::degraded(HealthReason::CrashLoop, "x".repeat(5_000));
        let health = worst([(object("a"), &fine), (object("b"), &slow), (object("c"), &bad), (object("d"), &bad)]);
        assert_eq!((health.status, health.reason.as_deref()), (HealthStatus::Degraded, Some("crash_loop")));
        assert_eq!(health.object, Some(object("c")));
        assert_eq!(health.message.map(|text| text.chars().count()), Some(MAX_MESSAGE));
        assert_eq!(worst([(object("a"), &fine)]).object, None);
    }
}
