//! Texts of a pod with the addresses and folders of this machine in them.

/// Replaces each of the first by the second, the longest that fits at each place; what was put in is not looked at again.
pub(crate) fn replace(text: &str, pairs: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match pairs.iter().filter(|(from, _)| rest.starts_with(from.as_str())).max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => {
                result.push_str(to);
                rest = &rest[from.len()..];
            }
            None => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result
}

#[test]
fn the_longest_is_replaced_and_nothing_twice() {
    let pairs = [("/tmp", "/tmp/x/tmp"), ("/etc/a", "/tmp/x/etc/a"), ("/etc", "/never")];
    let pairs = pairs.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(replace("at /etc/a/b and /tmp", &pairs), "at /tmp/x/etc/a/b and /tmp/x/tmp");
}
