use super::{
    Component, Description, Options,
    files::Files,
    flags::{Flags, Ports},
    readiness,
};
use crate::lab::{LabError, Program, Scratch, Service};
use kube::Client;
use serde_json::{Value, json};
use std::{future::Future, path::Path, time::Duration};

/// A control plane that belongs to this process.
pub struct Launch {
    // Fields drop in this order: programs before the folder that they write to, clients before servers.
    programs: Vec<Program>,
    description: Description,
    client: Option<Client>,
    scratch: Scratch,
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Launch {
    /// Starts everything and waits until pods can run; `programs` is the folder that [`crate::lab::kubernetes_programs`] names.
    ///
    /// # Errors
    /// What did not start, with the end of its log.
    pub async fn start(programs: &Path, options: &Options) -> Result<Self, LabError> {
        let mut scratch = Scratch::new("control-plane")?;
        if options.keep_dir {
            scratch.keep();
        }
        let ports = Ports::choose()?;
        let files = Files::write(&scratch, &ports.server_url(), options)?;
        let flags = Flags { directory: scratch.path(), programs, ports: &ports, files: &files };
        let specs = [flags.etcd(), flags.apiserver(), flags.controller_manager(), flags.scheduler(), flags.kwok()?];
        let description = Description {
            kubeconfig: files.admin_kubeconfig.clone(),
            server: ports.server_url(),
            etcd: ports.etcd_url(),
            audit_log: flags.audit_log(),
            directory: scratch.path().to_owned(),
            kubectl: programs.join("bin/kubectl"),
            supervisor: std::process::id(),
            processes: std::collections::BTreeMap::new(),
        };
        let client = readiness::client(&files.controllers_kubeconfig).await?;
        let mut launch = Self { programs: Vec::new(), description, client: Some(client.clone()), scratch };
        let [etcd, apiserver, controllers @ ..] = specs;
        launch.add(etcd)?;
        launch.add(apiserver)?;
        launch.watched(readiness::apiserver(&client)).await?;
        for spec in controllers {
            launch.add(spec)?;
        }
        launch.watched(readiness::add_node(&client)).await?;
        launch.watched(readiness::workloads(&client)).await?;
        Ok(launch)
    }

    /// Where everything is.
    pub fn describe(&self) -> Description {
        let processes = self.programs.iter().filter_map(|program| Some((program.name().to_owned(), program.pid()?)));
        Description { processes: processes.collect(), ..self.description.clone() }
    }

    fn add(&mut self, spec: crate::lab::Spec) -> Result<(), LabError> {
        self.programs.push(Program::start(spec)?);
        Ok(())
    }

    /// Waits for readiness, and gives up at once when a program ends; a lapse of time names the API server's last words.
    async fn watched(&mut self, ready: impl Future<Output = Result<(), LabError>>) -> Result<(), LabError> {
        tokio::pin!(ready);
        let mut pulse = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                outcome = &mut ready => return outcome.map_err(|error| self.with_logs(&error)),
                _ = pulse.tick() => self.check()?,
            }
        }
    }

    fn with_logs(&self, error: &LabError) -> LabError {
        let mut text = error.to_string();
        for program in &self.programs {
            let log = self.scratch.path().join(format!("{}.log", program.name()));
            text.push_str(&format!("\n--- {}\n{}", log.display(), crate::lab::tail(&log, 8)));
        }
        LabError::Refused(text)
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, LabError> {
        let unknown = || LabError::Refused(format!("no program {name:?} in this control plane"));
        self.programs.iter_mut().find(|program| program.name() == name).ok_or_else(unknown)
    }

    async fn resume(&mut self, name: &str) -> Result<(), LabError> {
        self.program(name)?.restart()?;
        let up = |component: Component| {
            self.programs.iter().any(|program| program.name() == component.name() && program.pid().is_some())
        };
        if let (Some(client), true) = (self.client.clone(), up(Component::Etcd) && up(Component::ApiServer)) {
            self.watched(readiness::apiserver(&client)).await?;
        }
        Ok(())
    }
}

impl Service for Launch {
    fn description(&self) -> Value {
        json!(self.describe())
    }

    fn check(&mut self) -> Result<(), LabError> {
        self.programs.iter_mut().try_for_each(Program::check)
    }

    async fn command(&mut self, line: &str) -> Result<Value, LabError> {
        match line.split_once(' ') {
            Some(("stop", name)) => self.program(name)?.kill(),
            Some(("start", name)) => self.resume(name).await?,
            _ => return Err(LabError::Refused(format!("unknown command {line:?}; known: stop NAME, start NAME"))),
        }
        Ok(json!(self.describe()))
    }

    async fn stop(mut self) {
        self.client = None;
        for program in self.programs.iter_mut().rev() {
            program.kill();
        }
    }
}
