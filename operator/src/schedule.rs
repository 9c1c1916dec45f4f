//! Computes the rounds of a campaign that opens every day at the same local time.
//!
//! All functions are pure. The gate only compares integers; time zones and calendar days are converted to them here.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use rushgate_gate::{Millis, Quota, Round, RoundId};

/// Most rounds of one campaign: five years of days.
pub const MOST_ROUNDS: usize = 2_000;

/// A round on each day from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daily {
    /// IANA name of the organiser's time zone, such as `Asia/Seoul`.
    pub timezone: String,
    pub first_day: Date,
    pub last_day: Date,
    /// Local time of each opening.
    pub opens_at: Time,
    /// How long a round stays open: whole seconds, up to 24 hours of elapsed time.
    pub open_for: SignedDuration,
}

/// Why a schedule is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSchedule {
    #[error(
        "--timezone {0}: no such time zone; give an IANA name such as Asia/Seoul or Europe/London"
    )]
    UnknownTimeZone(String),
    #[error("--to {last} is before --from {first}")]
    EndsBeforeItBegins { first: Date, last: Date },
    #[error("--for {0:#}: a round is open for 1 s to 24 h, in whole seconds")]
    BadLength(SignedDuration),
    #[error(
        "{days} days are more than the {MOST_ROUNDS} that a campaign may have: split them into several campaigns"
    )]
    TooManyDays { days: i64 },
    /// The days are outside the range of the gate's clock.
    #[error("{0} is outside the years 1970 to 9999")]
    OutOfRange(Date),
    #[error("none of these days exists in time zone {0}")]
    NoDay(String),
}

impl Daily {
    /// The rounds, in order, each named by its local date, such as `2026-12-01`.
    ///
    /// If clocks are put forward over the opening time, the round opens at that time by the old clock; if the opening
    /// time occurs twice, at the first one. A day that a time zone leaves out has no round. A round ends at the latest
    /// when the next one opens: a day may have 23 hours.
    ///
    /// # Errors
    /// When the schedule is not usable.
    pub fn rounds(&self, quota: Quota) -> Result<Vec<Round>, NoSchedule> {
        let zone = TimeZone::get(&self.timezone)
            .map_err(|_| NoSchedule::UnknownTimeZone(self.timezone.clone()))?;
        let longest = SignedDuration::from_hours(24);
        if self.open_for < SignedDuration::from_secs(1)
            || self.open_for > longest
            || self.open_for.subsec_nanos() != 0
        {
            return Err(NoSchedule::BadLength(self.open_for));
        }
        let (first, last) = (self.first_day, self.last_day);
        let days = i64::from((last - first).get_days()) + 1;
        if days < 1 {
            return Err(NoSchedule::EndsBeforeItBegins { first, last });
        }
        if days > MOST_ROUNDS as i64 {
            return Err(NoSchedule::TooManyDays { days });
        }
        // One day more: the last round, too, ends at the latest when the next one would open.
        let mut openings = vec![];
        for day in first.series(1.day()).take(days as usize + 1) {
            let at = |time| instant(&zone, day, time).ok_or(NoSchedule::OutOfRange(day));
            // Every day that exists has a noon: clocks are changed at night.
            if at(Time::midnight() + 12.hours())?.date() == day {
                openings.push((day, at(self.opens_at)?.timestamp()));
            }
        }
        let rounds: Vec<Round> = openings
            .iter()
            .enumerate()
            .filter(|(_, (day, _))| *day <= last)
            .map(|(place, (day, opens_at))| {
                let closes_at = *opens_at + self.open_for;
                let next = openings.get(place + 1);
                let closes_at = next.map_or(closes_at, |(_, next)| closes_at.min(*next));
                let millis = |timestamp: Timestamp| {
                    Millis::try_from(timestamp.as_millisecond())
                        .map_err(|_| NoSchedule::OutOfRange(*day))
                };
                Ok(Round {
                    id: round_id(*day)?,
                    opens_at: Some(millis(*opens_at)?),
                    closes_at: Some(millis(closes_at)?),
                    quota,
                })
            })
            .collect::<Result<_, _>>()?;
        if rounds.is_empty() {
            return Err(NoSchedule::NoDay(self.timezone.clone()));
        }
        Ok(rounds)
    }
}

/// The instant at which clocks show `time` on `day`.
fn instant(zone: &TimeZone, day: Date, time: Time) -> Option<Zoned> {
    zone.to_ambiguous_zoned(day.to_datetime(time))
        .compatible()
        .ok()
}

fn round_id(day: Date) -> Result<RoundId, NoSchedule> {
    day.to_string()
        .parse()
        .map_err(|_| NoSchedule::OutOfRange(day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn daily(zone: &str, first: &str, last: &str, time: &str, open_for: &str) -> Daily {
        Daily {
            timezone: zone.to_owned(),
            first_day: first.parse().expect("a date"),
            last_day: last.parse().expect("a date"),
            opens_at: time.parse().expect("a time"),
            open_for: open_for.parse().expect("a duration"),
        }
    }

    fn windows(daily: &Daily) -> Vec<(String, String, String)> {
        let quota = Quota::try_from(100u32).expect("a quota");
        let shown = |at: Option<Millis>| at.expect("a time").to_string().replace(".000Z", "Z");
        let rounds = daily.rounds(quota).expect("rounds");
        rounds
            .into_iter()
            .map(|round| {
                (
                    round.id.to_string(),
                    shown(round.opens_at),
                    shown(round.closes_at),
                )
            })
            .collect()
    }

    /// Each case: zone, day, local time, length → opening and closing in UTC, from the tz database.
    #[test]
    fn awkward_days_open_when_their_clocks_say_so() {
        for (zone, day, time, open_for, opens_at, closes_at) in [
            // No daylight saving time.
            (
                "Asia/Seoul",
                "2026-12-01",
                "10:00",
                "2h",
                "2026-12-01T01:00:00Z",
                "2026-12-01T03:00:00Z",
            ),
            (
                "Asia/Kathmandu",
                "2026-12-01",
                "10:00",
                "2h",
                "2026-12-01T04:15:00Z",
                "2026-12-01T06:15:00Z",
            ),
            // 02:30 does not exist: 03:30 on the new clock, which is 02:30 on the old one.
            (
                "America/New_York",
                "2026-03-08",
                "02:30",
                "1h",
                "2026-03-08T07:30:00Z",
                "2026-03-08T08:30:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-03-29",
                "02:30",
                "1h",
                "2026-03-29T01:30:00Z",
                "2026-03-29T02:30:00Z",
            ),
            // The time occurs twice: the first one.
            (
                "America/New_York",
                "2026-11-01",
                "01:30",
                "1h",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:30:00Z",
            ),
            (
                "Europe/London",
                "2026-10-25",
                "01:30",
                "2h",
                "2026-10-25T00:30:00Z",
                "2026-10-25T02:30:00Z",
            ),
            // The same local time before and after the change.
            (
                "Europe/London",
                "2026-03-28",
                "10:00",
                "2h",
                "2026-03-28T10:00:00Z",
                "2026-03-28T12:00:00Z",
            ),
            (
                "Europe/London",
                "2026-03-29",
                "10:00",
                "2h",
                "2026-03-29T09:00:00Z",
                "2026-03-29T11:00:00Z",
            ),
            // Half an hour forward, half an hour back.
            (
                "Australia/Lord_Howe",
                "2026-10-04",
                "02:10",
                "1h",
                "2026-10-03T15:40:00Z",
                "2026-10-03T16:40:00Z",
            ),
            (
                "Australia/Lord_Howe",
                "2026-04-05",
                "01:45",
                "1h",
                "2026-04-04T14:45:00Z",
                "2026-04-04T15:45:00Z",
            ),
            // Two hours forward.
            (
                "Antarctica/Troll",
                "2026-03-29",
                "02:30",
                "1h",
                "2026-03-29T02:30:00Z",
                "2026-03-29T03:30:00Z",
            ),
            // Midnight does not exist.
            (
                "America/Sao_Paulo",
                "2018-11-04",
                "00:00",
                "1h",
                "2018-11-04T03:00:00Z",
                "2018-11-04T04:00:00Z",
            ),
            (
                "Asia/Beirut",
                "2026-03-29",
                "00:30",
                "1h",
                "2026-03-28T22:30:00Z",
                "2026-03-28T23:30:00Z",
            ),
            (
                "Africa/Cairo",
                "2026-04-24",
                "00:00",
                "1h",
                "2026-04-23T22:00:00Z",
                "2026-04-23T23:00:00Z",
            ),
            // Ramadan: one hour back, then forward again.
            (
                "Africa/Casablanca",
                "2025-02-23",
                "02:30",
                "1h",
                "2025-02-23T01:30:00Z",
                "2025-02-23T02:30:00Z",
            ),
            // Past midnight, into the next year.
            (
                "Asia/Seoul",
                "2026-12-31",
                "23:00",
                "3h",
                "2026-12-31T14:00:00Z",
                "2026-12-31T17:00:00Z",
            ),
            (
                "Pacific/Kiritimati",
                "2026-01-01",
                "00:00",
                "24h",
                "2025-12-31T10:00:00Z",
                "2026-01-01T10:00:00Z",
            ),
            // A leap day.
            (
                "UTC",
                "2028-02-29",
                "10:00",
                "1h",
                "2028-02-29T10:00:00Z",
                "2028-02-29T11:00:00Z",
            ),
        ] {
            let expected = (day.to_owned(), opens_at.to_owned(), closes_at.to_owned());
            let rounds = windows(&daily(zone, day, day, time, open_for));
            assert_eq!(rounds, [expected], "{zone} {day} {time}");
        }
    }

    #[test]
    fn a_day_that_a_zone_leaves_out_has_no_round() {
        let rounds = windows(&daily(
            "Pacific/Apia",
            "2011-12-29",
            "2011-12-31",
            "10:00",
            "2h",
        ));
        let days: Vec<_> = rounds.iter().map(|(day, ..)| day.as_str()).collect();
        assert_eq!(days, ["2011-12-29", "2011-12-31"]);
        let nothing = daily("Pacific/Apia", "2011-12-30", "2011-12-30", "10:00", "2h");
        let quota = Quota::try_from(1u32).expect("a quota");
        assert_eq!(
            nothing.rounds(quota),
            Err(NoSchedule::NoDay("Pacific/Apia".to_owned()))
        );
    }

    #[test]
    fn a_round_of_a_day_ends_when_the_next_begins_also_on_a_day_of_23_hours() {
        let rounds = windows(&daily(
            "Europe/Berlin",
            "2026-03-28",
            "2026-03-29",
            "10:00",
            "24h",
        ));
        assert_eq!(
            rounds,
            [
                (
                    "2026-03-28".into(),
                    "2026-03-28T09:00:00Z".into(),
                    "2026-03-29T08:00:00Z".into()
                ),
                (
                    "2026-03-29".into(),
                    "2026-03-29T08:00:00Z".into(),
                    "2026-03-30T08:00:00Z".into()
                ),
            ]
        );
    }

    #[test]
    fn a_year_has_its_days() {
        for (zone, first, last, days) in [
            ("America/New_York", "2026-01-01", "2026-12-31", 365),
            ("Asia/Seoul", "2027-12-01", "2028-11-30", 366),
        ] {
            assert_eq!(
                windows(&daily(zone, first, last, "02:30", "90m")).len(),
                days,
                "{zone}, {first} to {last}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_says_what_would() {
        let quota = Quota::try_from(1u32).expect("a quota");
        for (bad, expected) in [
            (
                daily("Mars/Base", "2026-12-01", "2026-12-01", "10:00", "1h"),
                "IANA name",
            ),
            (
                daily("Asia/Seoul", "2026-12-02", "2026-12-01", "10:00", "1h"),
                "is before --from",
            ),
            (
                daily("Asia/Seoul", "2026-12-01", "2026-12-01", "10:00", "25h"),
                "1 s to 24 h",
            ),
            (
                daily("Asia/Seoul", "2026-12-01", "2026-12-01", "10:00", "0s"),
                "1 s to 24 h",
            ),
            (
                daily("Asia/Seoul", "2026-12-01", "2026-12-01", "10:00", "1500ms"),
                "1 s to 24 h",
            ),
            (
                daily("Asia/Seoul", "2026-12-01", "2036-12-01", "10:00", "1h"),
                "several campaigns",
            ),
            (
                daily("Asia/Seoul", "1969-12-01", "1969-12-02", "10:00", "1h"),
                "1970 to 9999",
            ),
            (
                daily("Asia/Seoul", "9999-12-31", "9999-12-31", "10:00", "1h"),
                "1970 to 9999",
            ),
        ] {
            let error = bad.rounds(quota).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    proptest! {
        /// In every zone: one round for each day that exists, in order, never two at once, each at the requested local
        /// time wherever that time exists.
        #[test]
        fn rounds_follow_the_local_clock_and_never_overlap(
            zone in prop::sample::select(jiff::tz::db().available().map(|name| name.to_string()).collect::<Vec<_>>()),
            start in 0i64..20_000, days in 0i64..400, minute in 0i16..1_440, open_for in 1i64..=86_400,
        ) {
            let first_day = jiff::civil::date(1980, 1, 1) + start.days();
            let time = jiff::civil::time((minute / 60) as i8, (minute % 60) as i8, 0, 0);
            let daily = Daily {
                timezone: zone.clone(),
                first_day,
                last_day: first_day + days.days(),
                opens_at: time,
                open_for: SignedDuration::from_secs(open_for),
            };
            let rounds = daily.rounds(Quota::try_from(1u32).expect("a quota")).expect("rounds");
            let zone = TimeZone::get(&zone).expect("a zone");
            prop_assert!(rounds.len() as i64 <= days + 1 && rounds.len() as i64 >= days);
            let mut before: Option<&Round> = None;
            for round in &rounds {
                let (opens_at, closes_at) = (round.opens_at.expect("a time"), round.closes_at.expect("a time"));
                prop_assert!(opens_at < closes_at && closes_at.get() - opens_at.get() <= open_for * 1_000);
                if let Some(before) = before {
                    prop_assert!(before.closes_at <= round.opens_at && before.id < round.id);
                }
                let local = jiff::Timestamp::from_millisecond(opens_at.get()).expect("an instant").to_zoned(zone.clone());
                let day: Date = round.id.as_str().parse().expect("a date");
                let asked = day.to_datetime(time);
                let offset = zone.to_ambiguous_timestamp(asked).offset();
                if !matches!(offset, jiff::tz::AmbiguousOffset::Gap { .. }) {
                    prop_assert_eq!(local.datetime(), asked);
                }
                before = Some(round);
            }
        }
    }
}
