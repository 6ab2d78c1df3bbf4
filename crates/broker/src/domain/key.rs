//! API keys: `brokkr_<role>_<43 characters><6 characters>`, 256 bits of randomness and a checksum.
//!
//! The prefix lets secret scanners find a leaked key; the checksum lets the broker refuse a mistyped or made-up one without a query.
//! It is the beginning of a SHA-256, so that whoever has ordinary tools (a shell, a chart's template) can make a key too.

use brokkr_api::keys::Role;
use brokkr_runtime::Ids;
use sha2::{Digest, Sha256};

use brokkr_runtime::hex;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// A new key and its digest; only the digest is kept.
pub(crate) fn generate(role: Role, ids: &dyn Ids) -> (String, String) {
    generate_for(role.as_str(), ids)
}

/// A new registration token and its digest; it is no key, and opens nothing but the enrolment.
pub(crate) fn generate_token(ids: &dyn Ids) -> (String, String) {
    generate_for(TOKEN, ids)
}

/// The word that stands in a registration token where a key has its role.
const TOKEN: &str = "registration";

fn generate_for(word: &str, ids: &dyn Ids) -> (String, String) {
    let mut key = format!("brokkr_{word}_");
    // 43 characters of 62 carry 256 bits. Bytes above the largest multiple of 62 are thrown away, or the first characters would be likelier.
    let mut random = 0;
    while random < RANDOM_CHARS {
        let mut bytes = [0; 64];
        ids.fill(&mut bytes);
        for byte in bytes.into_iter().filter(|byte| *byte < 248).take(RANDOM_CHARS - random) {
            key.push(char::from(ALPHABET[usize::from(byte % 62)]));
            random += 1;
        }
    }
    let check = checksum(&key);
    key.push_str(&check);
    let digest = digest(&key);
    (key, digest)
}

/// Whether a text can be a key at all.
pub(crate) fn is_well_formed(key: &str) -> bool {
    word_of(key).is_some_and(|word| Role::ALL.into_iter().any(|role| role.as_str() == word)) && is_intact(key)
}

/// Whether a text can be the key of an admin at all.
pub(crate) fn is_well_formed_admin(key: &str) -> bool {
    word_of(key) == Some(Role::Admin.as_str()) && is_intact(key)
}

/// Whether a text can be a registration token at all.
pub(crate) fn is_well_formed_token(token: &str) -> bool {
    word_of(token) == Some(TOKEN) && is_intact(token)
}

fn word_of(key: &str) -> Option<&str> {
    key.strip_prefix("brokkr_")?.split_once('_').map(|(word, _)| word)
}

fn is_intact(key: &str) -> bool {
    let word = word_of(key).unwrap_or_default();
    if !key.is_ascii() || key.len() != "brokkr__".len() + word.len() + RANDOM_CHARS + CHECK_CHARS {
        return false;
    }
    let (payload, check) = key.split_at(key.len() - CHECK_CHARS);
    checksum(payload) == check
}

/// SHA-256 of a key in hexadecimal: what the database keeps and what is compared.
///
/// The key has 256 bits of randomness, so that a fast hash is as good as a slow one, and equality of digests reveals nothing by its time.
pub(crate) fn digest(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn checksum(payload: &str) -> String {
    let mut check = digest(payload);
    check.truncate(CHECK_CHARS);
    check
}

#[cfg(test)]
mod tests {
    use brokkr_runtime::SeededIds;

    use super::*;

    #[test]
    fn a_generated_key_is_well_formed_and_every_mistyped_one_is_not() {
        let (key, digest_of_key) = generate(Role::Admin, &SeededIds::new(7));
        assert!(key.starts_with("brokkr_admin_"));
        assert!(is_well_formed(&key));
        assert_eq!(digest(&key), digest_of_key);
        for at in "brokkr_admin_".len()..key.len() {
            let mut wrong = key.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(std::str::from_utf8(&wrong).unwrap()), "position {at}");
        }
        assert!(!is_well_formed(""));
        assert!(!is_well_formed("brokkr_admin_"));
    }

    #[test]
    fn a_registration_token_is_no_key_and_a_key_no_token() {
        let ids = SeededIds::new(7);
        let ((token, _), (key, _)) = (generate_token(&ids), generate(Role::Agent, &ids));
        assert!(is_well_formed_token(&token) && !is_well_formed(&token));
        assert!(is_well_formed(&key) && !is_well_formed_token(&key));
    }

    #[test]
    fn a_key_made_by_hand_is_as_good_as_one_of_ours() {
        // printf brokkr_admin_%043d 7 | sha256sum
        let key = "brokkr_admin_0000000000000000000000000000000000000000007e56ecd";
        assert!(is_well_formed_admin(key) && is_well_formed(key));
        let (agent, _) = generate(Role::Agent, &SeededIds::new(7));
        assert!(!is_well_formed_admin(&agent));
    }

    #[test]
    fn two_keys_differ() {
        let ids = SeededIds::new(7);
        assert_ne!(generate(Role::Agent, &ids).0, generate(Role::Agent, &ids).0);
    }
}
