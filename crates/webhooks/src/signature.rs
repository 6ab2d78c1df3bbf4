//! Signatures: over `id.timestamp.body`, one for each secret that is valid, so that a receiver may have the old or the new one.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Verifier as _};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use crate::{
    ID, PublicKey, SIGNATURE, Secret, TIMESTAMP,
    secret::{InvalidSecret, tag},
};

/// How far the time of a message may be from the receiver's, as the standard's libraries have it.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The value of `webhook-signature`.
#[must_use]
pub fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signed: Vec<_> = secrets.iter().filter_map(|secret| secret.sign(&content)).collect();
    signed.join(" ")
}

/// What a receiver has.
#[derive(Debug, Clone)]
pub enum Verifier {
    /// The shared secret.
    Hmac(Secret),
    /// The sender's public key.
    Ed25519(PublicKey),
}

/// Why a message is not what its sender wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// A header of the standard is missing or unreadable.
    #[error("the headers webhook-id, webhook-timestamp and webhook-signature are not all there")]
    Headers,
    /// Sent too long ago, or by a clock that goes wrong.
    #[error("webhook-timestamp is more than five minutes from now")]
    Time,
    /// No signature is by this key.
    #[error("no signature fits")]
    Signature,
}

impl Verifier {
    /// Reads `whsec_…` or `whpk_…`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        if text.starts_with("whpk_") {
            return PublicKey::parse(text).map(Self::Ed25519);
        }
        match Secret::parse(text)? {
            secret @ Secret::Hmac(_) => Ok(Self::Hmac(secret)),
            Secret::Ed25519(_) => Err(InvalidSecret),
        }
    }

    /// Verifies a message that arrived at `now`, in Unix seconds, and tells its id.
    ///
    /// # Errors
    /// Every [`Unverified`].
    pub fn verify<'a>(&self, headers: &'a HeaderMap, body: &[u8], now: i64) -> Result<&'a str, Unverified> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Unverified::Headers);
        let (id, timestamp, given) = (text(ID)?, text(TIMESTAMP)?, text(SIGNATURE)?);
        let at: i64 = timestamp.parse().map_err(|_| Unverified::Headers)?;
        if at.abs_diff(now) > TOLERANCE.as_secs() {
            return Err(Unverified::Time);
        }
        let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        let fits = given.split(' ').any(|one| self.fits(one, &content));
        if fits { Ok(id) } else { Err(Unverified::Signature) }
    }

    fn fits(&self, given: &str, content: &[&[u8]]) -> bool {
        let Some((version, signature)) = given.split_once(',') else { return false };
        let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
        match (self, version) {
            (Self::Hmac(Secret::Hmac(key)), "v1") => tag(key, content).is_some_and(|tag| tag.as_slice().ct_eq(&signature).into()),
            (Self::Ed25519(PublicKey(key)), "v1a") => {
                Signature::from_slice(&signature).is_ok_and(|signature| key.verify(&content.concat(), &signature).is_ok())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"type":"deployment.applied"}"#;
    const NOW: i64 = 1_767_225_600;

    fn message(secrets: &[Secret]) -> HeaderMap {
        let signature = signatures(secrets, "msg_1", NOW, BODY);
        let of = |name, text: &str| (name, text.parse().unwrap());
        HeaderMap::from_iter([of(ID, "msg_1"), of(TIMESTAMP, &NOW.to_string()), of(SIGNATURE, &signature)])
    }

    fn verifier(secret: &Secret) -> Verifier {
        Verifier::parse(&secret.for_receiver()).unwrap()
    }

    #[test]
    fn each_kind_of_signature_is_verified_by_its_receiver_and_by_nobody_elses() {
        let (hmac, ed25519) = (Secret::hmac([1; 32]), Secret::ed25519([2; 32]));
        for (secret, other) in [(&hmac, Secret::hmac([3; 32])), (&ed25519, Secret::ed25519([3; 32]))] {
            let headers = message(std::slice::from_ref(secret));
            assert_eq!(verifier(secret).verify(&headers, BODY, NOW), Ok("msg_1"));
            assert_eq!(verifier(secret).verify(&headers, b"{}", NOW), Err(Unverified::Signature));
            assert_eq!(verifier(&other).verify(&headers, BODY, NOW), Err(Unverified::Signature));
            assert_eq!(verifier(secret).verify(&headers, BODY, NOW + 301), Err(Unverified::Time));
            assert_eq!(verifier(secret).verify(&HeaderMap::new(), BODY, NOW), Err(Unverified::Headers));
            for name in [ID, TIMESTAMP] {
                let mut changed = headers.clone();
                changed.insert(name, (NOW + 1).to_string().parse().unwrap());
                assert_eq!(verifier(secret).verify(&changed, BODY, NOW), Err(Unverified::Signature));
            }
        }
        assert_eq!(verifier(&hmac).verify(&message(&[ed25519]), BODY, NOW), Err(Unverified::Signature));
    }

    #[test]
    fn while_a_secret_is_replaced_the_old_and_the_new_one_verify() {
        let (old, new) = (Secret::hmac([1; 32]), Secret::hmac([2; 32]));
        let headers = message(&[new.clone(), old.clone()]);
        assert!(verifier(&old).verify(&headers, BODY, NOW).is_ok() && verifier(&new).verify(&headers, BODY, NOW).is_ok());
        let after = message(&[new]);
        assert_eq!(verifier(&old).verify(&after, BODY, NOW), Err(Unverified::Signature));
    }

    /// The library of the standard, which knows nothing of ours.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the library compares with the machine's clock")]
    fn the_library_of_the_standard_verifies_what_is_signed_here() {
        let (old, new) = (Secret::hmac([1; 32]), Secret::hmac([2; 32]));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let signature = signatures(&[new.clone(), old.clone()], "msg_1", now, BODY);
        let mut headers = HeaderMap::new();
        for (name, value) in [("webhook-id", "msg_1"), ("webhook-timestamp", &now.to_string()), ("webhook-signature", &signature)]
        {
            headers.insert(name, value.parse().unwrap());
        }
        for secret in [&old, &new] {
            let webhook = standardwebhooks::Webhook::new(&secret.reveal()).unwrap();
            webhook.verify(BODY, &headers).unwrap();
            assert!(webhook.verify(b"{}", &headers).is_err());
        }
        let stranger = standardwebhooks::Webhook::new(&Secret::hmac([9; 32]).reveal()).unwrap();
        assert!(stranger.verify(BODY, &headers).is_err());
        // And the other way round.
        let theirs = standardwebhooks::Webhook::new(&old.reveal()).unwrap().sign("msg_2", now, BODY).unwrap();
        headers.insert("webhook-id", "msg_2".parse().unwrap());
        headers.insert("webhook-signature", theirs.parse().unwrap());
        assert_eq!(verifier(&old).verify(&headers, BODY, now), Ok("msg_2"));
    }
}
