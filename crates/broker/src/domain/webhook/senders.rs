//! Whether there is anybody who sends, where agents are to.

use brokkr_api::{Labels, Name, TargetSelector, agents::SENDS_WEBHOOKS, webhooks::NoSender};

/// An agent that may be asked to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a Name,
    pub(crate) labels: &'a Labels,
    pub(crate) capabilities: &'a [String],
    pub(crate) online: bool,
}

/// Why none of these agents sends; nothing where one does.
pub(crate) fn no_sender<'a>(by: &TargetSelector, agents: impl Iterator<Item = Candidate<'a>>) -> Option<NoSender> {
    let mut why = NoSender::NoMatch;
    for agent in agents.filter(|agent| by.matches(agent.name, agent.labels)) {
        match (agent.capabilities.iter().any(|word| word == SENDS_WEBHOOKS), agent.online) {
            (true, true) => return None,
            (true, false) => why = NoSender::Offline,
            (false, _) if why == NoSender::NoMatch => why = NoSender::NotEnabled,
            (false, _) => {}
        }
    }
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_one_of_the_agent_that_comes_nearest_to_sending() {
        let (name, labels): (Name, Labels) = ("edge".parse().unwrap(), Labels::default());
        let sends = [SENDS_WEBHOOKS.to_owned()];
        let agent = |capabilities, online| Candidate { name: &name, labels: &labels, capabilities, online };
        let (nobody, everyone) = (TargetSelector::default(), TargetSelector::everyone());
        let of = |by: &TargetSelector, agents: &[Candidate<'_>]| no_sender(by, agents.iter().copied());
        assert_eq!(of(&nobody, &[agent(&sends, true)]), Some(NoSender::NoMatch));
        assert_eq!(of(&everyone, &[]), Some(NoSender::NoMatch));
        assert_eq!(of(&everyone, &[agent(&[], true)]), Some(NoSender::NotEnabled));
        assert_eq!(of(&everyone, &[agent(&sends, false), agent(&[], true)]), Some(NoSender::Offline));
        assert_eq!(of(&everyone, &[agent(&[], true), agent(&sends, false), agent(&sends, true)]), None);
    }
}
