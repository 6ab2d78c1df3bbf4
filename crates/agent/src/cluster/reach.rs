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
    /// Where the objects of stacks are.
    places: BTreeSet<String>,
    /// Where the agent's own objects are.
    own: BTreeSet<String>,
}

impl Confined {
    pub(super) fn to(namespaces: &[String], own: impl IntoIterator<Item = String>) -> Self {
        Self { places: namespaces.iter().cloned().collect(), own: own.into_iter().collect() }
    }

    /// Refuses a call for an object outside before it is made, so that whoever asks why learns which setting it is.
    pub(super) fn admit(&self, call: &KubeCall) -> Result<(), KubeFailure> {
        let Some(namespace) = call.namespace() else { return Ok(()) };
        if self.places.is_empty() || self.places.contains(namespace) || self.own.contains(namespace) {
            return Ok(());
        }
        let message = format!("the agent is confined to other namespaces than {namespace} by its setting kubernetes.namespaces");
        Err(KubeFailure::new(Class::Forbidden, message))
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
        self.confined.places.is_empty() || self.confined.places.contains(namespace)
    }

    /// The collections of a kind that the agent lists and watches: the whole cluster's, or that of each namespace it is confined to.
    pub(crate) fn places(&self, resource: &Resource) -> Vec<Option<String>> {
        if self.confined.places.is_empty() || !resource.namespaced {
            return vec![None];
        }
        self.confined.places.iter().cloned().map(Some).collect()
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

    fn call(namespace: Option<&str>) -> KubeCall {
        KubeCall::new("apply", KubeOperation::Apply, &Resource::core("ConfigMap", "configmaps", true), namespace, Some("a"))
    }

    #[test]
    fn a_confined_agent_touches_nothing_elsewhere_and_says_which_setting_forbids_it() {
        let confined = Confined::to(&["shop".to_owned()], ["brokkr-system".to_owned()]);
        for admitted in [Some("shop"), Some("brokkr-system"), None] {
            assert_eq!(confined.admit(&call(admitted)), Ok(()));
        }
        let refused = confined.admit(&call(Some("bank"))).unwrap_err();
        assert_eq!(refused.class, Class::Forbidden);
        assert!(refused.message.contains("bank") && refused.message.contains("kubernetes.namespaces"), "{}", refused.message);
        assert_eq!(Confined::to(&[], []).admit(&call(Some("bank"))), Ok(()));
    }
}
