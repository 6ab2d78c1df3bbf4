//! `brokkr build`: asks for a build by Shipwright, and follows it.

use std::collections::BTreeMap;

use brokkr_api::{
    Name,
    builds::{
        BuildOutput, BuildParameter, BuildPlan, BuildSource, BuildStrategy, BuildWork, EmbeddedBuild, NamedBuild, SecretKey,
        StrategyKind,
    },
    work_orders::Work,
};
use clap::Args;

use super::{
    Outcome, pair,
    run::{self, OrderArgs},
};
use crate::{connection::ConnectionArgs, output::Format};

/// Build an image with Shipwright in one matching cluster.
#[derive(Debug, Args)]
#[command(after_help = "Of a Build of the cluster: brokkr build --build web --on region=eu")]
pub(crate) struct BuildArgs {
    /// Address of the Git repository
    #[arg(required_unless_present = "build", requires_all = ["strategy", "output_image"])]
    repository: Option<String>,
    /// A Build of the cluster, instead of a repository
    #[arg(long, value_name = "NAME", conflicts_with_all = ["repository", "revision", "context_dir", "clone_secret", "strategy"])]
    build: Option<String>,
    /// Branch, tag or commit; the repository's own branch when absent
    #[arg(long)]
    revision: Option<String>,
    /// The folder of the repository that is built
    #[arg(long, value_name = "FOLDER")]
    context_dir: Option<String>,
    /// Secret of the cluster with the credentials for the repository
    #[arg(long, value_name = "SECRET")]
    clone_secret: Option<String>,
    /// Strategy of the cluster that says how it is built; with namespace/NAME one of the namespace
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// Where the image goes, with its tag
    #[arg(long = "image", id = "output_image", value_name = "IMAGE")]
    image: Option<String>,
    /// Secret of the cluster with the credentials for the registry
    #[arg(long, value_name = "SECRET", requires = "output_image")]
    push_secret: Option<String>,
    /// The registry may be spoken to without TLS
    #[arg(long, requires = "output_image")]
    insecure_registry: bool,
    /// Parameter of the strategy; given several times it is a list
    #[arg(long = "strategy-param", value_name = "NAME=VALUE", value_parser = pair)]
    strategy_parameters: Vec<(String, String)>,
    /// Parameter of the strategy from a Secret of the cluster; may be repeated
    #[arg(long = "strategy-secret", value_name = "NAME=SECRET/KEY", value_parser = run::secret)]
    strategy_secrets: Vec<brokkr_api::work_orders::SecretReference>,
    /// Namespace of the cluster that it runs in
    #[arg(long)]
    namespace: Option<Name>,
    /// Service account that its pod runs as
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: BuildArgs) -> anyhow::Result<Outcome> {
    let (work, name) = work(&args);
    run::send(connection, format, Work::Build(Box::new(work)), name, &args.order).await
}

/// What is asked for, and what it is called unless a name is given.
fn work(args: &BuildArgs) -> (BuildWork, Option<Name>) {
    let output = args.image.clone().map(|image| BuildOutput {
        image,
        push_secret: args.push_secret.clone(),
        insecure: args.insecure_registry,
    });
    let (plan, name) = match (&args.build, &args.repository, &args.strategy, output) {
        (None, Some(repository), Some(strategy), Some(output)) => {
            let source = BuildSource {
                repository: repository.clone(),
                revision: args.revision.clone(),
                context_dir: args.context_dir.clone(),
                clone_secret: args.clone_secret.clone(),
            };
            let embedded = EmbeddedBuild { source, strategy: strategy_of(strategy), output };
            (BuildPlan::Embedded(Box::new(embedded)), last_word(repository))
        }
        (build, _, _, output) => {
            let name = build.clone().unwrap_or_default();
            let named = name.parse().ok();
            (BuildPlan::Named(NamedBuild { name, output }), named)
        }
    };
    let work = BuildWork {
        plan,
        parameters: parameters(args),
        namespace: args.namespace.clone(),
        service_account: args.service_account.clone(),
    };
    (work, name)
}

fn strategy_of(text: &str) -> BuildStrategy {
    let (kind, name) = match text.strip_prefix("namespace/") {
        Some(name) => (StrategyKind::Namespace, name),
        None => (StrategyKind::Cluster, text),
    };
    BuildStrategy { name: name.to_owned(), kind }
}

/// The repository's own name, where an order may have it.
fn last_word(repository: &str) -> Option<Name> {
    let last = repository.trim_end_matches('/').rsplit(['/', ':']).next()?;
    last.strip_suffix(".git").unwrap_or(last).to_ascii_lowercase().parse().ok()
}

fn parameters(args: &BuildArgs) -> BTreeMap<String, BuildParameter> {
    let mut parameters = BTreeMap::new();
    for (name, value) in &args.strategy_parameters {
        let known = parameters.remove(name);
        let value = match known {
            None => BuildParameter::Text(value.clone()),
            Some(BuildParameter::Text(first)) => BuildParameter::List(vec![first, value.clone()]),
            Some(BuildParameter::List(list)) => BuildParameter::List(list.into_iter().chain([value.clone()]).collect()),
            Some(secret @ BuildParameter::Secret(_)) => secret,
        };
        parameters.insert(name.clone(), value);
    }
    for reference in &args.strategy_secrets {
        let key = SecretKey { secret: reference.secret.clone(), key: reference.key.clone() };
        parameters.insert(reference.name.clone(), BuildParameter::Secret(key));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        build: BuildArgs,
    }

    fn read(line: &[&str]) -> Result<BuildArgs, clap::Error> {
        Line::try_parse_from([["brokkr"].as_slice(), line].concat()).map(|line| line.build)
    }

    #[test]
    fn the_arguments_become_the_build() {
        let line = [
            "https://git.example/shop/Web.git",
            "--revision",
            "v1",
            "--strategy",
            "buildah",
            "--image",
            "images.example/web:1",
            "--push-secret",
            "registry",
            "--strategy-param",
            "dockerfile=Dockerfile",
            "--strategy-param",
            "args=A=b",
            "--strategy-param",
            "args=C=d",
            "--strategy-secret",
            "token=npm/token",
            "--any-agent",
        ];
        let (work, name) = work(&read(&line).unwrap());
        assert_eq!(name.unwrap().as_str(), "web");
        assert_eq!(
            serde_json::to_value(&work).unwrap(),
            serde_json::json!({
                "plan": {"embedded": {
                    "source": {"repository": "https://git.example/shop/Web.git", "revision": "v1"},
                    "strategy": {"name": "buildah", "kind": "cluster"},
                    "output": {"image": "images.example/web:1", "push_secret": "registry", "insecure": false},
                }},
                "parameters": {"args": ["A=b", "C=d"], "dockerfile": "Dockerfile", "token": {"secret": "npm", "key": "token"}},
            })
        );
    }

    #[test]
    fn a_build_of_the_cluster_is_named_and_a_repository_needs_strategy_and_image() {
        let (work, name) = work(&read(&["--build", "web", "--namespace", "builds", "--any-agent"]).unwrap());
        assert_eq!(name.unwrap().as_str(), "web");
        assert_eq!(serde_json::to_value(&work.plan).unwrap(), serde_json::json!({"named": {"name": "web"}}));
        assert_eq!(strategy_of("namespace/kaniko"), BuildStrategy { name: "kaniko".to_owned(), kind: StrategyKind::Namespace });
        for wrong in [
            ["https://git.example/a", "--any-agent"].as_slice(),
            &["https://git.example/a", "--strategy", "x"],
            &["https://git.example/a", "--build", "web"],
            &["--build", "web", "--revision", "v1"],
            &[],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
