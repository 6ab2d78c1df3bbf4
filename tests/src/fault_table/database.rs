//! Faults of the database.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use brokkr_api::Name;

use super::{Fault, Incident, borrowed, send};
use crate::{
    fleet::{Broker, Engine, config_map},
    postgres::Postgres,
};

/// Somebody who holds a lock in the broker's database until dropped.
struct Lock(Child);

impl Lock {
    fn on(broker: &Broker) -> Self {
        match broker.database.strip_prefix("sqlite:") {
            Some(file) => {
                let mut program = Command::new("sqlite3");
                Self::take(program.arg(file), ".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n")
            }
            None => {
                let mut program = Command::new(Postgres::shared().description().programs.join("psql"));
                let lock = "BEGIN;\nLOCK TABLE stacks IN ACCESS EXCLUSIVE MODE;\nSELECT 'locked';\n";
                Self::take(program.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]).arg(&broker.database), lock)
            }
        }
    }

    fn take(program: &mut Command, script: &str) -> Self {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the database's own program");
        child.stdin.as_mut().expect("stdin").write_all(script.as_bytes()).expect("a script is read");
        let mut said = [0; 7];
        child.stdout.as_mut().expect("stdout").read_exact(&mut said).expect("an answer");
        assert_eq!(&said, b"locked\n");
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(super) async fn slow(engine: Engine, settings: &[(&'static str, String)]) -> Incident {
    let broker = Broker::start(engine, &borrowed(settings)).await.expect("a broker");
    let stack = broker.stack("early", &[]).await;
    let lock = Lock::on(&broker);
    refused(Fault::DatabaseSlow(engine), &broker, &stack).await;
    Incident::of(Fault::DatabaseSlow(engine), vec![("brokkr-broker", broker.base.clone())], (broker, lock))
}

pub(super) async fn down(settings: &[(&'static str, String)]) -> Incident {
    let postgres = Postgres::start().expect("a server of its own");
    let database = postgres.create_database().expect("a database");
    let broker = Broker::at(&database, &borrowed(settings)).await.expect("a broker");
    let stack = broker.stack("early", &[]).await;
    postgres.stop_server().expect("the server stops");
    refused(Fault::DatabaseDown, &broker, &stack).await;
    Incident::of(Fault::DatabaseDown, vec![("brokkr-broker", broker.base.clone())], (broker, postgres))
}

async fn refused(fault: Fault, broker: &Broker, stack: &Name) {
    assert!(!send(broker, fault, stack, &config_map("default", "late", "1")).await, "{fault:?}: accepted all the same");
}
