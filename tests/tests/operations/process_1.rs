use std::{net::TcpListener, path::Path, time::Duration};

use brokkr_tests::{
    fleet::LIMIT,
    lab::{built, free_port, until},
    process::{Daemon, Process},
};
use rustix::process::{Pid, Signal, kill_process};

/// A broker that is process 1 of a namespace of its own, as in a container without an init.
fn start(settings: &[(&str, String)]) -> Process {
    let unshare = Path::new("/usr/bin/unshare").to_owned();
    // A user namespace too, so that nobody needs to be root for it.
    let mut daemon = Daemon::at("brokkr-broker as process 1", unshare).args(["--user", "--map-root-user", "--pid", "--fork"]);
    daemon = daemon.args([built("brokkr-broker").unwrap().to_str().unwrap(), "serve"]);
    for (name, value) in settings {
        daemon = daemon.env(name, value);
    }
    daemon.start().unwrap()
}

/// The process inside, as it is called outside.
async fn inside(process: &Process) -> Pid {
    let pid = process.pid().unwrap();
    let look = || async {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).map_err(|error| error.to_string())?;
        let child = children.split_whitespace().next().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
        let child = child.ok_or("no child yet")?;
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.as_raw_nonzero())).map_err(|error| error.to_string())?;
        let is_first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
        let is_ours = status.lines().next().is_some_and(|line| line.contains("brokkr-broker"));
        if is_first && is_ours { Ok(child) } else { Err(status) }
    };
    until("the broker as process 1", LIMIT, look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_broker_that_is_process_1() {
    let port = free_port().unwrap();
    let mut process = start(&[("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))]);
    process.wait_until_ok(&format!("http://127.0.0.1:{port}/readyz"), LIMIT).await.unwrap();
    kill_process(inside(&process).await, Signal::TERM).unwrap();
    assert_eq!(process.wait(Duration::from_secs(30)).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_broker_that_still_waits_for_its_database() {
    // It accepts and says nothing, as a database behind a broken network does.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let database = format!("postgres://brokkr@{}/brokkr", silent.local_addr().unwrap());
    let port = free_port().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let mut process = start(&[("BROKKR__SERVER__LISTEN", listen.clone()), ("BROKKR__DATABASE__URL", database)]);
    let pid = inside(&process).await;
    // It listens for signals before it binds its port, and binds its port before it asks the database.
    let look = || async { std::net::TcpStream::connect(&listen).map(drop).map_err(|error| error.to_string()) };
    until("the port", LIMIT, look).await.unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(process.wait(Duration::from_secs(30)).await.unwrap().code(), Some(0));
}
