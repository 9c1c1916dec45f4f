//! The coupon codes that responses contain: only where identities are proven, so that an applicant reads no other
//! applicant's code by guessing a user id. A code is in no log line and in no header.

use rushgate_gate::{Applicant, CampaignId, CodeKeys, CodeOf, Grant, GrantCode};
use std::sync::Once;

/// The code of a grant, as far as a response contains it.
#[derive(Default)]
pub(crate) struct CodeInResponse {
    pub(crate) code: Option<String>,
    /// The campaign has signed codes, and this handler does not have its key; or the code is not loaded yet.
    pub(crate) is_unavailable: bool,
}

impl CodeInResponse {
    /// `keys` is `None` where identities are not proven.
    pub(crate) fn of(
        keys: Option<&CodeKeys>,
        campaign: &CampaignId,
        applicant: &Applicant,
        grant: &Grant,
    ) -> Self {
        let Some(keys) = keys else {
            return Self::default();
        };
        let key = match &grant.code {
            GrantCode::None => return Self::default(),
            GrantCode::Pool(code) => {
                return Self {
                    is_unavailable: code.is_none(),
                    code: code.as_ref().map(|code| code.as_str().to_owned()),
                };
            }
            GrantCode::Signed(key) => *key,
        };
        let of = CodeOf {
            campaign,
            round: &grant.round,
            serial: grant.serial,
            turn: grant.turn,
            applicant,
        };
        let code = keys.code(key, of).map(|code| code.to_string());
        if code.is_none() {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| {
                eprintln!(
                    "variable coupon_code_keys lacks the key {key} of campaign {campaign}: responses have no code"
                );
            });
        }
        Self {
            is_unavailable: code.is_none(),
            code,
        }
    }
}
