//! Secrets: `whsec_…` for HMAC-SHA256, `whsk_…` and `whpk_…` for the two halves of an ed25519 key. All are base64.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const HMAC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Bytes of a secret that is made here; the standard allows 24 to 64.
pub const SECRET_BYTES: usize = 32;

/// What an endpoint's messages are signed with.
#[derive(Clone)]
pub enum Secret {
    /// Shared with the receiver.
    Hmac(Vec<u8>),
    /// The private half; the receiver has the public one.
    Ed25519(Box<SigningKey>),
}

/// What the receiver of [`Secret::Ed25519`] verifies with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) VerifyingKey);

/// A text is no secret. It is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write whsec_ and base64 of 24 to 64 bytes, or whsk_ and base64 of 32 bytes")]
pub struct InvalidSecret;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Secret::Hmac",
            Self::Ed25519(_) => "Secret::Ed25519",
        })
    }
}

impl Secret {
    /// A secret for HMAC of these random bytes.
    #[must_use]
    pub fn hmac(random: [u8; SECRET_BYTES]) -> Self {
        Self::Hmac(random.to_vec())
    }

    /// A private key of these random bytes.
    #[must_use]
    pub fn ed25519(random: [u8; SECRET_BYTES]) -> Self {
        Self::Ed25519(Box::new(SigningKey::from_bytes(&random)))
    }

    /// Reads `whsec_…` or `whsk_…`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| InvalidSecret);
        if let Some(rest) = text.strip_prefix(HMAC) {
            let bytes = decode(rest)?;
            return if (24..=64).contains(&bytes.len()) { Ok(Self::Hmac(bytes)) } else { Err(InvalidSecret) };
        }
        let bytes = decode(text.strip_prefix(PRIVATE).ok_or(InvalidSecret)?)?;
        Ok(Self::ed25519(bytes.try_into().map_err(|_| InvalidSecret)?))
    }

    /// The secret as text, which is kept secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        match self {
            Self::Hmac(bytes) => format!("{HMAC}{}", BASE64_STANDARD.encode(bytes)),
            Self::Ed25519(key) => format!("{PRIVATE}{}", BASE64_STANDARD.encode(key.to_bytes())),
        }
    }

    /// What the receiver is given: the secret itself, or the public half.
    #[must_use]
    pub fn for_receiver(&self) -> String {
        match self {
            Self::Hmac(_) => self.reveal(),
            Self::Ed25519(key) => PublicKey(key.verifying_key()).to_string(),
        }
    }

    /// `v1,…` or `v1a,…` of this content.
    pub(crate) fn sign(&self, content: &[&[u8]]) -> Option<String> {
        match self {
            Self::Hmac(key) => Some(format!("v1,{}", BASE64_STANDARD.encode(tag(key, content)?))),
            Self::Ed25519(key) => Some(format!("v1a,{}", BASE64_STANDARD.encode(key.sign(&content.concat()).to_bytes()))),
        }
    }
}

/// HMAC-SHA256; a key of any length is one, so that there always is a tag.
pub(crate) fn tag(key: &[u8], content: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    content.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

impl PublicKey {
    /// Reads `whpk_…`.
    ///
    /// # Errors
    /// When it is no public key.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(PUBLIC).ok_or(InvalidSecret)?).map_err(|_| InvalidSecret)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| InvalidSecret)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| InvalidSecret)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", BASE64_STANDARD.encode(self.0.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written_and_never_shown_by_accident() {
        for secret in [Secret::hmac([7; 32]), Secret::ed25519([7; 32])] {
            let text = secret.reveal();
            assert_eq!(Secret::parse(&text).unwrap().reveal(), text);
            assert!(!format!("{secret:?}").contains(&text[6..12]));
        }
        let public = Secret::ed25519([7; 32]).for_receiver();
        assert_eq!(PublicKey::parse(&public).unwrap().to_string(), public);
        assert!(public.starts_with("whpk_") && Secret::parse(&public).is_err());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_aGk=", "whsec_!!", "whsk_aGk=", "secret"] {
            assert_eq!(Secret::parse(text).unwrap_err(), InvalidSecret, "{text}");
        }
    }
}
