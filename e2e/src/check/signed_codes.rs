//! The signed codes that a campaign has.

use crate::history::Place;
use rushgate_gate::{CampaignId, CodeKeys, CodeOf, KeyFingerprint};

/// The signed codes of a campaign.
#[derive(Clone, Debug)]
pub struct SignedCodes {
    pub campaign: CampaignId,
    pub keys: CodeKeys,
    /// The key of the campaign.
    pub key: KeyFingerprint,
}

impl SignedCodes {
    /// The code of a grant.
    pub fn code(&self, user_id: &str, place: &Place, turn: u32) -> Option<String> {
        let of = CodeOf {
            campaign: &self.campaign,
            round: &place.round.parse().ok()?,
            serial: place.serial.try_into().ok()?,
            turn: turn.try_into().ok()?,
            applicant: &user_id.parse().ok()?,
        };
        Some(self.keys.code(self.key, of)?.to_string())
    }
}
