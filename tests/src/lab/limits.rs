use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and the children that it starts from now on, open as many files as the system allows: a broker with ten
/// thousand agents holds a connection to each.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Raising the soft limit to the hard one needs no privilege; where it fails all the same, connections fail and say why.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
