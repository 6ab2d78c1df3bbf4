//! Texts of a pod with the addresses and folders of this machine in them.

/// Replaces each of the first by the second, the longest that fits at each place; what was put in is not looked at again. A path is
/// one only from its beginning, and only as a whole name.
pub(crate) fn replace(text: &str, pairs: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None);
    while let Some(first) = rest.chars().next() {
        let fits = |(from, _): &&(String, String)| {
            let after = rest.strip_prefix(from.as_str()).map(|after| after.chars().next());
            after.is_some_and(|after| !from.starts_with('/') || !(before == Some('/') || of_a_name(before) || of_a_name(after)))
        };
        match pairs.iter().filter(fits).max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => {
                result.push_str(to);
                before = from.chars().next_back();
                rest = &rest[from.len()..];
            }
            None => {
                result.push(first);
                before = Some(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result
}

fn of_a_name(character: Option<char>) -> bool {
    character.is_some_and(|character| character.is_alphanumeric() || "_-.".contains(character))
}

#[test]
fn the_longest_is_replaced_and_nothing_twice() {
    let pairs = [("/tmp", "/tmp/x/tmp"), ("/etc/a", "/tmp/x/etc/a"), ("/a", "/tmp/x/a"), ("/etc", "/never"), ("a:1", "b:2")];
    let pairs = pairs.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(replace("at=/etc/a/a.yml and /tmp", &pairs), "at=/tmp/x/etc/a/a.yml and /tmp/x/tmp");
    assert_eq!(replace("sqlite:/a/b /a.b http://a:1/a", &pairs), "sqlite:/tmp/x/a/b /a.b http://b:2/a");
}
