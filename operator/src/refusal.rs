//! Why a command was refused, or failed: a stable code for scripts, with the message for operators.

use serde::Serialize;
use std::fmt;

/// Ends a function with a [`Refusal`].
macro_rules! refuse {
    ($code:ident, $($message:tt)+) => {
        anyhow::bail!($crate::refusal::Refusal::new(
            $crate::refusal::ErrorCode::$code,
            format!($($message)+)
        ))
    };
}
pub(crate) use refuse;

/// Declares the codes with their words.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// A stable code, on which scripts may branch. docs/operating.md says what each one means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl ErrorCode {
            /// The words of all codes.
            pub const ALL: &[&'static str] = &[$($word),+];
        }
    };
}

error_codes! {
    /// The arguments are wrong.
    Usage => "usage",
    /// A setting cannot be used.
    BadSetting => "bad_setting",
    /// Interrupted: it may or may not have taken effect.
    Interrupted => "interrupted",
    /// A command that only reads: not everything could be read.
    Incomplete => "incomplete",
    /// A server does not answer, or refuses the connection.
    ServerUnavailable => "server_unavailable",
    /// A server has answered with an error.
    ServerRefused => "server_refused",
    NoSuchCampaign => "no_such_campaign",
    /// A campaign of this name has other terms.
    CampaignExists => "campaign_exists",
    CampaignClosed => "campaign_closed",
    CampaignHalted => "campaign_halted",
    CampaignNotHalted => "campaign_not_halted",
    /// Redis has lost the campaign.
    CampaignLost => "campaign_lost",
    /// Another command is changing the campaign, or has taken it over.
    CampaignBusy => "campaign_busy",
    NoSuchRound => "no_such_round",
    /// The terms contradict each other, or the campaign.
    InvalidTerms => "invalid_terms",
    QuotaBelowGranted => "quota_below_granted",
    RoundHasGrants => "round_has_grants",
    /// The applicant holds no such grant.
    NoSuchGrant => "no_such_grant",
    CouponRedeemed => "coupon_redeemed",
    CouponRevoked => "coupon_revoked",
    CouponExpired => "coupon_expired",
    NoSuchCode => "no_such_code",
    /// The campaign has no codes of this kind, or their key is missing.
    NoCodes => "no_codes",
    /// `codes load`: a line of the input is no code, or has the code of another line or campaign, or the codes are too
    /// many.
    CodesRefused => "codes_refused",
    NoSuchDeadLetter => "no_such_dead_letter",
    /// Something else was done with the dead letter before.
    DeadLetterResolved => "dead_letter_resolved",
    /// The dead letter cannot be dealt with in this way.
    DeadLetterUnusable => "dead_letter_unusable",
    /// Any other refusal.
    Refused => "refused",
}

/// A refusal: nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: ErrorCode,
    message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The same refusal, with more at the end of its message.
    #[must_use]
    pub fn and(self, more: impl fmt::Display) -> Self {
        Self {
            message: format!("{}{more}", self.message),
            ..self
        }
    }
}
