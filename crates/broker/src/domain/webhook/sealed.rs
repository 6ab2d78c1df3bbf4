//! What of a webhook is stored encrypted: where it goes, and everything that is secret about it.

use std::collections::BTreeMap;

use brokkr_api::{Timestamp, webhooks::SignatureKind};
use brokkr_runtime::Ids;
use brokkr_webhooks::{Secret, secret::SECRET_BYTES};
use serde::{Deserialize, Serialize};

/// The label under which it is sealed.
pub(crate) const LABEL: &str = "webhook";

/// The plain content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) secret: String,
    /// The secret before, and until when it signs too.
    pub(crate) former: Option<(String, Timestamp)>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

/// A new secret.
pub(crate) fn new_secret(kind: SignatureKind, ids: &dyn Ids) -> Secret {
    let mut random = [0; SECRET_BYTES];
    ids.fill(&mut random);
    match kind {
        SignatureKind::Hmac => Secret::hmac(random),
        SignatureKind::Ed25519 => Secret::ed25519(random),
    }
}

impl Sealed {
    /// The secret that signs from here on, and the former one beside it for as long as it is wanted.
    pub(crate) fn secrets(&self, now: Timestamp) -> Vec<Secret> {
        let former = self.former.iter().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        // What is sealed was written here; a text that is no secret signs nothing.
        std::iter::once(&self.secret).chain(former).filter_map(|text| Secret::parse(text).ok()).collect()
    }

    /// Puts another secret in the place of this one, which signs for so long still.
    pub(crate) fn rotate(&mut self, secret: &Secret, until: Timestamp) {
        self.former = Some((std::mem::replace(&mut self.secret, secret.reveal()), until));
    }

    /// What it is signed with.
    pub(crate) fn signature(&self) -> SignatureKind {
        match Secret::parse(&self.secret) {
            Ok(Secret::Ed25519(_)) => SignatureKind::Ed25519,
            _ => SignatureKind::Hmac,
        }
    }

    /// The public key where there is one.
    pub(crate) fn public_key(&self) -> Option<String> {
        match Secret::parse(&self.secret).ok()? {
            secret @ Secret::Ed25519(_) => Some(secret.for_receiver()),
            Secret::Hmac(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use brokkr_runtime::SeededIds;

    use super::*;

    #[test]
    fn the_former_secret_signs_until_its_time_and_the_one_before_it_not_at_all() {
        let ids = SeededIds::new(1);
        let at = Timestamp::from_micros;
        let [one, two, three] = [(); 3].map(|()| new_secret(SignatureKind::Hmac, &ids));
        let mut sealed = Sealed { url: String::new(), headers: BTreeMap::new(), secret: one.reveal(), former: None };
        let shown = |sealed: &Sealed, now| sealed.secrets(at(now)).iter().map(Secret::reveal).collect::<Vec<_>>();
        assert_eq!(shown(&sealed, 0), [one.reveal()]);
        sealed.rotate(&two, at(10));
        assert_eq!(shown(&sealed, 9), [two.reveal(), one.reveal()]);
        assert_eq!(shown(&sealed, 10), [two.reveal()]);
        sealed.rotate(&three, at(20));
        assert_eq!(shown(&sealed, 9), [three.reveal(), two.reveal()]);
        assert!(!format!("{sealed:?}").contains("whsec"));
    }

    #[test]
    fn the_kind_of_signature_follows_from_the_secret() {
        for kind in SignatureKind::ALL {
            let secret = new_secret(*kind, &SeededIds::new(1));
            let sealed = Sealed { url: String::new(), headers: BTreeMap::new(), secret: secret.reveal(), former: None };
            assert_eq!(sealed.signature(), *kind);
            assert_eq!(sealed.public_key().is_some(), *kind == SignatureKind::Ed25519);
        }
    }
}
