//! Counts what happened in all episodes: answers, retries, faults and repairs.

use crate::fault::Planned;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub(crate) struct Tally {
    faults: BTreeMap<String, u64>,
    /// Answers of all kinds.
    pub(crate) answers: u64,
    /// Applications that were sent again.
    pub(crate) retried: u64,
    /// Applicants who were granted a coupon.
    pub(crate) granted: u64,
    /// Coupons that their holders gave back.
    pub(crate) given_back: u64,
    /// Applicants who left the waitlist.
    pub(crate) left: u64,
    /// Coupons that could not be given back, because they were redeemed.
    pub(crate) kept: u64,
    /// Coupons that were given back or revoked.
    pub(crate) revoked: u64,
    pub(crate) redeemed: u64,
    /// Records that were in the topic more than once.
    pub(crate) published_again: u64,
    /// Records whose row existed when a consumer read them.
    pub(crate) already_done: u64,
    /// Bridges and consumers that died at a failpoint.
    pub(crate) dead_at_points: u64,
    /// Dead letters that were planted, and found.
    pub(crate) dead_letters: u64,
    /// Dead letters that were parked, and replayed by the consumers.
    pub(crate) replayed: u64,
    /// Campaigns that were rebuilt after Redis had lost grants.
    pub(crate) restored: u64,
    /// Commands of the operator.
    pub(crate) commands: u64,
    /// Commands whose effect was unknown.
    pub(crate) unknown: u64,
    /// Grants that were lost with Redis before Kafka had them.
    pub(crate) lost_with_redis: u64,
}

impl Tally {
    pub(crate) fn fault(&mut self, planned: &Planned) {
        *self.faults.entry(planned.fault.to_string()).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("answers", self.answers),
            ("applications sent again", self.retried),
            ("grants, each with its row", self.granted),
            ("coupons given back by their holders", self.given_back),
            ("places on the waitlist given up", self.left),
            ("coupons redeemed", self.redeemed),
            ("of which their holders wanted to give back", self.kept),
            ("coupons revoked or given back", self.revoked),
            ("redelivered to Kafka, absorbed", self.published_again),
            ("redelivered to the table, absorbed", self.already_done),
            ("deaths at named points", self.dead_at_points),
            ("dead letters, as planted", self.dead_letters),
            ("parked, and replayed by the consumers", self.replayed),
            ("commands of the operator", self.commands),
            ("of which interrupted, outcome unknown", self.unknown),
            ("campaigns restored", self.restored),
            (
                "grants lost with Redis before Kafka had them",
                self.lost_with_redis,
            ),
            ("faults", self.faults.values().sum()),
        ] {
            writeln!(f, "  {what:<46} {count:>9}")?;
        }
        for (fault, count) in &self.faults {
            writeln!(f, "    {fault:<44} {count:>9}")?;
        }
        Ok(())
    }
}
