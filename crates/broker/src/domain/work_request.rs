//! What a request for work must look like.

use brokkr_api::{
    ErrorCode, Problem,
    work_orders::{
        ApplyWork, CreateWorkOrder, JobWork, MAX_ATTEMPTS, MAX_BACKOFF_SECONDS, MAX_CONDITION, MAX_DEADLINE_SECONDS,
        MAX_PARAMETER, MAX_PARAMETERS, MAX_PRIORITY, MAX_TTL_SECONDS, MAX_WORK_OBJECTS, SecretReference, Work, is_parameter_name,
    },
};
use brokkr_runtime::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{build_request, manifests};

/// Longest name of a Secret and of a key in it, by Kubernetes' rules.
const MAX_SECRET_NAME: usize = 253;

fn field(place: impl Into<String>, detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidField, detail).at(place)
}

/// Checks what the parser cannot.
///
/// # Errors
/// The first rule that is broken, with the place.
pub(crate) fn check(request: &CreateWorkOrder) -> Result<(), Problem> {
    request.targets.validate().map_err(|error| field("targets", error.to_string()))?;
    if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&request.priority) {
        return Err(field("priority", format!("a priority is -{MAX_PRIORITY} to {MAX_PRIORITY}")));
    }
    if request.deadline_seconds.is_some_and(|seconds| !(1..=MAX_DEADLINE_SECONDS).contains(&seconds)) {
        return Err(field("deadline_seconds", format!("a deadline is 1 to {MAX_DEADLINE_SECONDS} seconds")));
    }
    if !(1..=MAX_ATTEMPTS).contains(&request.max_attempts) {
        return Err(field("max_attempts", format!("1 to {MAX_ATTEMPTS} attempts")));
    }
    if request.backoff_seconds > MAX_BACKOFF_SECONDS {
        return Err(field("backoff_seconds", format!("a backoff is at most {MAX_BACKOFF_SECONDS} seconds")));
    }
    if request.ttl_seconds > MAX_TTL_SECONDS {
        return Err(field("ttl_seconds", format!("finished objects are kept for at most {MAX_TTL_SECONDS} seconds")));
    }
    if request.parameters.len() > MAX_PARAMETERS || request.secrets.len() > MAX_PARAMETERS {
        return Err(field("parameters", format!("at most {MAX_PARAMETERS} parameters and as many secrets")));
    }
    for (name, value) in &request.parameters {
        if !is_parameter_name(name) {
            let detail = "a parameter is the name of an environment variable, and none that changes what a program loads";
            return Err(field("parameters", detail));
        }
        if value.chars().count() > MAX_PARAMETER || value.contains('\0') {
            return Err(field("parameters", format!("{name} has more than {MAX_PARAMETER} characters, or a NUL")));
        }
    }
    for (index, secret) in request.secrets.iter().enumerate() {
        check_secret(secret).map_err(|detail| field(format!("secrets[{index}]"), detail))?;
    }
    match &request.work {
        Work::Job(job) => check_job(job),
        Work::Apply(apply) => check_apply(apply),
        Work::Build(build) => build_request::check(build),
    }
}

fn check_secret(reference: &SecretReference) -> Result<(), &'static str> {
    let is_subdomain = |text: &str| {
        text.len() <= MAX_SECRET_NAME && text.split('.').all(|label| brokkr_api::Name::try_from(label.to_owned()).is_ok())
    };
    let is_key = |text: &str| {
        (1..=MAX_SECRET_NAME).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if !is_parameter_name(&reference.name) {
        return Err("name is the name of an environment variable, and none that changes what a program loads");
    }
    if !is_subdomain(&reference.secret) {
        return Err("secret is the name of a Secret");
    }
    if !is_key(&reference.key) {
        return Err("key has 1 to 253 letters, digits, '-', '_' and '.'");
    }
    Ok(())
}

fn check_job(job: &JobWork) -> Result<(), Problem> {
    let text = |name: &str| job.manifest.get(name).and_then(Value::as_str);
    if (text("apiVersion"), text("kind")) != (Some("batch/v1"), Some("Job")) {
        return Err(Problem::new(ErrorCode::InvalidManifest, "the manifest is of apiVersion batch/v1 and kind Job")
            .at("work.job.manifest"));
    }
    let name = job.manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    manifests::canonicalize(vec![job.manifest.clone()]).map_err(|problem| problem.at("work.job.manifest"))?;
    // The attempt's object has the name with a suffix, and a label of Kubernetes has the object's name.
    if !is_job_name(name) {
        let detail = "the name of the Job has 1 to 40 letters, digits, '-' and '.', and begins and ends with a letter or digit";
        return Err(Problem::new(ErrorCode::InvalidManifest, detail).at("work.job.manifest"));
    }
    Ok(())
}

fn is_job_name(name: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    name.len() <= 40 && inner && ends(name.bytes().next()) && ends(name.bytes().last())
}

fn check_apply(apply: &ApplyWork) -> Result<(), Problem> {
    let is_condition = |text: &str| (1..=MAX_CONDITION).contains(&text.chars().count()) && !text.contains('\0');
    if !is_condition(&apply.success) {
        return Err(field("work.apply.success", format!("a condition has 1 to {MAX_CONDITION} characters, and no NUL")));
    }
    if apply.failure.as_deref().is_some_and(|text| !is_condition(text)) {
        return Err(field("work.apply.failure", format!("a condition has 1 to {MAX_CONDITION} characters, and no NUL")));
    }
    if apply.objects.objects.len() > MAX_WORK_OBJECTS {
        let detail = format!("an order has at most {MAX_WORK_OBJECTS} objects");
        return Err(Problem::new(ErrorCode::TooManyObjects, detail).at("work.apply.objects"));
    }
    let canonical = manifests::canonicalize(apply.objects.objects.clone()).map_err(|problem| problem.at("work.apply.objects"))?;
    if canonical.has_secrets {
        let detail = "a work order holds no Secrets: it names those that are in the cluster";
        return Err(Problem::new(ErrorCode::InvalidManifest, detail).at("work.apply.objects"));
    }
    Ok(())
}

/// Tells a request that is sent again from another one.
pub(crate) fn digest(request: &CreateWorkOrder) -> String {
    hex(&Sha256::digest(serde_json::to_vec(request).unwrap_or_default()))
}

/// Names the queue of a kind and its targets.
pub(crate) fn queue_id(request: &CreateWorkOrder) -> String {
    let mut hash = Sha256::new();
    hash.update(request.work.kind().as_str());
    hash.update(serde_json::to_vec(&request.targets).unwrap_or_default());
    hex(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(change: impl FnOnce(&mut Value)) -> CreateWorkOrder {
        let mut body = json!({
            "name": "import", "targets": {"labels": {}},
            "work": {"job": {"manifest": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import"}, "spec": {}}}},
        });
        change(&mut body);
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn bad_input_is_named_with_its_place() {
        check(&request(|_| {})).unwrap();
        type Change = fn(&mut Value);
        let cases: &[(&str, Change)] = &[
            ("priority", |body| body["priority"] = json!(1_001)),
            ("deadline_seconds", |body| body["deadline_seconds"] = json!(0)),
            ("max_attempts", |body| body["max_attempts"] = json!(0)),
            ("max_attempts", |body| body["max_attempts"] = json!(21)),
            ("backoff_seconds", |body| body["backoff_seconds"] = json!(3_601)),
            ("ttl_seconds", |body| body["ttl_seconds"] = json!(604_801)),
            ("targets", |body| body["targets"] = json!({"labels": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            ("parameters", |body| body["parameters"] = json!({"LD_PRELOAD": "x"})),
            ("parameters", |body| body["parameters"] = json!({"A": "\0"})),
            ("secrets[0]", |body| body["secrets"] = json!([{"name": "PATH", "secret": "s", "key": "k"}])),
            ("secrets[0]", |body| body["secrets"] = json!([{"name": "A", "secret": "S!", "key": "k"}])),
            ("secrets[0]", |body| body["secrets"] = json!([{"name": "A", "secret": "s", "key": "a b"}])),
            ("work.job.manifest", |body| body["work"]["job"]["manifest"]["kind"] = json!("Pod")),
            ("work.job.manifest", |body| body["work"]["job"]["manifest"] = json!({"apiVersion": "batch/v1", "kind": "Job"})),
            ("work.job.manifest", |body| body["work"]["job"]["manifest"]["metadata"]["name"] = json!("a".repeat(41))),
            ("work.apply.success", |body| body["work"] = json!({"apply": {"objects": [], "success": ""}})),
            ("work.apply.failure", |body| body["work"] = json!({"apply": {"objects": [], "success": "true", "failure": ""}})),
            ("work.apply.objects", |body| body["work"] = json!({"apply": {"objects": [], "success": "true"}})),
            ("work.apply.objects", |body| {
                let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
                body["work"] = json!({"apply": {"objects": [secret], "success": "true"}});
            }),
        ];
        for (place, change) in cases {
            let problem = check(&request(change)).unwrap_err();
            assert_eq!(problem.place.as_deref(), Some(*place), "{}", problem.detail);
        }
    }

    #[test]
    fn orders_for_the_same_targets_share_a_queue_and_those_of_another_kind_do_not() {
        let one = request(|body| body["name"] = json!("other"));
        assert_eq!(queue_id(&one), queue_id(&request(|_| {})));
        let apply = request(|body| body["work"] = json!({"apply": {"objects": [], "success": "true"}}));
        assert_ne!(queue_id(&one), queue_id(&apply));
        assert_ne!(digest(&one), digest(&request(|_| {})));
    }
}
