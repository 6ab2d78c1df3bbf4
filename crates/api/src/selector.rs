//! Which agents a stack is for: label selectors of Kubernetes, and names.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Labels, Name,
    labels::{InvalidLabels, is_label_key, is_label_value},
};

/// Most expressions, values or names that one selector may hold.
pub const MAX_SELECTOR_ITEMS: usize = 256;

/// A label selector with the syntax and meaning of Kubernetes; every requirement must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub match_labels: Labels,
    /// Requirements beyond equality.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; must be absent for the other operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Operators of a [`Requirement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Operator {
    /// The label exists and its value is one of the values.
    In,
    /// The label does not exist, or its value is none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

/// Which agents a stack is for. With neither labels nor names it selects nobody; `labels: {}` selects everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetSelector {
    /// Agents whose labels match. An empty selector matches every agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelSelector>,
    /// Agents of these names, in addition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Name>,
}

/// Why a selector is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// A label key or value is malformed.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// `In` and `NotIn` compare with values, and have none here.
    #[error("matchExpressions[{0}]: In and NotIn need at least one value")]
    ValuesMissing(usize),
    /// `Exists` and `DoesNotExist` take no values.
    #[error("matchExpressions[{0}]: Exists and DoesNotExist take no values")]
    ValuesNotAllowed(usize),
    /// The selector is larger than [`MAX_SELECTOR_ITEMS`].
    #[error("a selector holds at most {MAX_SELECTOR_ITEMS} expressions, values or names")]
    TooLarge,
}

impl LabelSelector {
    /// Checks keys, values and their number.
    ///
    /// # Errors
    /// The first rule that is broken, with the place.
    pub fn validate(&self) -> Result<(), InvalidSelector> {
        let values: usize = self.match_expressions.iter().map(|e| e.values.len()).sum();
        if self.match_expressions.len() > MAX_SELECTOR_ITEMS || values > MAX_SELECTOR_ITEMS {
            return Err(InvalidSelector::TooLarge);
        }
        for (index, requirement) in self.match_expressions.iter().enumerate() {
            if !is_label_key(&requirement.key) {
                return Err(InvalidLabels::Key(requirement.key.chars().take(80).collect()).into());
            }
            if !requirement.values.iter().all(|value| is_label_value(value)) {
                return Err(InvalidLabels::Value(requirement.key.clone()).into());
            }
            let wants_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            if wants_values && requirement.values.is_empty() {
                return Err(InvalidSelector::ValuesMissing(index));
            }
            if !wants_values && !requirement.values.is_empty() {
                return Err(InvalidSelector::ValuesNotAllowed(index));
            }
        }
        Ok(())
    }

    /// Whether the labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|value| self.values.iter().any(|candidate| candidate == value));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl TargetSelector {
    /// A selector that matches every agent.
    #[must_use]
    pub fn everyone() -> Self {
        Self { labels: Some(LabelSelector::default()), names: Vec::new() }
    }

    /// Checks the label selector and the number of names.
    ///
    /// # Errors
    /// The first rule that is broken, with the place.
    pub fn validate(&self) -> Result<(), InvalidSelector> {
        if self.names.len() > MAX_SELECTOR_ITEMS {
            return Err(InvalidSelector::TooLarge);
        }
        self.labels.as_ref().map_or(Ok(()), LabelSelector::validate)
    }

    /// Whether an agent of this name with these labels is selected.
    #[must_use]
    pub fn matches(&self, name: &Name, labels: &Labels) -> bool {
        self.names.contains(name) || self.labels.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let map: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Labels::try_from(map).unwrap()
    }

    fn requirement(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        let match_expressions = vec![Requirement { key: key.to_owned(), operator, values }];
        LabelSelector { match_expressions, ..LabelSelector::default() }
    }

    #[test]
    fn operators_mean_what_kubernetes_says() {
        let eu = labels(&[("region", "eu")]);
        let none = Labels::default();
        for (operator, values, with, without) in [
            (Operator::In, vec!["eu", "us"], true, false),
            (Operator::In, vec!["us"], false, false),
            (Operator::NotIn, vec!["eu"], false, true),
            (Operator::NotIn, vec!["us"], true, true),
            (Operator::Exists, vec![], true, false),
            (Operator::DoesNotExist, vec![], false, true),
        ] {
            let selector = requirement("region", operator, &values);
            selector.validate().unwrap();
            assert_eq!(selector.matches(&eu), with, "{operator:?} {values:?} with the label");
            assert_eq!(selector.matches(&none), without, "{operator:?} {values:?} without it");
        }
    }

    #[test]
    fn an_absent_selector_is_nobody_and_an_empty_one_everybody() {
        let name: Name = "edge".parse().unwrap();
        assert!(!TargetSelector::default().matches(&name, &Labels::default()));
        assert!(TargetSelector::everyone().matches(&name, &Labels::default()));
        let by_name = TargetSelector { names: vec![name.clone()], labels: None };
        assert!(by_name.matches(&name, &Labels::default()));
    }

    #[test]
    fn values_where_none_belong_are_refused_with_their_place() {
        let error = requirement("a", Operator::Exists, &["x"]).validate().unwrap_err();
        assert_eq!(error, InvalidSelector::ValuesNotAllowed(0));
        let error = requirement("a", Operator::In, &[]).validate().unwrap_err();
        assert_eq!(error, InvalidSelector::ValuesMissing(0));
    }
}
