//! Computes the coupon codes of rows, in campaigns with signed codes. A code is in no log, metric or error.

use rushgate_gate::failpoint::is_active;
use rushgate_gate::{CodeKeys, Codes, CouponCode, Event, KeyFingerprint};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::warn;

/// The keys of codes. Clones share what was logged.
#[derive(Clone, Debug)]
pub(crate) struct RowCodes {
    keys: CodeKeys,
    /// The missing keys that were logged.
    logged: Arc<Mutex<HashSet<KeyFingerprint>>>,
}

impl RowCodes {
    pub(crate) fn new(keys: CodeKeys) -> Self {
        Self {
            keys,
            logged: Arc::default(),
        }
    }

    /// The code of the event's row. `None` if the campaign has no signed codes, or if this consumer does not have the
    /// key of the campaign, which is logged once.
    pub(crate) fn of(&self, event: &Event, codes: Codes) -> Option<CouponCode> {
        let Codes::Signed(key) = codes else {
            return None;
        };
        let key = match is_active("bug::code_of_newest_key") {
            true => self.keys.newest().unwrap_or(key),
            false => key,
        };
        let code = self.keys.code(key, event.into());
        if code.is_none() {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.insert(key) {
                warn!(
                    campaign = %event.campaign,
                    %key,
                    "COUPON_CODE_KEYS lacks the key of a campaign: its rows are written without codes; set the key, \
                     restart, and run `rushgate coupon codes`"
                );
            }
        }
        code
    }
}
