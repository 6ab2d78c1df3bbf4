//! Content with Secrets in it, and what is secret of a webhook, is sealed before it goes into the database: AES-256-GCM, with the id of the key in the sealed bytes.
//!
//! Sealed: `BRKS`, a version byte (1), the length of the key's id, the id, a nonce of 96 bits, the ciphertext with its tag. The
//! authenticated data is the owner of the content and its digest, so that sealed bytes cannot be moved to another row.

use std::{collections::HashMap, fmt};

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use brokkr_api::StackId;
use brokkr_runtime::Ids;
use uuid::Uuid;

const MAGIC: &[u8] = b"BRKS\x01";
const NONCE_BYTES: usize = 12;
const MAX_ID: usize = 64;

/// The keys of the configuration: the first seals, each opens what it sealed.
#[derive(Clone, Default)]
pub(crate) struct Keyring {
    first: Option<String>,
    keys: HashMap<String, Aes256Gcm>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("first", &self.first).field("keys", &self.keys.len()).finish()
    }
}

/// Why a text is no keyring. It never shows a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeyring {
    #[error("line {0}: write ID:KEY, where ID has 1 to {MAX_ID} of a-z, 0-9 and '-' and KEY is base64 of 32 random bytes")]
    Line(usize),
    #[error("line {0}: this key id stands twice")]
    Duplicate(usize),
    #[error("there is no key in it")]
    Empty,
}

/// Why sealed bytes cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the bytes are not sealed content")]
    Malformed,
    #[error("the content is sealed with key {0}, which is not in the configuration")]
    UnknownKey(String),
    #[error("the content is not what was sealed, or the key {0} is another one")]
    Forged(String),
}

impl Keyring {
    /// Reads keys, one on a line; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is no key, by its number.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidKeyring> {
        let mut ring = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = InvalidKeyring::Line(index + 1);
            let (id, key) = line.split_once(':').ok_or_else(|| wrong.clone())?;
            let is_id =
                (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            let key = BASE64_STANDARD.decode(key.trim()).ok().filter(|key| is_id && key.len() == 32).ok_or(wrong)?;
            let cipher = Aes256Gcm::new_from_slice(&key).map_err(|_| InvalidKeyring::Line(index + 1))?;
            if ring.keys.insert(id.to_owned(), cipher).is_some() {
                return Err(InvalidKeyring::Duplicate(index + 1));
            }
            ring.first.get_or_insert_with(|| id.to_owned());
        }
        if ring.first.is_some() { Ok(ring) } else { Err(InvalidKeyring::Empty) }
    }

    /// A line with a new key of this id, for [`Keyring::parse`].
    pub(crate) fn new_line(id: &str, ids: &dyn Ids) -> String {
        let mut key = [0; 32];
        ids.fill(&mut key);
        format!("{id}:{}\n", BASE64_STANDARD.encode(key))
    }

    /// The id of the key that seals.
    pub(crate) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// Seals content with the first key, and says which that is; nothing when there is no key.
    pub(crate) fn seal(&self, ids: &dyn Ids, stack: StackId, digest: &str, plain: &[u8]) -> Option<(String, Vec<u8>)> {
        self.seal_for(ids, stack.0, digest, plain)
    }

    /// Seals what belongs to an owner of any kind. `label` says what it is: it opens under the same one alone.
    pub(crate) fn seal_for(&self, ids: &dyn Ids, owner: Uuid, label: &str, plain: &[u8]) -> Option<(String, Vec<u8>)> {
        let id = self.first.as_ref()?;
        let cipher = self.keys.get(id)?;
        // Random: one key seals far fewer than 2^32 contents.
        let mut nonce = [0; NONCE_BYTES];
        ids.fill(&mut nonce);
        let aad = aad(owner, label);
        let ciphertext = cipher.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &aad }).ok()?;
        let mut sealed = Vec::with_capacity(MAGIC.len() + 1 + id.len() + NONCE_BYTES + ciphertext.len());
        sealed.extend_from_slice(MAGIC);
        sealed.push(u8::try_from(id.len()).ok()?);
        sealed.extend_from_slice(id.as_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Some((id.clone(), sealed))
    }

    /// Opens what [`Keyring::seal`] sealed.
    ///
    /// # Errors
    /// When the key is not in the ring, or the bytes are not what was sealed for this owner and digest.
    pub(crate) fn open(&self, stack: StackId, digest: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.open_for(stack.0, digest, sealed)
    }

    /// Opens what [`Keyring::seal_for`] sealed.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub(crate) fn open_for(&self, owner: Uuid, label: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (id, nonce, ciphertext) = split(sealed).ok_or(OpenError::Malformed)?;
        let cipher = self.keys.get(id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let aad = aad(owner, label);
        cipher.decrypt(&Nonce::from(nonce), Payload { msg: ciphertext, aad: &aad }).map_err(|_| OpenError::Forged(id.to_owned()))
    }
}

fn split(sealed: &[u8]) -> Option<(&str, [u8; NONCE_BYTES], &[u8])> {
    let rest = sealed.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES)?;
    Some((std::str::from_utf8(id).ok()?, nonce.try_into().ok()?, ciphertext))
}

fn aad(owner: Uuid, label: &str) -> Vec<u8> {
    [owner.as_bytes(), label.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use brokkr_api::Timestamp;
    use brokkr_runtime::SeededIds;

    use super::*;

    fn ring(lines: &[&str]) -> Keyring {
        Keyring::parse(&lines.concat()).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_for_its_owner_and_digest_alone() {
        let ids = SeededIds::new(3);
        let (old, new) = (Keyring::new_line("old", &ids), Keyring::new_line("new", &ids));
        let (stack, other) = (StackId(ids.uuid(Timestamp::from_micros(1))), StackId(ids.uuid(Timestamp::from_micros(2))));
        let (id, sealed) = ring(&[&old]).seal(&ids, stack, "sha256:a", b"hunter2").unwrap();
        assert_eq!(id, "old");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));

        let rotated = ring(&[&new, &old]);
        assert_eq!(rotated.open(stack, "sha256:a", &sealed).unwrap(), b"hunter2");
        assert_eq!(rotated.seal(&ids, stack, "sha256:a", b"x").unwrap().0, "new");
        assert_eq!(rotated.open(other, "sha256:a", &sealed), Err(OpenError::Forged("old".to_owned())));
        assert_eq!(rotated.open(stack, "sha256:b", &sealed), Err(OpenError::Forged("old".to_owned())));
        assert_eq!(ring(&[&new]).open(stack, "sha256:a", &sealed), Err(OpenError::UnknownKey("old".to_owned())));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(rotated.open(stack, "sha256:a", &changed).is_err(), "byte {at}");
            assert!(rotated.open(stack, "sha256:a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_same_content_is_sealed_to_other_bytes_each_time() {
        let ids = SeededIds::new(3);
        let stack = StackId(ids.uuid(Timestamp::from_micros(1)));
        let ring = ring(&[&Keyring::new_line("k", &ids)]);
        assert_ne!(ring.seal(&ids, stack, "d", b"same"), ring.seal(&ids, stack, "d", b"same"));
        assert_eq!(Keyring::default().seal(&ids, stack, "d", b"same"), None);
    }

    #[test]
    fn a_line_that_is_no_key_is_named_by_its_number_and_never_shown() {
        let line = Keyring::new_line("k", &SeededIds::new(1));
        for (text, error) in [
            ("".to_owned(), InvalidKeyring::Empty),
            ("# only a comment\n".to_owned(), InvalidKeyring::Empty),
            (format!("{line}hunter2"), InvalidKeyring::Line(2)),
            ("k:aHVudGVyMg==".to_owned(), InvalidKeyring::Line(1)),
            (line.replace("k:", "K:"), InvalidKeyring::Line(1)),
            (format!("{line}{line}"), InvalidKeyring::Duplicate(2)),
        ] {
            let found = Keyring::parse(&text).unwrap_err();
            assert_eq!(found, error);
            assert!(!found.to_string().contains("hunter2") && !found.to_string().contains("aHVu"));
        }
    }
}
