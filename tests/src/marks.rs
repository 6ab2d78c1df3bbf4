//! Marked secrets, and the search for them in everything that daemons emit.
#![expect(clippy::expect_used, reason = "a search that cannot be made fails the test, and says where")]

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Response;

/// A text that nobody else has, to be found wherever it should not be.
#[derive(Debug)]
pub struct Marker {
    /// What it stands for.
    pub what: String,
    /// The text.
    pub text: String,
}

impl Marker {
    /// A new one.
    ///
    /// # Panics
    /// When the clock is before 1970.
    #[expect(clippy::disallowed_methods, reason = "no other run has the same text")]
    pub fn new(number: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
        Self { what: format!("marker {number}"), text: format!("hunter2-{number:02}-{now:x}-swordfish") }
    }

    /// A secret that somebody else made.
    pub fn key(what: &str, key: &str) -> Self {
        Self { what: what.to_owned(), text: key.to_owned() }
    }

    /// The text, and what of its base64 is the same wherever it stands in what is encoded.
    pub(crate) fn forms(&self) -> [String; 4] {
        let inner = |skip: usize| {
            let from = if skip == 0 { 0 } else { 3 - skip };
            let bytes = &self.text.as_bytes()[from..];
            base64(&bytes[..bytes.len() / 3 * 3])
        };
        [self.text.clone(), inner(0), inner(1), inner(2)]
    }

    /// Whether it can be read there, as it is or in base64.
    pub fn is_in(&self, haystack: &str) -> bool {
        self.forms().iter().any(|form| haystack.contains(form))
    }
}

/// Of whole groups of three bytes, so that there is no padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks_exact(3).flat_map(|three| {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize]))
    });
    digits.collect()
}

/// What was emitted, by where it was seen.
#[derive(Debug, Default)]
pub struct Emitted(Vec<(String, String)>);

impl Emitted {
    /// Adds what was seen at a place.
    pub fn add(&mut self, place: impl Into<String>, what: impl AsRef<[u8]>) {
        // What is no text cannot hold a marker, and does not hide one.
        self.0.push((place.into(), String::from_utf8_lossy(what.as_ref()).into_owned()));
    }

    /// Adds an answer, and returns its status.
    ///
    /// # Panics
    /// When it breaks off.
    pub async fn answer(&mut self, place: &str, response: Response) -> u16 {
        let status = response.status().as_u16();
        self.add(format!("{place}: headers"), format!("{:?}", response.headers()));
        self.add(format!("{place}: body"), response.bytes().await.expect("a whole answer"));
        status
    }

    /// Whether these words were seen there: proof that it was looked where something is.
    pub fn has(&self, place: &str, words: &str) -> bool {
        self.0.iter().any(|(at, what)| at.starts_with(place) && what.contains(words))
    }

    /// Fails when a marker was seen anywhere.
    ///
    /// # Panics
    /// With every place of every marker.
    pub fn assert_without(&self, markers: &[Marker]) {
        let mut found = Vec::new();
        for (place, what) in &self.0 {
            found.extend(
                markers.iter().filter(|marker| marker.is_in(what)).map(|marker| format!("{} is in {place}", marker.what)),
            );
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_plain_text_and_in_base64_wherever_it_stands() {
        let marker = Marker::new(0);
        for before in ["", "a", "ab", "abc"] {
            let mut text = format!("{before}{}", marker.text);
            assert!(marker.is_in(&format!("x{text}")));
            text += &"-".repeat((3 - text.len() % 3) % 3);
            assert!(marker.is_in(&base64(text.as_bytes())), "{before:?}");
        }
        assert!(!Marker::new(1).is_in(&marker.text));
    }
}
