//! What a request for a build must look like.

use brokkr_api::{
    ErrorCode, Problem,
    builds::{
        BuildOutput, BuildParameter, BuildPlan, BuildSource, BuildWork, EmbeddedBuild, MAX_BUILD_NAME, MAX_PARAMETER_VALUES,
        NamedBuild, is_build_parameter_name, is_context_dir, is_image, is_object_name, is_repository, is_revision, is_secret_key,
    },
    work_orders::{MAX_PARAMETER, MAX_PARAMETERS},
};

fn wrong(place: &str, detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidField, detail).at(format!("work.build.{place}"))
}

fn ensure(holds: bool, place: &str, detail: &str) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(wrong(place, detail)) }
}

/// Checks what the parser cannot.
///
/// # Errors
/// The first rule that is broken, with the place.
pub(super) fn check(build: &BuildWork) -> Result<(), Problem> {
    match &build.plan {
        BuildPlan::Named(named) => check_named(named)?,
        BuildPlan::Embedded(embedded) => check_embedded(embedded)?,
    }
    let account = build.service_account.as_deref();
    ensure(
        account.is_none_or(is_object_name),
        "service_account",
        "a service account has a name as objects of Kubernetes have it",
    )?;
    if build.parameters.len() > MAX_PARAMETERS {
        return Err(wrong("parameters", format!("a build has at most {MAX_PARAMETERS} parameters")));
    }
    for (name, value) in &build.parameters {
        let detail = "a parameter begins with a letter or '_', goes on with these, digits, '-' and '.', and is none that Shipwright keeps for itself or that changes what a program loads";
        ensure(is_build_parameter_name(name), "parameters", detail)?;
        check_value(value).map_err(|detail| wrong(&format!("parameters.{name}"), detail))?;
    }
    Ok(())
}

fn check_named(named: &NamedBuild) -> Result<(), Problem> {
    let is_name = named.name.len() <= MAX_BUILD_NAME && is_object_name(&named.name);
    ensure(is_name, "plan.named.name", "a Build has a name of at most 63 characters, as objects of Kubernetes have it")?;
    named.output.as_ref().map_or(Ok(()), |output| check_output(output, "plan.named.output"))
}

fn check_embedded(embedded: &EmbeddedBuild) -> Result<(), Problem> {
    check_source(&embedded.source)?;
    let detail = "a strategy has a name as objects of Kubernetes have it";
    ensure(is_object_name(&embedded.strategy.name), "plan.embedded.strategy.name", detail)?;
    check_output(&embedded.output, "plan.embedded.output")
}

fn check_source(source: &BuildSource) -> Result<(), Problem> {
    let place = |field: &str| format!("plan.embedded.source.{field}");
    let detail = "a repository is https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH, without a password: credentials are in clone_secret";
    ensure(is_repository(&source.repository), &place("repository"), detail)?;
    let detail =
        "a revision is a branch, a tag or a commit: letters, digits and '-', '.', '_', '/', '+', '@', not beginning with '-'";
    ensure(source.revision.as_deref().is_none_or(is_revision), &place("revision"), detail)?;
    let detail = "a folder is a path below the repository's own, without '.' and '..'";
    ensure(source.context_dir.as_deref().is_none_or(is_context_dir), &place("context_dir"), detail)?;
    let secret = source.clone_secret.as_deref();
    ensure(secret.is_none_or(is_object_name), &place("clone_secret"), "clone_secret is the name of a Secret")
}

fn check_output(output: &BuildOutput, place: &str) -> Result<(), Problem> {
    let detail = "an image is [HOST[:PORT]/]NAME[:TAG], in small letters, without a digest";
    ensure(is_image(&output.image), &format!("{place}.image"), detail)?;
    let secret = output.push_secret.as_deref();
    ensure(secret.is_none_or(is_object_name), &format!("{place}.push_secret"), "push_secret is the name of a Secret")
}

fn check_value(value: &BuildParameter) -> Result<(), String> {
    let is_text = |text: &String| text.chars().count() <= MAX_PARAMETER && !text.contains('\0');
    match value {
        BuildParameter::Text(text) if !is_text(text) => {
            Err(format!("a value has at most {MAX_PARAMETER} characters, and no NUL"))
        }
        BuildParameter::List(list) if list.len() > MAX_PARAMETER_VALUES || !list.iter().all(is_text) => {
            Err(format!("at most {MAX_PARAMETER_VALUES} values of at most {MAX_PARAMETER} characters, and no NUL"))
        }
        BuildParameter::Secret(secret) if !is_object_name(&secret.secret) || !is_secret_key(&secret.key) => {
            Err("secret is the name of a Secret, and key has 1 to 253 letters, digits, '-', '_' and '.'".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build(change: impl FnOnce(&mut Value)) -> BuildWork {
        let mut body = json!({
            "plan": {"embedded": {
                "source": {"repository": "https://git.example/shop/web.git", "revision": "main", "context_dir": "web", "clone_secret": "git"},
                "strategy": {"name": "buildah"},
                "output": {"image": "images.example/web:1", "push_secret": "registry"},
            }},
            "parameters": {"dockerfile": "Dockerfile", "args": ["A=b"], "token": {"secret": "npm", "key": "token"}},
            "namespace": "builds", "service_account": "builder",
        });
        change(&mut body);
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn bad_input_is_named_with_its_place() {
        check(&build(|_| {})).unwrap();
        check(&build(|body| body["plan"] = json!({"named": {"name": "web"}}))).unwrap();
        type Change = fn(&mut Value);
        let cases: &[(&str, Change)] = &[
            ("plan.named.name", |body| body["plan"] = json!({"named": {"name": "Web"}})),
            ("plan.named.name", |body| body["plan"] = json!({"named": {"name": "a".repeat(64)}})),
            ("plan.named.output.image", |body| body["plan"] = json!({"named": {"name": "web", "output": {"image": "A B"}}})),
            ("plan.embedded.source.repository", |body| {
                body["plan"]["embedded"]["source"]["repository"] = json!("https://user:token@git.example/web");
            }),
            ("plan.embedded.source.revision", |body| body["plan"]["embedded"]["source"]["revision"] = json!("--upload-pack=x")),
            ("plan.embedded.source.context_dir", |body| body["plan"]["embedded"]["source"]["context_dir"] = json!("../secrets")),
            ("plan.embedded.source.clone_secret", |body| body["plan"]["embedded"]["source"]["clone_secret"] = json!("A")),
            ("plan.embedded.strategy.name", |body| body["plan"]["embedded"]["strategy"]["name"] = json!("")),
            ("plan.embedded.output.image", |body| body["plan"]["embedded"]["output"]["image"] = json!("web@sha256:00")),
            ("plan.embedded.output.push_secret", |body| body["plan"]["embedded"]["output"]["push_secret"] = json!("a_b")),
            ("service_account", |body| body["service_account"] = json!(".generate")),
            ("parameters", |body| body["parameters"] = json!({"LD_PRELOAD": "x"})),
            ("parameters", |body| body["parameters"] = json!({"shp-output-image": "x"})),
            ("parameters.a", |body| body["parameters"] = json!({"a": "\0"})),
            ("parameters.a", |body| body["parameters"] = json!({"a": vec!["x"; MAX_PARAMETER_VALUES + 1]})),
            ("parameters.a", |body| body["parameters"] = json!({"a": {"secret": "S!", "key": "k"}})),
        ];
        for (place, change) in cases {
            let problem = check(&build(change)).unwrap_err();
            assert_eq!(problem.place.as_deref(), Some(format!("work.build.{place}").as_str()), "{}", problem.detail);
        }
    }
}
