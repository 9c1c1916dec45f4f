//! Finds the campaigns whose streams this bridge can read.

use crate::kafka::record::ValueFormat;
use crate::stream::connection::{LazyConnection, StreamError};
use redis::{RedisError, cmd};
use rushgate_gate::keys::CAMPAIGNS;
use rushgate_gate::{CampaignId, Keys, UserIds};
use rushgate_startup::redis_dangers;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Campaigns {
    value_format: ValueFormat,
    /// Campaigns known to take numeric user ids only. That never changes for a campaign.
    numeric: BTreeSet<CampaignId>,
    /// Whether unsafe Redis settings have been logged already.
    has_checked_settings: bool,
    /// Problems that have been logged already, so that each is logged once.
    logged: BTreeSet<String>,
}

impl Campaigns {
    pub(crate) fn new(value_format: ValueFormat) -> Self {
        Self {
            value_format,
            numeric: BTreeSet::new(),
            has_checked_settings: false,
            logged: BTreeSet::new(),
        }
    }

    /// Returns the campaigns whose streams are read, and the number of those that are not, because their user
    /// ids may not fit the value format.
    pub(crate) async fn find(
        &mut self,
        link: &mut LazyConnection,
    ) -> Result<(BTreeSet<CampaignId>, usize), StreamError> {
        if !self.has_checked_settings {
            self.warn_about_settings(link).await?;
        }
        let (members, is_lost) = link.campaigns().await?;
        if is_lost && self.logged.insert(CAMPAIGNS.to_owned()) {
            tracing::error!(
                key = CAMPAIGNS,
                "Redis has lost the set of campaigns; their names are read from its index. Run `rushgate setup` to write the set again"
            );
        }
        let mut campaigns = BTreeSet::new();
        for member in members {
            let member = String::from_utf8_lossy(&member);
            match member.parse() {
                Ok(campaign) => {
                    campaigns.insert(campaign);
                }
                Err(error) => {
                    if self.logged.insert(format!("campaign {member}")) {
                        tracing::warn!(%error, key = CAMPAIGNS, "a member is not a campaign id; it was skipped");
                    }
                }
            }
        }
        let found = campaigns.len();
        if self.value_format == ValueFormat::Long {
            self.exclude_non_numeric(link, &mut campaigns).await?;
        }
        let unread = found - campaigns.len();
        Ok((campaigns, unread))
    }

    /// Logs Redis settings that may lose grants. Skipped if the Redis user may not run INFO.
    async fn warn_about_settings(&mut self, link: &mut LazyConnection) -> Result<(), StreamError> {
        let mut info = cmd("INFO");
        info.arg("memory").arg("persistence");
        match link.ask(&info).await {
            Ok(info) => {
                let info: String = redis::from_redis_value(info).map_err(RedisError::from)?;
                for danger in redis_dangers(&info, None) {
                    tracing::warn!("Redis: {}", danger.message);
                }
            }
            Err(error) if error.code().is_some() => {}
            Err(error) => return Err(error.into()),
        }
        self.has_checked_settings = true;
        Ok(())
    }

    /// Removes the campaigns whose user ids may not be numbers: their grants stay in the stream for a bridge
    /// that can publish them. Campaigns that are older than this rule do not say which user ids they take. They
    /// are read, and only entries whose user id is not a number become dead letters.
    async fn exclude_non_numeric(
        &mut self,
        link: &mut LazyConnection,
        campaigns: &mut BTreeSet<CampaignId>,
    ) -> Result<(), StreamError> {
        let asked: Vec<CampaignId> = campaigns.difference(&self.numeric).cloned().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut commands = redis::pipe();
        for campaign in &asked {
            let command = commands.cmd("HMGET").arg(Keys::of(campaign).campaign());
            command.arg("state").arg("user_ids");
        }
        let replies = link.ask_all(commands.ignore_errors()).await?;
        for (campaign, reply) in asked.into_iter().zip(replies) {
            // After an error, such as that of a key of another type, the campaign counts as unknown.
            let known = reply.and_then(|known| Ok(redis::from_redis_value(known)?));
            let (state, word): (Option<String>, Option<String>) = known.unwrap_or_default();
            if state.is_none() {
                // The operator's command has not written the campaign to the gate yet, so it has no grants.
                campaigns.remove(&campaign);
                continue;
            }
            let user_ids = word.and_then(|word| word.parse().ok());
            match user_ids {
                Some(UserIds::Numeric) => {
                    self.numeric.insert(campaign);
                }
                Some(UserIds::Any) => {
                    if self.logged.insert(format!("any user ids in {campaign}")) {
                        tracing::error!(
                            %campaign,
                            "the stream of this campaign is not read: KAFKA_VALUE_FORMAT=long can carry numeric user ids only. Run a \
                             bridge with KAFKA_VALUE_FORMAT=json for it, or create campaigns with --user-ids numeric"
                        );
                    }
                    campaigns.remove(&campaign);
                }
                Some(UserIds::Unstated) | None => {
                    if self
                        .logged
                        .insert(format!("no word on user ids in {campaign}"))
                    {
                        tracing::warn!(
                            %campaign,
                            "this campaign does not say that its user ids are numbers: an entry with another user id becomes a dead \
                             letter, because KAFKA_VALUE_FORMAT=long cannot carry it"
                        );
                    }
                }
            }
        }
        Ok(())
    }
}
