//! What `brokkr dev` prepares: configuration by environment, the keys, the agent.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use anstyle::AnsiColor;
use anyhow::{Context, bail};
use brokkr_api::{
    ErrorCode, Labels,
    agents::CreateAgent,
    client::{Client, ClientBuilder, KeySource},
    keys::{CreateKey, Role},
};

use super::{Child, DevArgs, child};
use crate::connection::Connection;

/// Longest time that the broker may take to be ready.
const START: Duration = Duration::from_secs(30);

pub(super) fn start_broker(args: &DevArgs, data: &Path) -> anyhow::Result<Child> {
    let database = format!("sqlite:{}", data.join("brokkr.db").display());
    let broker = child("broker", "brokkr-broker")?
        .arg("serve")
        .env("BROKKR__SERVER__LISTEN", args.listen.to_string())
        .env("BROKKR__DATABASE__URL", database)
        .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", data.join("admin.key"));
    traced(broker, args).start(AnsiColor::Cyan)
}

/// Waits for the broker, makes the agent there, starts it.
pub(super) async fn start_agent(args: &DevArgs, data: &Path, broker: &mut Child) -> anyhow::Result<Option<Child>> {
    let url = format!("http://{}", args.listen);
    let admin_key = data.join("admin.key");
    let client = ClientBuilder::new(&url, KeySource::File(admin_key.clone()))?.build()?;
    tokio::select! {
        ready = ready(&client) => ready?,
        status = broker.ended() => bail!("the broker did not start: {status}"),
    }
    if !admin_key.exists() {
        bail!("{} is missing and the database has keys already: remove {} to start afresh", admin_key.display(), data.display());
    }
    let agent_key = data.join(format!("agent-{}.key", args.agent));
    if !agent_key.exists() {
        write_key(&agent_key, &make_agent(&client, args).await?)?;
    }
    let connection = Connection { broker: url.clone(), key_file: admin_key };
    fs::write(data.join("connection.json"), serde_json::to_vec_pretty(&connection)?).context("connection.json")?;
    let mut agent = child("agent", "brokkr-agent")?
        .arg("run")
        .env("BROKKR__SERVER__LISTEN", args.agent_listen.to_string())
        .env("BROKKR__BROKER__URL", &url)
        .env("BROKKR__BROKER__KEY_FILE", agent_key);
    if let Some(kubeconfig) = &args.kubeconfig {
        agent = agent.env("BROKKR__KUBERNETES__KUBECONFIG", kubeconfig);
    }
    traced(agent, args).start(AnsiColor::Magenta).map(Some)
}

/// Removes what says how to reach a broker that is gone.
pub(super) fn forget(data: &Path) {
    // It may never have been written.
    drop(fs::remove_file(data.join("connection.json")));
}

fn traced(child: Child, args: &DevArgs) -> Child {
    match &args.otlp_endpoint {
        Some(endpoint) => child
            .env("BROKKR__TELEMETRY__ENABLED", "true")
            .env("BROKKR__TELEMETRY__ENDPOINT", endpoint)
            .env("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0")
            .env("BROKKR__TELEMETRY__BATCH__DELAY", "500ms"),
        None => child,
    }
}

async fn ready(client: &Client) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        match client.readiness().await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error).context("the broker is not ready"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The key of the agent: of a new one, or a new key of the one that there is.
async fn make_agent(client: &Client, args: &DevArgs) -> anyhow::Result<String> {
    let request = CreateAgent { name: args.agent.clone(), cluster: args.agent.clone(), labels: Labels::default() };
    match client.create_agent(&request).await {
        Ok(created) => Ok(created.secret),
        Err(error) if error.code() == Some(ErrorCode::NameTaken) => {
            let key = CreateKey {
                name: args.agent.clone(),
                role: Role::Agent,
                generator: None,
                agent: Some(args.agent.clone()),
                scopes: Vec::new(),
                expires_at: None,
            };
            Ok(client.create_key(&key).await?.secret)
        }
        Err(error) => Err(error.into()),
    }
}

fn write_key(path: &Path, key: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}", path.display()))?;
    writeln!(file, "{key}").with_context(|| format!("{}", path.display()))
}
