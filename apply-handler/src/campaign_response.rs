//! Turns the overview of a campaign, and a page of the list of campaigns, into an HTTP response that caches may share
//! for a second.

use crate::campaign_pages::Page;
use crate::response::Response;
use crate::response_body::{CampaignBody, CampaignsBody};
use rushgate_gate::overview::Overview;
use rushgate_gate::{CampaignId, Millis};
use serde::Serialize;
use spin_sdk::http::StatusCode;
use std::hash::{DefaultHasher, Hash, Hasher};

pub fn overview(campaign: &CampaignId, overview: &Overview) -> Response {
    let body = CampaignBody::new(campaign, overview);
    shared(&body, etag_parts(&body), next_change_ms(overview))
}

pub fn page(page: &Page) -> Response {
    let Page {
        campaigns,
        unreadable,
        next,
    } = page;
    let body = CampaignsBody {
        campaigns: campaigns
            .iter()
            .map(|(campaign, overview)| CampaignBody::new(campaign, overview))
            .collect(),
        unreadable: unreadable.iter().map(CampaignId::as_str).collect(),
        next: next.as_ref().map(CampaignId::as_str),
    };
    let parts: Vec<_> = body.campaigns.iter().map(etag_parts).collect();
    let next_change_ms = campaigns
        .iter()
        .filter_map(|(_, overview)| next_change_ms(overview))
        .min();
    shared(&body, (parts, unreadable, next), next_change_ms)
}

/// The ETag is weak, because it covers everything but the server's time. `Age: 0` is sent so that a cache, when it
/// refreshes a stored response after 304, does not keep the old age beside the new time.
fn shared(body: &impl Serialize, etag_parts: impl Hash, next_change_ms: Option<i64>) -> Response {
    let mut hasher = DefaultHasher::new();
    etag_parts.hash(&mut hasher);
    // max-age is in whole seconds.
    let is_cacheable = next_change_ms.is_none_or(|millis| millis >= 1_000);
    Response::json(StatusCode::OK, body)
        .with(
            "cache-control",
            match is_cacheable {
                true => "public, max-age=1",
                false => "public, max-age=0",
            },
        )
        .with("age", "0")
        .with_text("etag", format!("W/\"{:016x}\"", hasher.finish()))
}

/// What the ETag covers: only what the body shows, so that it does not tell a count that the campaign hides.
fn etag_parts<'a>(body: &'a CampaignBody<'_>) -> impl Hash + use<'a> {
    let CampaignBody {
        campaign,
        state,
        round,
        next_round,
        rules,
        server_time: _,
    } = body;
    (*campaign, *state, round, next_round, rules)
}

/// Time until the next opening or closing of a round, in ms.
fn next_change_ms(overview: &Overview) -> Option<i64> {
    let opens_at = overview.next.as_ref().map(|(_, opens_at)| *opens_at);
    let current = overview.round.as_ref();
    let closes_at = current.and_then(|current| current.round.closes_at);
    let left = |at: Millis| at.get() - overview.now.get();
    let ahead = |left: &i64| *left > 0;
    [opens_at, closes_at]
        .into_iter()
        .flatten()
        .map(left)
        .filter(ahead)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::overview::{RoundOverview, Rules};
    use rushgate_gate::{CampaignState, Quota, Round, RoundId, ShowRemaining};

    fn at(millis: i64) -> Millis {
        Millis::try_from(millis).expect("an instant")
    }

    /// An overview at 5,000 ms, with the closing time of the current round and the opening time of the next.
    fn overview_with(closes_at: Option<i64>, opens_at: Option<i64>) -> Overview {
        Overview {
            state: CampaignState::Running,
            round: Some(RoundOverview {
                round: Round {
                    id: RoundId::once(),
                    opens_at: None,
                    closes_at: closes_at.map(at),
                    quota: Quota::try_from(5_u32).expect("a quota"),
                },
                granted: 0,
                issued: 0,
                waitlisted: 0,
            }),
            next: opens_at.map(|millis| (RoundId::once(), at(millis))),
            rules: Rules::default(),
            now: at(5_000),
        }
    }

    fn header(response: Response, name: &str) -> String {
        response.header(name).expect(name).to_owned()
    }

    #[test]
    fn counts_are_cacheable_for_a_second_but_not_beyond_an_opening_or_closing() {
        let campaign: CampaignId = "welcome".parse().expect("an id");
        for (closes_at, opens_at, max_age) in [
            (None, None, 1),
            (Some(6_000), None, 1),
            (Some(5_999), None, 0),
            (None, Some(5_999), 0),
            (Some(9_000), Some(5_001), 0),
            (Some(5_000), Some(7_000), 1),
        ] {
            let overview = overview_with(closes_at, opens_at);
            let single = super::overview(&campaign, &overview);
            let page = super::page(&Page {
                campaigns: vec![
                    (campaign.clone(), overview_with(None, None)),
                    (campaign.clone(), overview),
                ],
                unreadable: vec![],
                next: None,
            });
            let expected = format!("public, max-age={max_age}");
            for response in [single, page] {
                let max_age_header = header(response, "cache-control");
                assert_eq!(max_age_header, expected, "{closes_at:?} {opens_at:?}");
            }
        }
    }

    #[test]
    fn the_etag_covers_everything_but_the_time() {
        let campaign = |id: &str| -> CampaignId { id.parse().expect("an id") };
        let tag = |id: &str, overview: &Overview, next: Option<&str>| {
            let page = super::page(&Page {
                campaigns: vec![(campaign(id), overview.clone())],
                unreadable: vec![],
                next: next.map(campaign),
            });
            header(page, "etag")
        };
        let before = overview_with(None, Some(7_000));
        let after = Overview {
            now: at(6_000),
            ..before.clone()
        };
        assert_eq!(tag("a", &before, None), tag("a", &after, None));
        assert_ne!(tag("a", &before, None), tag("b", &before, None));
        assert_ne!(tag("a", &before, None), tag("a", &before, Some("a")));
        let other = overview_with(None, Some(7_001));
        assert_ne!(tag("a", &before, None), tag("a", &other, None));
    }

    /// What the response tells if this many of 100 coupons are left, and its ETag.
    fn told(show_remaining: ShowRemaining, remaining: u32) -> (serde_json::Value, String) {
        let mut overview = overview_with(None, None);
        overview.rules.show_remaining = show_remaining;
        let round = overview.round.as_mut().expect("a round");
        round.round.quota = Quota::try_from(100_u32).expect("a quota");
        (round.granted, round.issued) = (100 - remaining, 100 - remaining);
        round.waitlisted = 100 - remaining;
        let campaign: CampaignId = "welcome".parse().expect("an id");
        let response = super::overview(&campaign, &overview);
        let etag = response.header("etag").expect("an ETag").to_owned();
        let (_, _, body) = response.into_parts();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let round = &body["round"];
        let counts = [
            "granted",
            "issued",
            "remaining",
            "waitlisted",
            "availability",
        ];
        let told = counts.map(|field| round[field].clone()).to_vec().into();
        (told, etag)
    }

    #[test]
    fn a_campaign_tells_of_its_coupons_what_its_operator_allows() {
        use serde_json::json;
        let body = |show, remaining| told(show, remaining).0;
        assert_eq!(
            body(ShowRemaining::Exact, 62),
            json!([38, 38, 62, 38, "many"])
        );
        for (remaining, word) in [
            (100, "many"),
            (11, "many"),
            (10, "few"),
            (1, "few"),
            (0, "none"),
        ] {
            let rough = json!([null, null, null, null, word]);
            assert_eq!(body(ShowRemaining::Rough, remaining), rough, "{remaining}");
            let hidden = json!([null, null, null, null, null]);
            assert_eq!(
                body(ShowRemaining::Hidden, remaining),
                hidden,
                "{remaining}"
            );
        }
    }

    #[test]
    fn the_etag_tells_no_count_that_the_body_does_not_tell() {
        let etag = |show, remaining| told(show, remaining).1;
        let differs = |show, one, other| etag(show, one) != etag(show, other);
        assert!(differs(ShowRemaining::Exact, 62, 61));
        assert!(!differs(ShowRemaining::Rough, 62, 61));
        assert!(differs(ShowRemaining::Rough, 11, 10));
        assert!(!differs(ShowRemaining::Hidden, 62, 0));
    }
}
