#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a comment that repeats the name has no use")]

pub mod applicant;
pub mod apply;
pub mod balance;
pub mod campaign;
pub mod confirm;
pub mod dead_letter;
pub mod event;
pub mod failpoint;
pub mod fence;
pub mod keys;
pub mod overview;
pub mod project;
pub mod projection;
pub mod readmit;
pub mod record;
#[cfg(feature = "redis")]
mod redis_rs;
pub mod refusal_cache;
pub mod resend;
pub mod restore;
pub mod revoke;
pub mod round;
pub mod script;
pub mod signature;
pub mod status;
pub mod stored_grants;
pub mod time;

mod text;

pub use applicant::Applicant;
pub use apply::{Decision, Grant, Waiting};
pub use campaign::{CampaignId, CampaignState, OnePer, Terms, UserIds, Waitlist};
pub use event::{Event, EventType, Ordinal};
pub use fence::FencingToken;
pub use keys::Keys;
pub use round::{Quota, Round, RoundId, Serial};
pub use script::{Call, ReplyError, Script, Value};
pub use stored_grants::Assignment;
pub use text::InvalidText;
pub use time::Millis;
