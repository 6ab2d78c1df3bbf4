//! Which events a webhook gets.

use brokkr_api::{GeneratorId, Labels, Name, TargetSelector};
use serde::Deserialize;

use super::TEST;

/// What of a webhook's settings decides who gets what, as it is stored. A newer broker may have stored more than this one knows: no reason to
/// refuse a change.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Wishes {
    events: Vec<String>,
    stacks: Option<TargetSelector>,
    agents: Option<TargetSelector>,
    #[serde(default)]
    generators: Vec<Name>,
    pub(crate) ordered: bool,
}

/// What an event is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) stack: Option<SubjectStack>,
    pub(crate) agent: Option<(Name, Labels)>,
}

/// The stack that an event is about.
#[derive(Debug, Clone)]
pub(crate) struct SubjectStack {
    pub(crate) name: Name,
    pub(crate) labels: Labels,
    pub(crate) generator: Option<(GeneratorId, Name)>,
}

/// Whether a webhook of this owner gets the event. A generator's gets events about its own stacks, as the generator itself does.
pub(crate) fn wants(wishes: &Wishes, owner: Option<GeneratorId>, subject: &Subject) -> bool {
    if subject.kind == TEST || !wishes.events.iter().any(|pattern| fits(pattern, &subject.kind)) {
        return false;
    }
    let generator = subject.stack.as_ref().and_then(|stack| stack.generator.as_ref());
    let is_own = owner.is_none_or(|owner| generator.is_some_and(|(id, _)| *id == owner));
    let of_generators = wishes.generators.is_empty() || generator.is_some_and(|(_, name)| wishes.generators.contains(name));
    let of_stacks = wishes
        .stacks
        .as_ref()
        .is_none_or(|wanted| subject.stack.as_ref().is_some_and(|stack| wanted.matches(&stack.name, &stack.labels)));
    let of_agents = wishes
        .agents
        .as_ref()
        .is_none_or(|wanted| subject.agent.as_ref().is_some_and(|(name, labels)| wanted.matches(name, labels)));
    is_own && of_generators && of_stacks && of_agents
}

/// Whether a type fits a pattern: itself, `*`, or a beginning and `.*`.
fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

/// Whether a text is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let words = text.strip_suffix(".*").unwrap_or(text);
    text.len() <= 64 && (text == "*" || words.split('.').all(is_word))
}

#[cfg(test)]
mod tests {
    use brokkr_api::{LabelSelector, Timestamp, webhooks::WebhookSettings};
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    fn labels(text: &str) -> Labels {
        serde_json::from_str(text).unwrap()
    }

    fn selector(text: &str) -> Option<TargetSelector> {
        Some(TargetSelector {
            labels: Some(LabelSelector { match_labels: labels(text), ..LabelSelector::default() }),
            ..TargetSelector::default()
        })
    }

    fn applied() -> (Subject, GeneratorId) {
        let team = GeneratorId(SeededIds::new(1).uuid(Timestamp::from_micros(0)));
        let name = |text: &str| text.parse::<Name>().unwrap();
        let stack =
            SubjectStack { name: name("shop"), labels: labels(r#"{"tier": "web"}"#), generator: Some((team, name("team"))) };
        let agent = Some((name("edge"), labels(r#"{"site": "eu"}"#)));
        (Subject { kind: "deployment.applied".to_owned(), stack: Some(stack), agent }, team)
    }

    /// As they are read when they were stored.
    fn with(change: impl FnOnce(&mut WebhookSettings)) -> Wishes {
        let mut settings = WebhookSettings::default();
        change(&mut settings);
        serde_json::from_value(serde_json::to_value(settings).unwrap()).unwrap()
    }

    #[test]
    fn types_are_chosen_by_name_by_beginning_or_all() {
        let (subject, _) = applied();
        for (pattern, wanted) in [
            ("*", true),
            ("deployment.*", true),
            ("deployment.applied", true),
            ("deployment.appl", false),
            ("deployment", false),
            ("stack.*", false),
            ("deploy.*", false),
        ] {
            let settings = with(|settings| settings.events = vec!["agent.offline".to_owned(), pattern.to_owned()]);
            assert_eq!(wants(&settings, None, &subject), wanted, "{pattern}");
            assert!(is_pattern(pattern));
        }
        for wrong in ["", ".", "a.", ".*", "**", "*.a", "a*", "A", "a b", "a..b", &"a".repeat(65)] {
            assert!(!is_pattern(wrong), "{wrong}");
        }
    }

    #[test]
    fn stack_agent_and_generator_all_have_to_be_the_wanted_ones() {
        let (subject, _) = applied();
        let elsewhere = Subject { kind: "agent.offline".to_owned(), stack: None, agent: subject.agent.clone() };
        let cases: [(Wishes, bool, bool); 6] = [
            (with(|s| s.stacks = selector(r#"{"tier": "web"}"#)), true, false),
            (with(|s| s.stacks = selector(r#"{"tier": "db"}"#)), false, false),
            (with(|s| s.agents = selector(r#"{"site": "eu"}"#)), true, true),
            (with(|s| s.agents = selector(r#"{"site": "us"}"#)), false, false),
            (with(|s| s.generators = vec!["team".parse().unwrap()]), true, false),
            (with(|s| s.generators = vec!["others".parse().unwrap()]), false, false),
        ];
        for (settings, of_deployment, of_agent) in cases {
            assert_eq!(wants(&settings, None, &subject), of_deployment, "{settings:?}");
            assert_eq!(wants(&settings, None, &elsewhere), of_agent, "{settings:?}");
        }
    }

    #[test]
    fn settings_of_a_newer_broker_are_read_as_far_as_this_one_knows_them() {
        let mut stored = serde_json::to_value(WebhookSettings::default()).unwrap();
        stored["invented_later"] = serde_json::json!({"a": 1});
        assert!(wants(&serde_json::from_value(stored).unwrap(), None, &applied().0));
    }

    #[test]
    fn a_generator_hears_of_its_own_stacks_alone_and_nobody_of_a_test() {
        let (subject, team) = applied();
        let other = GeneratorId(SeededIds::new(2).uuid(Timestamp::from_micros(0)));
        let everything = with(|_| ());
        assert!(wants(&everything, Some(team), &subject) && !wants(&everything, Some(other), &subject));
        assert!(!wants(&everything, Some(team), &Subject { stack: None, ..subject.clone() }));
        assert!(!wants(&everything, None, &Subject { kind: TEST.to_owned(), ..subject }));
    }
}
