use super::{Options, certificates::Certificates};
use crate::lab::{LabError, Scratch};
use std::{
    fs::{File, Permissions, set_permissions},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The user of the controllers, whose requests the audit log leaves out.
const CONTROLLERS: &str = "brokkr-lab:controllers";

/// The files that the programs are started with.
pub(super) struct Files {
    pub(super) admin_kubeconfig: PathBuf,
    pub(super) controllers_kubeconfig: PathBuf,
    pub(super) authority: PathBuf,
    pub(super) serving: PathBuf,
    pub(super) serving_key: PathBuf,
    pub(super) tokens_key: PathBuf,
    pub(super) tokens_public: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) audit_policy: PathBuf,
    pub(super) tracing: Option<PathBuf>,
    pub(super) logs: PathBuf,
}

impl Files {
    pub(super) fn write(scratch: &Scratch, server: &str, options: &Options) -> Result<Self, LabError> {
        let certificates =
            Certificates::generate().map_err(|error| LabError::Refused(format!("certificates of the control plane: {error}")))?;
        let (admin, controllers) = (secret()?, secret()?);
        let authority = scratch.write("ca.crt", &certificates.authority)?;
        let kubeconfig = |name: &str, token: &str| private(scratch, name, &kubeconfig(server, &authority, token));
        Ok(Self {
            admin_kubeconfig: kubeconfig("kubeconfig", &admin)?,
            controllers_kubeconfig: kubeconfig("controllers.kubeconfig", &controllers)?,
            serving: scratch.write("serving.crt", &certificates.serving)?,
            serving_key: private(scratch, "serving.key", &certificates.serving_key)?,
            tokens_key: private(scratch, "tokens.key", &certificates.tokens_key)?,
            tokens_public: scratch.write("tokens.pub", &certificates.tokens_public)?,
            tokens: private(scratch, "tokens.csv", &tokens(&admin, &controllers))?,
            audit_policy: scratch.write("audit-policy.yaml", audit_policy())?,
            tracing: tracing(scratch, options)?,
            logs: logs(scratch)?,
            authority,
        })
    }
}

fn private(scratch: &Scratch, name: &str, content: &str) -> Result<PathBuf, LabError> {
    let path = scratch.write(name, content)?;
    set_permissions(&path, Permissions::from_mode(0o600)).map_err(LabError::io("protect a key"))?;
    Ok(path)
}

/// 192 bits from the operating system, in hexadecimal.
pub(crate) fn secret() -> Result<String, LabError> {
    let mut bytes = [0_u8; 24];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).map_err(LabError::io("read /dev/urandom"))?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{random}", crate::watch::SECRET))
}

/// A kubeconfig of one cluster and one bearer token.
pub(crate) fn kubeconfig(server: &str, authority: &Path, token: &str) -> String {
    let authority = authority.display();
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: brokkr-lab\n\
         clusters:\n\
         - name: brokkr-lab\n  cluster: {{server: \"{server}\", certificate-authority: \"{authority}\"}}\n\
         users:\n\
         - name: brokkr-lab\n  user: {{token: \"{token}\"}}\n\
         contexts:\n\
         - name: brokkr-lab\n  context: {{cluster: brokkr-lab, user: brokkr-lab}}\n"
    )
}

fn tokens(admin: &str, controllers: &str) -> String {
    format!("{admin},brokkr-lab:admin,admin,\"system:masters\"\n{controllers},{CONTROLLERS},controllers,\"system:masters\"\n")
}

fn audit_policy() -> String {
    format!(
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         rules:\n\
         - level: None\n  users: [\"{CONTROLLERS}\", \"system:apiserver\"]\n\
         - level: None\n  nonResourceURLs: [\"/readyz*\", \"/livez*\", \"/healthz*\"]\n\
         - level: Metadata\n"
    )
}

fn tracing(scratch: &Scratch, options: &Options) -> Result<Option<PathBuf>, LabError> {
    let Some(endpoint) = &options.tracing_endpoint else { return Ok(None) };
    let rate = options.tracing_rate_per_million;
    let content = format!(
        "apiVersion: apiserver.config.k8s.io/v1\n\
         kind: TracingConfiguration\n\
         endpoint: \"{endpoint}\"\n\
         samplingRatePerMillion: {rate}\n"
    );
    scratch.write("tracing.yaml", content).map(Some)
}

/// What every container says that has the name [`super::TALKS`]: more than is kept of a log, a word that is secret in the test that
/// asks for it, and a last line.
fn logs(scratch: &Scratch) -> Result<PathBuf, LabError> {
    let line = |text: &str| format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n");
    let many = (1..=4_000).map(|number| line(&format!("this is what happened as number {number}")));
    let end = [format!("the password is {}", super::SECRET_WORD), "the last line".to_owned()];
    let text: String = many.chain(end.iter().map(|text| line(text))).collect();
    let file = scratch.write("container.log", text)?;
    let config = format!(
        "apiVersion: kwok.x-k8s.io/v1alpha1\n\
         kind: ClusterLogs\n\
         metadata: {{name: talks}}\n\
         spec: {{logs: [{{containers: [{}], logsFile: \"{}\"}}]}}\n",
        super::TALKS,
        file.display()
    );
    scratch.write("logs.yaml", config)
}
