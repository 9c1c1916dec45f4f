//! What a command is about to do to a campaign, as it is written down before the gate is told.
//!
//! It holds all that the next command needs to finish it, or to say why it cannot be finished: nothing in it depends on
//! when that is.

use crate::actor::Actor;
use crate::failed::LetterId;
use crate::terms::{Campaign, RoundsAndRules};
use rushgate_gate::{
    Applicant, Assignment, CampaignId, CampaignState, FencingToken, RoundId, Serial,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An intention of a command on a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intention {
    /// The campaign.
    pub campaign: CampaignId,
    /// Of the command that is to finish it.
    pub fence: FencingToken,
    /// Who ran the command that wrote it.
    pub actor: Actor,
    /// What is to be done.
    pub deed: Deed,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Other rounds, quotas, windows or another waitlist.
    Change {
        /// As it was.
        before: RoundsAndRules,
        /// As it is to be.
        after: RoundsAndRules,
    },
    /// Paused.
    Pause,
    /// Running again.
    Resume,
    /// Over for good.
    Close,
    /// A grant is taken back.
    Revoke {
        /// What is held.
        grant: Taken,
    },
    /// A dead letter of the bridge goes back on the stream.
    Replay {
        /// Its id among the dead letters.
        entry_id: String,
    },
    /// A dead letter is given up.
    Discard {
        /// Which.
        letter: String,
        /// What it said, for the log; nothing else keeps what an entry of the bridge said.
        content: Option<String>,
        /// The grant that it is about.
        about: Option<Taken>,
        /// The grant that is taken back with it.
        grant: Option<Taken>,
    },
    /// What an audit has found is repaired, as far as it can be proven.
    Repair {
        /// What is put on the stream again.
        resend: Vec<Taken>,
        /// What has its row, and the gate is told so.
        confirm: Vec<Taken>,
        /// Whether database and gate have different terms, and are to agree.
        agree: bool,
    },
}

/// A grant that is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The round, which does not depend on when this is done.
    pub round: RoundId,
    /// The serial.
    pub serial: Serial,
    /// Who holds it.
    pub user_id: Applicant,
}

impl Taken {
    /// The grant of `user_id`.
    pub fn new(round: RoundId, serial: Serial, user_id: Applicant) -> Self {
        Self {
            round,
            serial,
            user_id,
        }
    }
}

impl From<&Assignment> for Taken {
    fn from(place: &Assignment) -> Self {
        Self::new(place.round.clone(), place.serial, place.applicant.clone())
    }
}

impl From<Taken> for Assignment {
    fn from(taken: Taken) -> Self {
        Self {
            round: taken.round,
            serial: taken.serial,
            applicant: taken.user_id,
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {}", self.round, self.serial, self.user_id)
    }
}

impl Deed {
    /// A change of `before` into `after`.
    pub fn change(before: &Campaign, after: &Campaign) -> Self {
        Self::Change {
            before: before.rounds_and_rules(),
            after: after.rounds_and_rules(),
        }
    }

    /// That a dead letter is given up.
    pub fn discard(
        letter: &LetterId,
        content: Option<String>,
        about: Option<Taken>,
        grant: Option<Taken>,
    ) -> Self {
        Self::Discard {
            letter: letter.to_string(),
            content,
            about,
            grant,
        }
    }

    /// Whether it is one call of the gate, and then what the database writes: if that call is refused, nothing was done.
    pub fn is_one_call(&self) -> bool {
        !matches!(self, Self::Discard { .. } | Self::Repair { .. })
    }

    /// The state that the campaign is to have, if that is what is to be done.
    pub fn state(&self) -> Option<CampaignState> {
        match self {
            Self::Pause => Some(CampaignState::Paused),
            Self::Resume => Some(CampaignState::Running),
            Self::Close => Some(CampaignState::Closed),
            _ => None,
        }
    }
}

impl fmt::Display for Deed {
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
            Self::Discard { letter, .. } => write!(f, "discard of dead letter {letter}"),
            Self::Repair { .. } => f.write_str("repair"),
        }
    }
}

impl fmt::Display for Intention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.deed, self.actor)
    }
}
