//! What is kept of a receiver's answer: so little, and so masked, that a log of attempts is no way to read what a receiver keeps to itself.

/// Most bytes of an answer that are kept.
pub const EXCERPT: usize = 256;
/// From so many characters on a word that could be a key is taken for one.
const LONG: usize = 20;

/// The beginning of an answer, on one line, without what could be a key and without `secrets`.
#[must_use]
pub fn excerpt(body: &[u8], secrets: &[&str]) -> String {
    // Before it is cut: half a secret is one that is not found.
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        text = text.replace(secret, "***");
    }
    let mut masked = String::with_capacity(EXCERPT);
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_+/=.~".contains(c);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if is_word(first) && run.len() >= LONG && run.bytes().any(|b| b.is_ascii_digit()) {
            masked.push_str("***");
        } else {
            masked.extend(run.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        rest = after;
        if masked.len() >= EXCERPT {
            break;
        }
    }
    let cut = masked.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= EXCERPT).last().unwrap_or(0);
    masked.truncate(cut);
    masked.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_known_secrets_are_masked_and_words_stay() {
        let body =
            b"{\"error\":\"no such hook\",\r\n\"token\":\"ghp_16C7e42F292c6912E7710c838347Ae178B4a\", \"you\": \"hunter2\"}";
        assert_eq!(excerpt(body, &["hunter2"]), "{\"error\":\"no such hook\",  \"token\":\"***\", \"you\": \"***\"}");
    }

    #[test]
    fn an_answer_is_cut_at_a_character() {
        let long = "é ".repeat(1_000);
        let kept = excerpt(long.as_bytes(), &[]);
        assert!(kept.len() <= EXCERPT && kept.len() > EXCERPT - 4, "{}", kept.len());
        assert_eq!(excerpt(&[0xff, 0xfe, 0, b'a'], &[]).chars().filter(|c| *c == 'a').count(), 1);
    }
}
