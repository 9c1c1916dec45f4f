//! The command `rushgate campaign create`, which creates a campaign with one round, or with one round a day.

use super::instant::instant;
use super::report::{CampaignReport, report};
use crate::config::Config;
use crate::operation::{Done, Reserved, lost, unknown_creation};
use crate::refusal::refuse;
use crate::schedule::Daily;
use crate::stderr;
use crate::terms::Campaign;
use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;
use jiff::civil::{Date, Time};
use rushgate_gate::project::Origin;
use rushgate_gate::{
    CampaignId, CampaignState, Codes, Millis, OnePer, PromoteUntil, Quota, Round, RoundId,
    ShowRemaining, Terms, UserIds, Waitlist,
};

pub(super) const EXAMPLES: &str = "Examples:
  Open now, until sold out:
    rushgate campaign create --id welcome --quota 100
  Open once, for two hours:
    rushgate campaign create --id launch --quota 500 --opens-at 2026-12-01T10:00:00+09:00 --closes-at 2026-12-01T12:00:00+09:00
  A hundred coupons a day at 10:00 in Seoul, with a waitlist of fifty:
    rushgate campaign create --id advent --quota 100 --waitlist 50 --one-per round \\
      --from 2026-12-01 --to 2026-12-25 --daily 10:00 --for 2h --timezone Asia/Seoul";

/// The arguments of `campaign create`.
#[derive(Args)]
pub struct Create {
    /// The campaign's id: 1 to 48 characters of a-z 0-9 - _
    #[arg(long)]
    id: CampaignId,
    /// Coupons in each round
    #[arg(long)]
    quota: Quota,
    /// How often one applicant may win: once in the campaign, or once in every round
    #[arg(long, default_value_t = OnePer::Campaign)]
    one_per: OnePer,
    /// Applicants that may wait in each round: 0 to 10000
    #[arg(long, value_name = "PEOPLE", default_value_t = Waitlist::default())]
    waitlist: Waitlist,
    /// Accepted user ids: any, or only whole numbers from 0 to 2^63-1, which KAFKA_VALUE_FORMAT=long requires; cannot
    /// be changed later
    #[arg(long, value_name = "WHICH", default_value = UserIds::Any.as_str())]
    #[arg(value_parser = PossibleValuesParser::new([UserIds::Any, UserIds::Numeric].map(UserIds::as_str)).try_map(|word| word.parse::<UserIds>()))]
    user_ids: UserIds,
    /// Codes of the coupons: none; signed: computed with the first of COUPON_CODE_KEYS; pool: those that `rushgate codes
    /// load` loads; cannot be changed later
    #[arg(long, value_name = "WHICH", default_value = Codes::None.as_str())]
    #[arg(value_parser = PossibleValuesParser::new(["none", "signed", "pool"]))]
    codes: String,
    /// Applicants may give their coupon back themselves
    #[arg(long)]
    self_cancel: bool,
    /// How long a freed coupon goes to the waitlist: until the round closes, or forever; default: closes
    #[arg(long, value_name = "UNTIL", value_parser = promote_until())]
    promote_until: Option<PromoteUntil>,
    /// Coupons can be redeemed until this instant; default: forever
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    valid_until: Option<Millis>,
    /// What the API tells of the coupons that are left: every count (exact), many, few or none (rough), or
    /// nothing (hidden)
    #[arg(long, value_name = "HOW", default_value = ShowRemaining::Exact.as_str(), value_parser = show_remaining())]
    show_remaining: ShowRemaining,
    /// One round that opens at this instant, such as 2026-12-01T10:00:00+09:00; default: now
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with = "from")]
    opens_at: Option<Millis>,
    /// The round closes at this instant; default: never
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with = "from")]
    closes_at: Option<Millis>,
    /// One round a day, from this day on, such as 2026-12-01
    #[arg(long, value_name = "DAY", requires_all = ["to", "daily", "open_for", "timezone"])]
    from: Option<Date>,
    /// The last day
    #[arg(long, value_name = "DAY", requires = "from")]
    to: Option<Date>,
    /// Local time at which each round opens, such as 10:00
    #[arg(long, value_name = "TIME", requires = "from")]
    daily: Option<Time>,
    /// How long each round stays open, up to 24h, such as 2h or 90m
    #[arg(long = "for", value_name = "LENGTH", requires = "from")]
    open_for: Option<SignedDuration>,
    /// IANA time zone of the days and times, such as Asia/Seoul
    #[arg(long, value_name = "ZONE", requires = "from")]
    timezone: Option<String>,
    /// Succeed if the campaign already exists, whatever its terms, also if Redis has lost it
    #[arg(long)]
    if_missing: bool,
}

impl Create {
    /// Writes the campaign to the database first, then projects it into the gate. Safe to run again after any
    /// interruption.
    pub(super) async fn run(&self, config: &Config) -> Result<CampaignReport> {
        let mut wanted = self.campaign(self.codes(config)?)?;
        let id = &wanted.id.clone();
        let reserved = Reserved::new(config, id).await?;
        let there = reserved.database.create(&wanted, reserved.actor()).await;
        let campaign = there.map_err(|error| unknown_creation(id, error))?;
        let operation = reserved.take_over().await;
        let mut operation = operation.map_err(|error| unknown_creation(id, error))?;
        self.keep_from(&campaign, &mut wanted);
        if !self.if_missing && !campaign.has_same_terms(&wanted) {
            if campaign.projected || campaign.terms.one_per != wanted.terms.one_per {
                refuse!(
                    CampaignExists,
                    "campaign {id} exists with other terms ({campaign}): choose another --id, or see \
                     `rushgate campaign change --help`"
                );
            }
            operation.replace(&wanted).await?;
        }
        if operation.is_halted() {
            let done = Done::before(format!("campaign {id} is halted: {campaign}"));
            return report(&operation, Ok(done));
        }
        if campaign.projected && operation.at_gate.is_none() {
            if self.if_missing {
                stderr::warning(&lost(id).to_string());
                let done = Done::before(format!(
                    "campaign {id} exists in the database only: {campaign}"
                ));
                return report(&operation, Ok(done));
            }
            bail!(lost(id));
        }
        // Before `finish`, which reports the creation of an earlier command.
        let is_new = !operation.campaign.projected;
        if is_new {
            operation.create().await?;
        }
        let finished = operation.finish().await;
        finished.map_err(|error| match is_new {
            true => unknown_creation(id, error),
            false => error,
        })?;
        let campaign = operation.campaign.clone();
        let now = Millis::try_from(jiff::Timestamp::now().as_millisecond())?;
        if let Some(over) = campaign.over(now) {
            stderr::warning(&format!("campaign {id}: {over}"));
        }
        let registered = operation.register().await;
        let projected = match registered {
            Ok(()) => {
                let project = operation.project(&campaign, Origin::Known, campaign.state);
                project.await.map(drop)
            }
            Err(error) => Err(unknown_creation(id, error)),
        };
        if campaign.terms.codes == Codes::Pool && projected.is_ok() {
            let size = operation.database.pool_size(id).await;
            let loaded = size.map_err(|error| unknown_creation(id, error))?.loaded;
            let rounds = campaign.rounds.iter();
            let coupons: u64 = rounds.map(|round| u64::from(round.quota.get())).sum();
            if u64::from(loaded) < coupons {
                stderr::warning(&format!(
                    "campaign {id} has {loaded} codes for {coupons} coupons: `rushgate codes load --campaign {id}` loads \
                     codes; until then, winners are told that their code follows"
                ));
            }
        }
        let message = format!("campaign {id} is {}: {campaign}", campaign.state);
        let done = match is_new {
            true => Done::now(message),
            false => Done::before(message),
        };
        report(&operation, projected.map(|()| done))
    }

    /// Where the existing campaign may differ from a new one: it keeps the key of its codes when there is a newer key, and
    /// a campaign of an older version promotes forever.
    fn keep_from(&self, existing: &Campaign, wanted: &mut Campaign) {
        if let (Codes::Signed(_), Codes::Signed(_)) = (existing.terms.codes, wanted.terms.codes) {
            wanted.terms.codes = existing.terms.codes;
        }
        if self.promote_until.is_none() {
            wanted.terms.promote_until = existing.terms.promote_until;
        }
    }

    fn codes(&self, config: &Config) -> Result<Codes> {
        match self.codes.as_str() {
            "signed" => {
                let newest = config.coupon_codes.keys()?.newest();
                let newest = newest.context(
                    "--codes signed needs a key: set COUPON_CODE_KEYS or COUPON_CODE_KEYS_FILE, as for the consumers",
                )?;
                Ok(Codes::Signed(newest))
            }
            "pool" => Ok(Codes::Pool),
            _ => Ok(Codes::None),
        }
    }

    fn campaign(&self, codes: Codes) -> Result<Campaign> {
        if let (Some(opens_at), Some(closes_at)) = (self.opens_at, self.closes_at)
            && opens_at >= closes_at
        {
            refuse!(
                InvalidTerms,
                "--closes-at {closes_at} must be after --opens-at {opens_at}"
            );
        }
        let daily = self.daily();
        let rounds = match &daily {
            Some(daily) => daily.rounds(self.quota)?,
            None => vec![Round {
                id: RoundId::once(),
                opens_at: self.opens_at,
                closes_at: self.closes_at,
                quota: self.quota,
            }],
        };
        Ok(Campaign {
            id: self.id.clone(),
            state: CampaignState::Running,
            terms: Terms {
                one_per: self.one_per,
                waitlist: self.waitlist,
                user_ids: self.user_ids,
                codes,
                self_cancel: self.self_cancel,
                promote_until: self.promote_until.unwrap_or(PromoteUntil::Closes),
                show_remaining: self.show_remaining,
            },
            valid_until: self.valid_until,
            daily,
            rounds,
            projected: false,
        })
    }

    /// All of these are given, or none; clap ensures that.
    fn daily(&self) -> Option<Daily> {
        Some(Daily {
            timezone: self.timezone.clone()?,
            first_day: self.from?,
            last_day: self.to?,
            opens_at: self.daily?,
            open_for: self.open_for?,
        })
    }
}

/// Reads `--promote-until`.
pub(super) fn promote_until() -> impl TypedValueParser<Value = PromoteUntil> {
    PossibleValuesParser::new(
        [PromoteUntil::Closes, PromoteUntil::Forever].map(PromoteUntil::as_str),
    )
    .try_map(|word| word.parse::<PromoteUntil>())
}

/// Reads `--show-remaining`.
pub(super) fn show_remaining() -> impl TypedValueParser<Value = ShowRemaining> {
    PossibleValuesParser::new(
        [
            ShowRemaining::Exact,
            ShowRemaining::Rough,
            ShowRemaining::Hidden,
        ]
        .map(ShowRemaining::as_str),
    )
    .try_map(|word| word.parse::<ShowRemaining>())
}
