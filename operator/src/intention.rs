//! An intention: what a command is about to do to a campaign. It is stored before the gate is changed.
//!
//! An intention contains everything that the next command needs to finish it, or to explain why it cannot be finished.
//! The result does not depend on the time at which that happens.

use crate::actor::Actor;
use crate::dead_letter::DeadLetterId;
use crate::terms::{Campaign, RoundsAndRules};
use rushgate_gate::{
    Applicant, Assignment, CampaignId, CampaignState, FencingToken, RoundId, Serial,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The stored intention of a command on a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intention {
    pub campaign: CampaignId,
    /// The token of the command that is to finish it.
    pub fence: FencingToken,
    /// Who ran the command that stored it.
    pub actor: Actor,
    pub task: Task,
    /// In the operator's words.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Change rounds, quotas, windows or the waitlist.
    Change {
        before: RoundsAndRules,
        after: RoundsAndRules,
    },
    Pause,
    Resume,
    Close,
    /// Revoke a grant.
    Revoke {
        grant: GrantRef,
    },
    /// Put a dead letter of the bridge back on the stream.
    Replay {
        /// Its id in the dead letter stream.
        entry_id: String,
    },
    /// Discard a dead letter.
    Discard {
        #[serde(rename = "letter")]
        dead_letter: String,
        /// Its content, for the log: nothing else keeps a discarded entry of the bridge.
        content: Option<String>,
        /// The grant that it is about.
        about: Option<GrantRef>,
        /// The grant to revoke with it.
        grant: Option<GrantRef>,
    },
    /// Repair an audit's findings, as far as they are certain.
    Repair {
        /// Grants to put on the stream again.
        resend: Vec<GrantRef>,
        /// Grants with a committed row that the gate does not know to be committed.
        confirm: Vec<GrantRef>,
        /// Terms or states of database and gate differ; make them agree.
        agree: bool,
    },
}

/// A grant in a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRef {
    /// Explicit, so that the task means the same round whenever it is finished.
    pub round: RoundId,
    pub serial: Serial,
    pub user_id: Applicant,
}

impl GrantRef {
    pub fn new(round: RoundId, serial: Serial, user_id: Applicant) -> Self {
        Self {
            round,
            serial,
            user_id,
        }
    }
}

impl From<&Assignment> for GrantRef {
    fn from(place: &Assignment) -> Self {
        Self::new(place.round.clone(), place.serial, place.applicant.clone())
    }
}

impl From<GrantRef> for Assignment {
    fn from(taken: GrantRef) -> Self {
        Self {
            round: taken.round,
            serial: taken.serial,
            applicant: taken.user_id,
        }
    }
}

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {}", self.round, self.serial, self.user_id)
    }
}

impl Task {
    pub fn change(before: &Campaign, after: &Campaign) -> Self {
        Self::Change {
            before: before.rounds_and_rules(),
            after: after.rounds_and_rules(),
        }
    }

    pub fn discard(
        dead_letter: &DeadLetterId,
        content: Option<String>,
        about: Option<GrantRef>,
        grant: Option<GrantRef>,
    ) -> Self {
        Self::Discard {
            dead_letter: dead_letter.to_string(),
            content,
            about,
            grant,
        }
    }

    /// Whether it is one call of the gate followed by one transaction: if that call is refused, nothing was done.
    pub fn is_one_call(&self) -> bool {
        !matches!(self, Self::Discard { .. } | Self::Repair { .. })
    }

    /// The state to set, if the task sets one.
    pub fn state(&self) -> Option<CampaignState> {
        match self {
            Self::Pause => Some(CampaignState::Paused),
            Self::Resume => Some(CampaignState::Running),
            Self::Close => Some(CampaignState::Closed),
            _ => None,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { before, after } => {
                write!(f, "change ({})", before.differences(after))
            }
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Close => f.write_str("close"),
            Self::Revoke { grant } => write!(f, "revoke {grant}"),
            Self::Replay { entry_id } => write!(f, "replay of dead letter {entry_id}"),
            Self::Discard { dead_letter, .. } => write!(f, "discard of dead letter {dead_letter}"),
            Self::Repair { .. } => f.write_str("repair"),
        }
    }
}

impl fmt::Display for Intention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.task, self.actor)
    }
}
