//! The policy of a stack, as arguments name it: what they leave out stays as it is.

use std::path::PathBuf;

use anyhow::Context;
use brokkr_api::policy::{Adoption, Conflicts, DeletePolicy, StackPolicy};
use clap::{Args, ValueEnum};

/// How a stack is delivered.
#[derive(Debug, Default, Args)]
pub(crate) struct PolicyArgs {
    /// Where another manager owns a field: leave the object and say so, or take the field
    #[arg(long, value_enum, value_name = "WHAT")]
    conflicts: Option<OnConflict>,
    /// Take over objects that exist and that no stack owns
    #[arg(long)]
    adopt: bool,
    /// What becomes of objects that are no longer wanted
    #[arg(long, value_enum, value_name = "WHAT")]
    delete_policy: Option<OnRemoval>,
    /// The whole policy, as YAML or JSON; the other arguments are put on top of it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnConflict {
    /// Leave the object as it is, and say who owns which field
    Report,
    /// Take the field
    Force,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnRemoval {
    /// They are deleted
    Delete,
    /// They stay, and no longer belong to the stack
    Orphan,
}

impl PolicyArgs {
    /// The policy that the stack is to have, which has this one now.
    pub(super) fn on(&self, now: &StackPolicy) -> anyhow::Result<StackPolicy> {
        let mut policy = match &self.policy {
            Some(path) => {
                let context = || format!("{}", path.display());
                let text = std::fs::read_to_string(path).with_context(context)?;
                serde_saphyr::from_str(&text).with_context(|| format!("{} is no policy", path.display()))?
            }
            None => now.clone(),
        };
        match self.conflicts {
            Some(OnConflict::Report) => policy.conflicts = Conflicts::Report,
            Some(OnConflict::Force) => policy.conflicts = Conflicts::Force,
            None => {}
        }
        if self.adopt {
            policy.adoption = Adoption::Adopt;
        }
        match self.delete_policy {
            Some(OnRemoval::Delete) => policy.delete_policy = DeletePolicy::Delete,
            Some(OnRemoval::Orphan) => policy.delete_policy = DeletePolicy::Orphan,
            None => {}
        }
        Ok(policy)
    }
}

/// What differs from the default, in words.
pub(super) fn in_words(policy: &StackPolicy) -> String {
    let usual = StackPolicy::default();
    let mut parts = Vec::new();
    if policy.conflicts == Conflicts::Force {
        parts.push("takes fields of others".to_owned());
    }
    if policy.adoption == Adoption::Adopt {
        parts.push("takes existing objects over".to_owned());
    }
    if policy.delete_policy == DeletePolicy::Orphan {
        parts.push("keeps what is no longer wanted".to_owned());
    }
    let paths: usize = policy.ignore_fields.iter().map(|ignored| ignored.paths.len()).sum();
    if paths > 0 {
        parts.push(format!("leaves {paths} fields to others"));
    }
    if !policy.health.is_empty() {
        let kinds: Vec<_> = policy.health.iter().map(|rule| rule.kind.as_str()).collect();
        parts.push(format!("rules for the health of {}", kinds.join(", ")));
    }
    if let Some(account) = &policy.service_account {
        parts.push(format!("acts as {account}"));
    }
    if policy.wave_timeout_seconds != usual.wave_timeout_seconds {
        parts.push(format!("gives a wave {} s", policy.wave_timeout_seconds));
    }
    if parts.is_empty() { "the default".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_change_what_they_name_and_leave_the_rest() {
        let now = StackPolicy { service_account: Some("shop/deployer".to_owned()), ..StackPolicy::default() };
        let args =
            PolicyArgs { conflicts: Some(OnConflict::Force), delete_policy: Some(OnRemoval::Orphan), ..PolicyArgs::default() };
        let expected = StackPolicy { conflicts: Conflicts::Force, delete_policy: DeletePolicy::Orphan, ..now.clone() };
        assert_eq!(args.on(&now).unwrap(), expected);
        assert_eq!(PolicyArgs::default().on(&expected).unwrap(), expected);
        assert_eq!(in_words(&expected), "takes fields of others; keeps what is no longer wanted; acts as shop/deployer");
        assert_eq!(in_words(&StackPolicy::default()), "the default");
    }

    #[test]
    fn a_file_is_the_whole_policy_and_arguments_stand_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, "conflicts: force\nignore_fields:\n- kind: Deployment.apps\n  paths: [/spec/replicas]\n").unwrap();
        let args = PolicyArgs { policy: Some(file.clone()), adopt: true, ..PolicyArgs::default() };
        let now = StackPolicy { service_account: Some("shop/deployer".to_owned()), ..StackPolicy::default() };
        let policy = args.on(&now).unwrap();
        assert_eq!((policy.conflicts, policy.adoption, policy.service_account), (Conflicts::Force, Adoption::Adopt, None));
        assert_eq!(policy.ignore_fields[0].paths, ["/spec/replicas"]);
        std::fs::write(&file, "conflict: force\n").unwrap();
        assert!(format!("{:#}", args.on(&now).unwrap_err()).contains("policy.yaml is no policy"));
    }
}
