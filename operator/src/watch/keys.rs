//! The state of the screen, and what a key does to it. A campaign is changed only after a question.

use super::sample::{CampaignSample, Sample};
use ratatui::crossterm::event::KeyCode;
use rushgate_gate::{CampaignId, RoundId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Samples that the chart shows: four minutes.
pub(super) const HISTORY: usize = 240;

/// What the operator may do to a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Open the next round now.
    Open(RoundId),
    Pause,
    Resume,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(round) => write!(f, "open round {round} now"),
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
        }
    }
}

/// What is to be done after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Run(CampaignId, Action),
}

#[derive(Default)]
pub(super) struct Screen {
    pub(super) sample: Option<Sample>,
    /// The number of granted coupons in each of the last samples, by campaign.
    pub(super) history: BTreeMap<CampaignId, VecDeque<u64>>,
    selected: Option<CampaignId>,
    /// Waits for an answer.
    pub(super) question: Option<(CampaignId, Action)>,
    /// What the last action has done.
    pub(super) status: String,
}

impl Screen {
    /// Shows another sample.
    pub(super) fn show(&mut self, sample: Sample) {
        for campaign in &sample.campaigns {
            let history = self.history.entry(campaign.campaign.clone()).or_default();
            // An unknown figure leaves the chart as it was.
            let before = history.back().copied().unwrap_or(0);
            history.push_back(campaign.funnel.granted.unwrap_or(before));
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.sample = Some(sample);
    }

    /// The campaigns of the last sample.
    pub(super) fn campaigns(&self) -> &[CampaignSample] {
        self.sample.as_ref().map_or(&[], |sample| &sample.campaigns)
    }

    /// The place of the selected campaign among them, by default the first.
    pub(super) fn place(&self) -> usize {
        let mut campaigns = self.campaigns().iter();
        let place = self
            .selected
            .as_ref()
            .and_then(|selected| campaigns.position(|campaign| campaign.campaign == *selected));
        place.unwrap_or(0)
    }

    pub(super) fn selected(&self) -> Option<&CampaignSample> {
        self.campaigns().get(self.place())
    }

    /// What the key asks for.
    pub(super) fn press(&mut self, key: KeyCode) -> Option<Effect> {
        if let Some((campaign, action)) = self.question.take() {
            return match key {
                KeyCode::Char('y') => {
                    self.status = format!("{campaign}: {action} …");
                    Some(Effect::Run(campaign, action))
                }
                _ => {
                    self.status = "nothing was done".to_owned();
                    None
                }
            };
        }
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Effect::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.place().saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.place() + 1),
            KeyCode::Char('p') => self.ask(Action::Pause),
            KeyCode::Char('r') => self.ask(Action::Resume),
            KeyCode::Char('o') => {
                let next = self.selected().and_then(|campaign| {
                    let (round, _) = campaign.counts.overview()?.next.as_ref()?;
                    Some(round.clone())
                });
                match next {
                    Some(round) => self.ask(Action::Open(round)),
                    None => self.status = "no round is still to open".to_owned(),
                }
            }
            _ => {}
        }
        None
    }

    fn select(&mut self, place: usize) {
        if let Some(campaign) = self.campaigns().get(place) {
            self.selected = Some(campaign.campaign.clone());
        }
    }

    fn ask(&mut self, action: Action) {
        if let Some(campaign) = self.selected() {
            self.question = Some((campaign.campaign.clone(), action));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{id, millis, reading, sampled, topic};
    use super::*;
    use crate::gate::GateReading;
    use rushgate_gate::CampaignState;

    fn screen() -> Screen {
        let mut screen = Screen::default();
        let mut later = reading("b", CampaignState::Running, 7, 7, 0);
        if let Some(Some(overview)) = &mut later.overview {
            overview.next = Some((RoundId::once(), millis(200_000)));
        }
        let gate = GateReading {
            campaigns: vec![reading("a", CampaignState::Running, 5, 5, 0), later],
            ..GateReading::default()
        };
        screen.show(sampled(gate, topic(0, 1), None));
        screen
    }

    #[test]
    fn a_campaign_is_changed_only_after_yes() {
        let mut screen = screen();
        assert_eq!(screen.press(KeyCode::Char('p')), None);
        assert_eq!(screen.question, Some((id("a"), Action::Pause)));
        assert_eq!(screen.press(KeyCode::Char('x')), None);
        assert_eq!(
            (screen.question.clone(), &*screen.status),
            (None, "nothing was done")
        );
        screen.press(KeyCode::Char('r'));
        let effect = screen.press(KeyCode::Char('y'));
        assert_eq!(effect, Some(Effect::Run(id("a"), Action::Resume)));
        assert_eq!(screen.press(KeyCode::Char('y')), None, "it was answered");
        // Not even `q` leaves without an answer.
        screen.press(KeyCode::Char('p'));
        assert_eq!(screen.press(KeyCode::Char('q')), None);
        assert_eq!(screen.press(KeyCode::Char('q')), Some(Effect::Quit));
    }

    #[test]
    fn keys_select_a_campaign_and_stop_at_the_ends() {
        let mut screen = screen();
        let mut at = |keys: &[KeyCode]| {
            for key in keys {
                screen.press(*key);
            }
            screen
                .selected()
                .map(|campaign| campaign.campaign.to_string())
        };
        assert_eq!(at(&[]).as_deref(), Some("a"));
        assert_eq!(at(&[KeyCode::Down]).as_deref(), Some("b"));
        assert_eq!(at(&[KeyCode::Down]).as_deref(), Some("b"));
        assert_eq!(at(&[KeyCode::Up, KeyCode::Up]).as_deref(), Some("a"));
    }

    #[test]
    fn only_a_round_that_is_still_to_open_can_be_opened() {
        let mut screen = screen();
        screen.press(KeyCode::Char('o'));
        assert_eq!(screen.question, None);
        assert!(!screen.status.is_empty());
        screen.press(KeyCode::Down);
        screen.press(KeyCode::Char('o'));
        assert_eq!(
            screen.question,
            Some((id("b"), Action::Open(RoundId::once())))
        );
    }

    #[test]
    fn the_history_is_bounded() {
        let mut screen = Screen::default();
        for granted in 0..300 {
            let gate = GateReading {
                campaigns: vec![reading("a", CampaignState::Running, granted % 100, 0, 0)],
                ..GateReading::default()
            };
            screen.show(sampled(gate, topic(0, 1), None));
        }
        let history = &screen.history[&id("a")];
        assert_eq!((history.len(), history.back()), (HISTORY, Some(&99)));
    }
}
