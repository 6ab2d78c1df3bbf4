//! What is wrong between agent and broker, in words that say what to do.

use std::error::Error as _;

use brokkr_api::{ErrorCode, client::ClientError};

/// The agent has no key, or cannot read it.
pub(crate) const NO_KEY: &str = "no_key";

/// Why the broker gives no answer that the agent can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A word for the kind of trouble; another kind is told anew. [`NO_KEY`] when the agent cannot even ask.
    pub(crate) kind: &'static str,
    /// For people.
    pub(crate) text: String,
    /// Whether the broker refuses this agent: then its orders are void, nothing is changed in the cluster, and asking often
    /// does not help.
    pub(crate) refused: bool,
}

impl Trouble {
    pub(crate) fn of(error: &ClientError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        let code = error.code();
        let advice = code.and_then(advice);
        if let Some(advice) = advice {
            text = format!("{text} — {advice}");
        }
        let kind = match (code, error) {
            (Some(code), _) => code.as_str(),
            (None, ClientError::Key { .. }) => NO_KEY,
            (None, ClientError::Unreachable(_)) => "unreachable",
            (None, _) => "no_broker",
        };
        Self { kind, text, refused: is_refusal(error) }
    }
}

/// Whether the broker knows who asks and refuses, or does not know and refuses for that.
pub(crate) fn is_refusal(error: &ClientError) -> bool {
    error.code().is_some_and(|code| advice(code).is_some())
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::Unauthenticated => Some("check the agent's key: it was revoked, has expired, or is of another broker"),
        ErrorCode::Forbidden => Some("the agent needs a key of role agent"),
        ErrorCode::ClusterMismatch => Some("every cluster needs an agent of its own"),
        ErrorCode::AgentDeactivated => Some("activate it: brokkr agent activate NAME"),
        ErrorCode::DatabaseRestored => Some("run brokkr-broker restore-epoch"),
        ErrorCode::ProtocolUnsupported => Some("agent and broker are too far apart: update the older one"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::Problem;

    use super::*;

    fn problem(code: ErrorCode) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(code, "detail")))
    }

    #[test]
    fn a_refusal_says_what_to_do_and_an_outage_is_none() {
        let trouble = Trouble::of(&problem(ErrorCode::AgentDeactivated));
        assert!(trouble.refused && trouble.kind == "agent_deactivated" && trouble.text.contains("brokkr agent activate"));
        for code in [ErrorCode::DatabaseUnavailable, ErrorCode::Timeout, ErrorCode::RateLimited, ErrorCode::Internal] {
            assert!(!Trouble::of(&problem(code)).refused, "{}", code.as_str());
        }
        let outage = Trouble::of(&ClientError::Unreachable("connection refused".into()));
        assert_eq!((outage.kind, outage.refused), ("unreachable", false));
        assert!(outage.text.ends_with("connection refused"));
    }
}
