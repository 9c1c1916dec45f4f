#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a comment that repeats the name has no use")]

// The terms: what a campaign, a round, an applicant and an event are, and how they are written.
pub mod applicant;
pub mod campaign;
pub mod coupon_code;
pub mod event;
pub mod fence;
pub mod key_fingerprint;
pub mod pool_code;
pub mod record;
pub mod round;
pub mod secret_keys;
pub mod signature;
mod text;
pub mod time;

// What Redis stores, and how a script is called.
pub mod dead_letter;
pub mod keys;
#[cfg(feature = "redis")]
mod redis_rs;
pub mod script;
mod sha1;
pub mod stored_grants;

// The scripts of applicants.
pub mod apply;
pub mod cancel;
pub mod overview;
pub mod refusal_cache;
pub mod status;

// The scripts of the consumer, on the way back.
pub mod confirm;
pub mod readmit;

// The scripts of operators.
pub mod balance;
pub mod load_codes;
pub mod project;
pub mod projection;
pub mod redeem;
pub mod resend;
pub mod restore;
pub mod revoke;

// What errors say.
pub mod tls_error;

// Faults that tests switch on.
pub mod failpoint;

pub use applicant::Applicant;
pub use apply::{Decision, Grant, GrantCode, Waiting};
pub use campaign::{
    CampaignId, CampaignState, Codes, OnePer, PromoteUntil, ShowRemaining, Terms, UserIds, Waitlist,
};
pub use coupon_code::{CodeKeys, CodeOf, CouponCode};
pub use event::{Event, EventType, Ordinal};
pub use fence::FencingToken;
pub use key_fingerprint::KeyFingerprint;
pub use keys::Keys;
pub use pool_code::{CanonicalCode, PoolCode};
pub use round::{Quota, Round, RoundId, Serial};
pub use script::{Call, ReplyError, Script, Value};
pub use stored_grants::Assignment;
pub use text::InvalidText;
pub use time::Millis;
