//! How far the agent reaches: as whom it calls, and in which namespaces.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Class, Cluster, KubeCall, KubeFailure, Resource};

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// Somebody else, as whom calls are made.
#[derive(Debug)]
pub(super) struct Identity {
    user: HeaderValue,
    groups: Vec<HeaderValue>,
}

impl Identity {
    /// The service account `namespace/name`, with the groups that its own token would give it.
    fn of(service_account: &str) -> Option<Self> {
        let (namespace, name) = service_account
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))?;
        let value = |text: String| HeaderValue::try_from(text).ok();
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        Some(Self {
            user: value(format!("system:serviceaccount:{namespace}:{name}"))?,
            groups: groups.into_iter().filter_map(value).collect(),
        })
    }

    pub(super) fn put_on(&self, headers: &mut HeaderMap) {
        headers.insert(IMPERSONATE_USER, self.user.clone());
        headers.remove(IMPERSONATE_GROUP);
        for group in &self.groups {
            headers.append(IMPERSONATE_GROUP, group.clone());
        }
    }
}

/// The namespaces that the agent is confined to; nothing when it is to work in the whole cluster.
#[derive(Debug, Default)]
pub(super) struct Confined {
    /// Where the objects of stacks are; nothing for everywhere.
    places: Option<BTreeSet<String>>,
    /// Where the agent keeps what it has to remember.
    own: String,
}

/// Begins the name of the ConfigMap that names what a stack has in the cluster.
pub(crate) const STACK_RECORD: &str = "brokkr-stack-";
/// Begins the name of the ConfigMap that names what a work order has in the cluster.
pub(crate) const WORK_RECORD: &str = "brokkr-work-";

impl Confined {
    pub(super) fn to(namespaces: Option<&[String]>, own: &str) -> Self {
        Self { places: namespaces.map(|namespaces| namespaces.iter().cloned().collect()), own: own.to_owned() }
    }

    /// Whether objects of stacks may be there.
    fn reaches(&self, namespace: &str) -> bool {
        self.places.as_ref().is_none_or(|places| places.contains(namespace))
    }

    /// Refuses a call for an object outside before it is made, so that whoever asks why learns which setting it is.
    pub(super) fn admit(&self, call: &KubeCall) -> Result<(), KubeFailure> {
        let Some(namespace) = call.namespace() else { return Ok(()) };
        if self.reaches(namespace) || (self.own == namespace && is_own(call)) {
            return Ok(());
        }
        let others =
            if self.places.as_ref().is_some_and(BTreeSet::is_empty) { "no namespace, so not" } else { "other namespaces than" };
        let message = format!("the agent is confined to {others} {namespace} by its setting kubernetes.namespaces");
        Err(KubeFailure::new(Class::Forbidden, message))
    }
}

/// Whether it is for what the agent keeps for itself. Nothing else beside it is any stack's: there may be the broker's configuration.
fn is_own(call: &KubeCall) -> bool {
    match (call.resource(), call.name()) {
        ("leases.coordination.k8s.io", _) => true,
        ("configmaps", Some(name)) => [STACK_RECORD, WORK_RECORD].iter().any(|start| name.starts_with(start)),
        ("configmaps", None) => call.verb() == "list",
        _ => false,
    }
}

impl Cluster {
    /// The same cluster, called as the service account `namespace/name`; as the agent itself when there is none.
    ///
    /// # Errors
    /// When it is no service account: then nothing must be done as the agent itself instead.
    pub(crate) fn acting_as(&self, service_account: Option<&str>) -> Result<Self, KubeFailure> {
        let Some(name) = service_account else { return Ok(Self { identity: None, ..self.clone() }) };
        let identity = Identity::of(name)
            .ok_or_else(|| KubeFailure::new(Class::Invalid, "the stack's service_account is none: write namespace/name"))?;
        Ok(Self { identity: Some(Arc::new(identity)), ..self.clone() })
    }

    /// Whether the agent works in this namespace.
    pub(crate) fn reaches(&self, namespace: &str) -> bool {
        self.confined.reaches(namespace)
    }

    /// The collections of a kind that the agent lists and watches: the whole cluster's, or that of each namespace it is confined to.
    pub(crate) fn places(&self, resource: &Resource) -> Vec<Option<String>> {
        match &self.confined.places {
            Some(places) if resource.namespaced => places.iter().cloned().map(Some).collect(),
            _ => vec![None],
        }
    }
}

#[cfg(test)]
mod tests {
    use brokkr_telemetry::metrics::KubeOperation;

    use super::*;

    #[test]
    fn a_service_account_is_impersonated_with_the_groups_of_its_own_token_and_nobody_elses() {
        let mut headers = HeaderMap::new();
        headers.append(IMPERSONATE_GROUP, HeaderValue::from_static("system:masters"));
        Identity::of("shop/deployer").unwrap().put_on(&mut headers);
        assert_eq!(headers[IMPERSONATE_USER], "system:serviceaccount:shop:deployer");
        let groups: Vec<_> = headers.get_all(IMPERSONATE_GROUP).iter().collect();
        assert_eq!(groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
    }

    #[test]
    fn what_is_no_service_account_is_refused() {
        for name in ["", "deployer", "/deployer", "shop/", "a/b/c", "shop/a\nb"] {
            assert!(Identity::of(name).is_none(), "{name:?}");
        }
    }

    fn call(kind: &Resource, namespace: Option<&str>, name: &str) -> KubeCall {
        KubeCall::new("apply", KubeOperation::Apply, kind, namespace, Some(name))
    }

    fn config_maps() -> Resource {
        Resource::core("ConfigMap", "configmaps", true)
    }

    #[test]
    fn a_confined_agent_touches_nothing_elsewhere_and_says_which_setting_forbids_it() {
        let confined = Confined::to(Some(&["shop".to_owned()]), "brokkr-system");
        for admitted in [Some("shop"), None] {
            assert_eq!(confined.admit(&call(&config_maps(), admitted, "a")), Ok(()));
        }
        let refused = confined.admit(&call(&config_maps(), Some("bank"), "a")).unwrap_err();
        assert_eq!(refused.class, Class::Forbidden);
        assert!(refused.message.contains("bank") && refused.message.contains("kubernetes.namespaces"), "{}", refused.message);
        assert_eq!(Confined::to(None, "brokkr-system").admit(&call(&config_maps(), Some("bank"), "a")), Ok(()));
        let nowhere = Confined::to(Some(&[]), "brokkr-system").admit(&call(&config_maps(), Some("shop"), "a")).unwrap_err();
        assert!(nowhere.message.contains("no namespace"), "{}", nowhere.message);
    }

    #[test]
    fn in_its_own_namespace_a_confined_agent_touches_what_it_keeps_for_itself_and_nothing_else() {
        let secrets = Resource::core("Secret", "secrets", true);
        let leases = Resource { group: "coordination.k8s.io".to_owned(), ..Resource::core("Lease", "leases", true) };
        for namespaces in [&[][..], &["shop".to_owned()]] {
            let confined = Confined::to(Some(namespaces), "brokkr-system");
            let admits = |kind: &Resource, name: &str| confined.admit(&call(kind, Some("brokkr-system"), name)).is_ok();
            for name in ["brokkr-stack-1", "brokkr-work-1"] {
                assert!(admits(&config_maps(), name), "{name}");
            }
            assert!(admits(&leases, "brokkr-agent"));
            for (kind, name) in [(&config_maps(), "brokkr-broker"), (&secrets, "brokkr-agent-key"), (&secrets, "brokkr-work-1")] {
                assert!(!admits(kind, name), "{name}");
            }
        }
        let named = Confined::to(Some(&["brokkr-system".to_owned()]), "brokkr-system");
        assert_eq!(named.admit(&call(&secrets, Some("brokkr-system"), "a")), Ok(()));
    }
}
