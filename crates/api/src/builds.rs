//! Builds of images by Shipwright: what a work order of kind `build` says, and which texts it takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, name::is_dns_label, work_orders};

/// Longest address of a repository in characters.
pub const MAX_REPOSITORY: usize = 1_024;
/// Longest revision in characters.
pub const MAX_REVISION: usize = 255;
/// Longest folder in characters.
pub const MAX_CONTEXT_DIR: usize = 512;
/// Longest name of an image in characters.
pub const MAX_IMAGE: usize = 512;
/// Longest name of an object in characters, by Kubernetes' rules.
pub const MAX_OBJECT_NAME: usize = 253;
/// Longest name of a Build, which becomes the value of a label.
pub const MAX_BUILD_NAME: usize = 63;
/// Longest name of a strategy's parameter in characters.
pub const MAX_PARAMETER_NAME: usize = 128;
/// Most values of one parameter.
pub const MAX_PARAMETER_VALUES: usize = 64;

/// A build to be run by Shipwright. Each attempt is a `BuildRun` of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildWork {
    /// What is built.
    pub plan: BuildPlan,
    /// Parameters of the strategy. What every step gets in its environment are the parameters of the order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, BuildParameter>,
    /// The namespace that it runs in; the agent's own choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// The service account that its pod runs as; that of the cluster's choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// What is built: a `Build` that is there already, or everything that one would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildPlan {
    /// A `Build` of the cluster.
    Named(NamedBuild),
    /// A build of which the cluster knows only the strategy.
    Embedded(Box<EmbeddedBuild>),
}

/// A `Build` of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedBuild {
    /// Its name, in the namespace of the work.
    pub name: String,
    /// Where the image goes, instead of what the `Build` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BuildOutput>,
}

/// A build of which the cluster knows only the strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedBuild {
    /// What it is built from.
    pub source: BuildSource,
    /// How it is built.
    pub strategy: BuildStrategy,
    /// Where the image goes.
    pub output: BuildOutput,
}

/// A Git repository, and what of it is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildSource {
    /// Its address: `https://host/path`, `ssh://user@host/path` or `user@host:path`. Credentials do not belong in it.
    #[schema(example = "https://git.example/shop/web.git")]
    pub repository: String,
    /// A branch, a tag or a commit; the repository's own branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v1.2.0")]
    pub revision: Option<String>,
    /// The folder that is built; the whole when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "services/web")]
    pub context_dir: Option<String>,
    /// The Secret of the cluster with the credentials for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_secret: Option<String>,
}

/// How something is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildStrategy {
    /// Its name.
    #[schema(example = "buildah")]
    pub name: String,
    /// Where it is defined.
    #[serde(default)]
    pub kind: StrategyKind,
}

/// Where a strategy is defined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// For the whole cluster: a `ClusterBuildStrategy`.
    #[default]
    Cluster,
    /// In the namespace of the work: a `BuildStrategy`.
    Namespace,
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildOutput {
    /// Its name with its registry, and its tag; without a digest, which follows from what is built.
    #[schema(example = "images.example/shop/web:1.2.0")]
    pub image: String,
    /// The Secret of the cluster with the credentials for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret: Option<String>,
    /// Whether the registry may be spoken to without TLS.
    #[serde(default)]
    pub insecure: bool,
}

/// The value of a strategy's parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BuildParameter {
    /// One text.
    Text(String),
    /// A list of texts, where the strategy says that it is one.
    List(Vec<String>),
    /// A text that is in a Secret of the cluster; the broker never sees it.
    Secret(SecretKey),
}

/// Names a value in a Secret of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret, in the namespace of the work.
    pub secret: String,
    /// Its key.
    pub key: String,
}

/// A host in an address.
const HOST: &str = "[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?";
const PORT: &str = "(:[0-9]{1,5})?";
/// Parameters that Shipwright keeps for itself.
const RESERVED: &[&str] = &["BUILDER_IMAGE", "CONTEXT_DIR", "DOCKERFILE"];

/// What a repository may be, as a pattern of JSON Schema: nothing that holds a password or could be taken for an option.
#[must_use]
pub fn repository_pattern() -> String {
    let user = "[A-Za-z0-9_][-A-Za-z0-9._]*@";
    format!("^(https?://{HOST}{PORT}/|ssh://({user})?{HOST}{PORT}/|{user}{HOST}:)[-A-Za-z0-9._~/%+]+$")
}

/// What a revision may be, as a pattern of JSON Schema.
pub const REVISION_PATTERN: &str = "^[A-Za-z0-9_][-A-Za-z0-9._/+@]*$";

/// What a folder in a repository may be, as a pattern of JSON Schema: it never leaves the repository.
pub const CONTEXT_DIR_PATTERN: &str = "^\\.?[A-Za-z0-9_][-A-Za-z0-9._+@]*(/\\.?[A-Za-z0-9_][-A-Za-z0-9._+@]*)*$";

/// What an image may be called, as a pattern of JSON Schema.
#[must_use]
pub fn image_pattern() -> String {
    let part = "[a-z0-9]+([._-]+[a-z0-9]+)*";
    format!("^({HOST}{PORT}/)?{part}(/{part})*(:[A-Za-z0-9_][-A-Za-z0-9._]{{0,127}})?$")
}

/// What a strategy's parameter may be called, as a pattern of JSON Schema.
#[must_use]
pub fn build_parameter_pattern() -> String {
    let (words, prefixes) = work_orders::refused();
    let words = words.iter().chain(RESERVED).copied().collect::<Vec<_>>().join("|");
    let most = MAX_PARAMETER_NAME - 1;
    format!("^(?!({words})$)(?!({}|shp-))[A-Za-z_][-A-Za-z0-9._]{{0,{most}}}$", prefixes.join("|"))
}

fn is_host(text: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    end(bytes.first()) && end(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

fn is_host_and_port(text: &str) -> bool {
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

/// Whether a text begins with a letter, a digit or an underscore, and goes on with these and with what else is allowed.
fn is_word(text: &str, more: &[u8]) -> bool {
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    begins && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || more.contains(&b))
}

/// Whether a text is the address of a repository: [`repository_pattern`].
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let is_user = |user: &str| is_word(user, b"-.");
    let is_rest = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%+".contains(&b));
    if text.len() > MAX_REPOSITORY {
        return false;
    }
    if let Some(address) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        return address.split_once('/').is_some_and(|(server, rest)| is_host_and_port(server) && is_rest(rest));
    }
    if let Some(address) = text.strip_prefix("ssh://") {
        let Some((server, rest)) = address.split_once('/') else { return false };
        let server = match server.split_once('@') {
            Some((user, server)) if is_user(user) => server,
            Some(_) => return false,
            None => server,
        };
        return is_host_and_port(server) && is_rest(rest);
    }
    let Some((user, address)) = text.split_once('@') else { return false };
    address.split_once(':').is_some_and(|(host, rest)| is_user(user) && is_host(host) && is_rest(rest))
}

/// Whether a text is a revision: [`REVISION_PATTERN`].
#[must_use]
pub fn is_revision(text: &str) -> bool {
    text.len() <= MAX_REVISION && is_word(text, b"-./+@")
}

/// Whether a text is a folder in a repository: [`CONTEXT_DIR_PATTERN`].
#[must_use]
pub fn is_context_dir(text: &str) -> bool {
    text.len() <= MAX_CONTEXT_DIR && text.split('/').all(|part| is_word(part.strip_prefix('.').unwrap_or(part), b"-.+@"))
}

/// Whether a text is the name of an image without a digest: [`image_pattern`].
#[must_use]
pub fn is_image(text: &str) -> bool {
    if text.len() > MAX_IMAGE {
        return false;
    }
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match text.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => (&text[..slash + colon], Some(&text[slash + colon + 1..])),
        None => (text, None),
    };
    let is_tag = |tag: &str| tag.len() <= 128 && is_word(tag, b"-.");
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or_default();
    let is_first = is_image_part(first) || (name.contains('/') && is_host_and_port(first));
    is_first && parts.all(is_image_part) && tag.is_none_or(is_tag)
}

fn is_image_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(inner);
    ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(|b| inner(b) || b"._-".contains(&b))
}

/// Whether a text is the name of an object, as most kinds of Kubernetes have it.
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    text.len() <= MAX_OBJECT_NAME && text.split('.').all(is_dns_label)
}

/// Whether a text is a key of a Secret.
#[must_use]
pub fn is_secret_key(text: &str) -> bool {
    (1..=MAX_OBJECT_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether a strategy's parameter may be called so: [`build_parameter_pattern`].
#[must_use]
pub fn is_build_parameter_name(name: &str) -> bool {
    let (words, prefixes) = work_orders::refused();
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let is_refused = words.contains(&name) || RESERVED.contains(&name) || name.starts_with("shp-");
    begins
        && name.len() <= MAX_PARAMETER_NAME
        && is_word(name, b"-.")
        && !is_refused
        && !prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_address_without_a_password() {
        for address in [
            "https://git.example/shop/web.git",
            "http://localhost:3000/a",
            "ssh://git@git.example:22/shop/web.git",
            "ssh://git.example/shop",
            "git@git.example:shop/web.git",
        ] {
            assert!(is_repository(address), "{address}");
        }
        let long = format!("https://git.example/{}", "a".repeat(MAX_REPOSITORY));
        for address in [
            "",
            "web",
            "--upload-pack=x",
            "file:///etc/passwd",
            "ext::sh -c x",
            "https://user:token@git.example/web",
            "https://token@git.example/web",
            "ssh://user:word@git.example/web",
            "https://git.example",
            "https://git.example/",
            "https://-a/b",
            "https://a:port/b",
            "https://a:123456/b",
            "https://git.example/a b",
            "https://git.example/ü",
            "-x@git.example:a",
            "git@git.example:",
            &long,
        ] {
            assert!(!is_repository(address), "{address}");
        }
    }

    #[test]
    fn a_folder_never_leaves_the_repository() {
        for folder in ["web", "services/web", ".github", "a..b/c", "a.b_c-d"] {
            assert!(is_context_dir(folder), "{folder}");
        }
        for folder in ["", "/", "/etc", "..", "../x", "a/../b", "a/..", "a//b", "a/", ".", "a/./b", "...", "a b", "-a"] {
            assert!(!is_context_dir(folder), "{folder}");
        }
    }

    #[test]
    fn a_revision_is_no_option() {
        for revision in ["main", "feature/a", "v1.2.3+4", "0123abc", "refs/heads/main"] {
            assert!(is_revision(revision), "{revision}");
        }
        let long = "a".repeat(MAX_REVISION + 1);
        for revision in ["", "-x", "--upload-pack=x", "a b", "a:b", "a\n", &long] {
            assert!(!is_revision(revision), "{revision}");
        }
    }

    #[test]
    fn an_image_has_a_tag_and_no_digest() {
        for image in ["web", "web:1", "shop/web", "images.example/shop/web:1.2.0", "localhost:5000/web", "A.example/a_b/c:_x"] {
            assert!(is_image(image), "{image}");
        }
        let tag = format!("web:{}", "a".repeat(129));
        for image in [
            "",
            ":1",
            "web:",
            "Web",
            "shop/Web",
            "web@sha256:00",
            "a//b",
            "/a",
            "a/",
            "localhost:port/web",
            "a:1:2",
            "web:-1",
            "-a/b",
            "a_b:80/c",
            &tag,
        ] {
            assert!(!is_image(image), "{image}");
        }
    }

    #[test]
    fn a_parameter_is_neither_shipwrights_own_nor_one_that_changes_what_a_program_loads() {
        for name in ["dockerfile", "build-args", "a.b", "_x", "SHP-x", "PATHS"] {
            assert!(is_build_parameter_name(name), "{name}");
        }
        let long = "a".repeat(MAX_PARAMETER_NAME + 1);
        for name in ["", "1a", "a b", "shp-output-image", "DOCKERFILE", "LD_PRELOAD", "BASH_ENV", "TRACEPARENT", "ü", &long] {
            assert!(!is_build_parameter_name(name), "{name}");
        }
    }

    #[test]
    fn a_plan_is_one_of_two() {
        let read = serde_json::from_value::<BuildWork>;
        let named = serde_json::json!({"plan": {"named": {"name": "web"}}, "parameters": {"a": "b", "c": ["d"], "e": {"secret": "f", "key": "g"}}});
        let work = read(named.clone()).unwrap();
        assert_eq!(serde_json::to_value(&work).unwrap(), named);
        assert!(matches!(work.parameters["e"], BuildParameter::Secret(_)));
        for wrong in [
            serde_json::json!({"plan": {}}),
            serde_json::json!({"plan": {"named": {"name": "web", "revision": "x"}}}),
            serde_json::json!({"plan": {"named": {"name": "web"}}, "parameters": {"a": 1}}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
