//! What happens in a trial, one step at a time.

use brokkr_tests::{fleet::LIMIT, process::Daemon};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rand::{Rng, seq::IteratorRandom};
use rustix::process::Signal;

use crate::{
    faults,
    ground::{Backup, Ground},
    objects::{Kind, manifest},
};

/// Removals of one stack: three at once would rightly wait for an approval.
const REMOVALS: usize = 2;
/// The next calls of the agent, at one of which it is killed.
const NEXT_CALLS: usize = 12;

impl Ground<'_> {
    /// One random step, and its name.
    pub(crate) async fn step(&mut self) -> String {
        match self.random.random_range(0..25) {
            0..=3 => self.change().await,
            4 | 5 => self.remove().await,
            6 => self.roll_back().await,
            7 | 8 => self.add_stranger().await,
            9 => self.delete_parent().await,
            10 => self.delete_stack().await,
            11 => self.partition().await,
            12 => self.stop_broker().await,
            13 => self.back_up(),
            14 | 15 => self.restore().await,
            16..=18 => self.kill_at_a_call().await,
            19 | 20 => self.meddle().await,
            21 => self.delete_a_member().await,
            _ => {
                let said = faults::burst(&self.proxy, &mut self.random);
                format!("{said}; {}", self.change().await)
            }
        }
    }

    /// Adds some objects or gives them other values.
    async fn change(&mut self) -> String {
        let stack = self.any_stack();
        let mut said = format!("s{stack}: set");
        for _ in 0..self.random.random_range(1..=4) {
            let kind = *Kind::ALL.iter().choose(&mut self.random).unwrap();
            let name = match self.random.random_range(0..4) {
                0 => format!("s{stack}-first"),
                other => format!("s{stack}-{other}"),
            };
            let value = self.digits();
            said.push_str(&format!(" {kind:?} {name} {value}"));
            // What was taken out may come back with another UID.
            self.stacks[stack].desired.insert((kind, name), value);
        }
        self.send(stack).await;
        said
    }

    async fn remove(&mut self) -> String {
        let stack = self.any_stack();
        let chosen = self.stacks[stack].desired.keys().choose(&mut self.random).cloned().unwrap();
        if self.stacks[stack].removals == REMOVALS {
            return self.change().await;
        }
        self.stacks[stack].removals += 1;
        self.stacks[stack].desired.remove(&chosen);
        self.lasting.remove(&chosen);
        self.send(stack).await;
        format!("remove {chosen:?}")
    }

    /// The values of a former generation; what was added since stays.
    async fn roll_back(&mut self) -> String {
        let stack = self.any_stack();
        let history = &self.stacks[stack].history;
        let which = self.random.random_range(0..history.len());
        let former = history[which].clone();
        self.stacks[stack].desired.extend(former);
        self.send(stack).await;
        format!("s{stack}: roll back to generation {}", which + 1)
    }

    async fn delete_parent(&mut self) -> String {
        let namespace = format!("brokkr-{}", self.agent.name);
        let parents = self.cluster.api::<ConfigMap>(&namespace);
        let all = parents.list(&ListParams::default().labels("applyset.kubernetes.io/id")).await.unwrap();
        let Some(name) = all.items.iter().filter_map(|parent| parent.metadata.name.clone()).choose(&mut self.random) else {
            return "no parent to delete".to_owned();
        };
        // Another may have been quicker: the agent deletes parents of deleted stacks.
        drop(parents.delete(&name, &DeleteParams::default()).await);
        "delete a parent".to_owned()
    }

    /// Somebody gives a member another value.
    async fn meddle(&mut self) -> String {
        let stack = self.any_stack();
        let Some((kind, name)) = self.stacks[stack].desired.keys().choose(&mut self.random).cloned() else {
            return "nothing to meddle with".to_owned();
        };
        let theirs = self.digits();
        let change = manifest(&self.namespace, &(kind, name.clone()), &theirs);
        // It may not be there yet, or not any more.
        let changed = kind.api(self.cluster, &self.namespace).patch(&name, &PatchParams::default(), &Patch::Merge(change)).await;
        format!("somebody changes {kind:?} {name} to {theirs}: {}", changed.is_ok())
    }

    /// Somebody deletes a member: it is made again.
    async fn delete_a_member(&mut self) -> String {
        let stack = self.any_stack();
        let Some(key) = self.stacks[stack].desired.keys().choose(&mut self.random).cloned() else {
            return "nothing to delete".to_owned();
        };
        let deleted = key.0.api(self.cluster, &self.namespace).delete(&key.1, &DeleteParams::background()).await;
        self.lasting.remove(&key);
        format!("somebody deletes {key:?}: {}", deleted.is_ok())
    }

    /// Deletes a stack, but for one that the trial goes on with.
    async fn delete_stack(&mut self) -> String {
        if self.stacks.iter().filter(|stack| !stack.deleted).count() == 1 {
            return self.change().await;
        }
        let stack = self.any_stack();
        self.stacks[stack].deleted = true;
        self.lasting.retain(|(_, name), _| !name.starts_with(&format!("s{stack}-")));
        self.broker.admin().delete_stack(&self.stacks[stack].name).await.unwrap();
        format!("delete s{stack}")
    }

    /// The broker says nothing while the agent starts again.
    async fn partition(&mut self) -> String {
        self.broker.process.signal(Signal::STOP);
        self.agent.process.kill();
        self.agent.process.start().unwrap();
        let stranger = self.add_stranger().await;
        self.broker.process.signal(Signal::CONT);
        format!("stop the broker, start the agent again, {stranger}, continue the broker")
    }

    /// The broker is gone, and the agent has noticed.
    async fn stop_broker(&mut self) -> String {
        self.broker.process.kill();
        let line = |line: &str| line.contains("the broker does not answer");
        self.agent.process.wait_for_line("trouble with the broker", LIMIT, line).await.unwrap();
        self.broker.again().await.unwrap();
        "kill the broker and start it again".to_owned()
    }

    fn sqlite(&self) -> Option<String> {
        self.broker.database.strip_prefix("sqlite:").map(str::to_owned)
    }

    fn back_up(&mut self) -> String {
        let Some(database) = self.sqlite() else { return "no backup of PostgreSQL".to_owned() };
        let file = self.folder.path().join("backup.db");
        let command = format!(".backup '{}'", file.display());
        let output = std::process::Command::new("sqlite3").args([&database, &command]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.backup = Some(Backup { file });
        "back the broker up".to_owned()
    }

    /// Puts the backup in the place of the database; when the agent has carried it out, people send again what they had sent since.
    async fn restore(&mut self) -> String {
        let (Some(database), Some(backup)) = (self.sqlite(), &self.backup) else { return self.back_up() };
        self.broker.process.kill();
        for leftover in ["-wal", "-shm"] {
            // There need not be any.
            drop(std::fs::remove_file(format!("{database}{leftover}")));
        }
        std::fs::copy(&backup.file, &database).unwrap();
        let command = Daemon::new("brokkr-broker").unwrap().args(["restore-epoch", "--no-suspend"]);
        let mut command = command.env("BROKKR__DATABASE__URL", &self.broker.database).start().unwrap();
        assert_eq!(command.wait(LIMIT).await.unwrap().code(), Some(0), "{:#?}", command.output().lines());
        self.broker.again().await.unwrap();
        self.proxy.calm();
        self.settle_restored().await;
        for stack in 0..self.stacks.len() {
            if self.stacks[stack].deleted {
                // Where the deletion is older than the backup there is nothing to delete.
                drop(self.broker.admin().delete_stack(&self.stacks[stack].name).await);
            } else {
                // What the agent holds since the restoration goes with a revision that somebody sent after it.
                let stamp = self.digits();
                self.stacks[stack].desired.insert((Kind::ConfigMap, format!("s{stack}-stamp")), stamp);
                self.send(stack).await;
            }
        }
        "restore the broker from the backup".to_owned()
    }

    /// Kills the agent exactly at one of its next calls, while it carries out a change.
    async fn kill_at_a_call(&mut self) -> String {
        let (call, reaches) = (self.random.random_range(0..NEXT_CALLS), self.random.random_bool(0.5));
        let Some(pid) = self.agent.process.pid() else { return "the agent is not there".to_owned() };
        let killed = faults::kill_at(&self.proxy, pid, call, reaches);
        let said = self.change().await;
        tokio::select! {
            () = killed.notified() => {}
            // The change took fewer calls.
            () = self.settle("a change that may kill the agent") => {}
        }
        self.proxy.calm();
        self.agent.process.kill();
        self.agent.process.start().unwrap();
        format!("{said}; kill the agent at call {call} from here, which reaches the API server: {reaches}")
    }
}
