//! Tests which command the plan chooses next, and in which order.

use super::*;
use proptest::prelude::*;

fn campaigns(names: impl IntoIterator<Item = u32>) -> BTreeSet<CampaignId> {
    let names = names.into_iter().map(|name| format!("c{name}"));
    names.map(|name| name.parse().expect("an id")).collect()
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

/// A plan whose streams are ready for reading new entries.
fn ready(count: u32) -> ReadPlan {
    let mut streams = ReadPlan::new();
    assert_eq!(streams.next(0), Some(Step::Discover));
    streams.discovered(campaigns(0..count));
    while let Some(step) = streams.next(1_000_000) {
        match step {
            Step::Discover => panic!("it was not asked for"),
            Step::CreateGroups(unsure) => unsure
                .into_iter()
                .for_each(|stream| streams.group_answered(stream, true)),
            Step::ReadPending { after, .. } => after
                .into_iter()
                .for_each(|(stream, _)| streams.pending_read(stream, None)),
            Step::Claim { stream, .. } => streams.claimed(stream, EntryId::ZERO),
            Step::ReadNew { .. } => break,
        }
    }
    streams
}

#[test]
fn group_then_own_entries_page_by_page_then_claims_then_new_ones() {
    let mut streams = ReadPlan::new();
    assert_eq!(streams.next(10), Some(Step::Discover));
    assert_eq!(streams.next(10), None, "no campaign, nothing to do");
    assert!(!streams.is_set_up());
    streams.discovered(campaigns([0]));
    let stream = StreamNo(0);
    assert_eq!(streams.next(10), Some(Step::CreateGroups(vec![stream])));
    assert!(!streams.is_set_up());
    streams.group_answered(stream, true);
    assert!(streams.is_set_up());
    assert_eq!(streams.next(0), None, "no room, no entries");
    let own = |after| {
        let after = vec![(stream, after)];
        Some(Step::ReadPending { after, count: 10 })
    };
    assert_eq!(streams.next(10), own(EntryId::ZERO));
    streams.pending_read(stream, Some(id(5)));
    assert_eq!(streams.next(10), own(id(5)));
    streams.pending_read(stream, None);
    let claim = |from| {
        let count = 10;
        Some(Step::Claim {
            stream,
            from,
            count,
        })
    };
    assert_eq!(streams.next(10), claim(EntryId::ZERO));
    streams.claimed(stream, id(7));
    assert_eq!(streams.next(10), claim(id(7)));
    streams.claimed(stream, EntryId::ZERO);
    let new = Step::ReadNew {
        streams: vec![stream],
        count: 10,
        steps: 1,
        wait: true,
    };
    assert_eq!(streams.next(10), Some(new.clone()));
    streams.claim();
    assert_eq!(streams.next(10), claim(EntryId::ZERO));
    streams.claimed(stream, EntryId::ZERO);
    assert_eq!(streams.next(10), Some(new));
}

#[test]
fn after_a_failure_campaigns_groups_and_own_entries_come_again() {
    let mut streams = ready(2);
    assert!(matches!(streams.next(10), Some(Step::ReadNew { .. })));
    streams.failed();
    assert_eq!(streams.next(10), Some(Step::Discover));
    streams.discovered(campaigns([0, 1]));
    let both = vec![StreamNo(0), StreamNo(1)];
    assert_eq!(streams.next(10), Some(Step::CreateGroups(both.clone())));
    for stream in both {
        streams.group_answered(stream, true);
    }
    assert!(matches!(streams.next(10), Some(Step::ReadPending { after, .. }) if after.len() == 2));
}

#[test]
fn undelivered_entries_are_read_again_when_the_retry_timer_fires() {
    let mut streams = ready(2);
    streams.delivery_failed(StreamNo(1));
    assert!(matches!(streams.next(10), Some(Step::ReadNew { .. })));
    streams.retry();
    let own = vec![(StreamNo(1), EntryId::ZERO)];
    assert!(matches!(streams.next(10), Some(Step::ReadPending { after, .. }) if after == own));
    streams.pending_read(StreamNo(1), None);
    streams.retry();
    assert!(matches!(streams.next(10), Some(Step::ReadNew { .. })));
}

#[test]
fn a_stream_without_group_is_left_out_and_tried_again_later() {
    let mut streams = ReadPlan::new();
    streams.next(0);
    streams.discovered(campaigns([0, 1]));
    streams.group_answered(StreamNo(0), false);
    streams.group_answered(StreamNo(1), true);
    assert!(matches!(streams.next(10), Some(Step::ReadPending { after, .. }) if after.len() == 1));
    streams.discovered(campaigns([0, 1]));
    let refused = Step::CreateGroups(vec![StreamNo(0)]);
    assert_eq!(streams.next(10), Some(refused));
}

#[test]
fn a_campaign_that_goes_and_comes_back_starts_over_under_its_number() {
    let mut streams = ready(2);
    streams.discovered(campaigns([1]));
    assert!(
        matches!(streams.next(10), Some(Step::ReadNew { streams, .. }) if streams == [StreamNo(1)])
    );
    assert_eq!(streams.campaign(StreamNo(0)).as_str(), "c0");
    streams.discovered(campaigns([0, 1, 2]));
    let unsure = Step::CreateGroups(vec![StreamNo(0), StreamNo(2)]);
    assert_eq!(streams.next(10), Some(unsure));
}

#[test]
fn streams_with_more_entries_are_read_by_themselves_every_second_time() {
    let mut streams = ready(600);
    let mut next = |full: &[u32]| {
        let Some(Step::ReadNew {
            streams: asked,
            count,
            wait,
            ..
        }) = streams.next(1_000)
        else {
            panic!("not a step for new entries");
        };
        streams.new_read(full.iter().copied().map(StreamNo));
        (asked, count, wait)
    };
    let two = vec![StreamNo(3), StreamNo(500)];
    let (asked, count, wait) = next(&[3, 500]);
    assert_eq!((asked.len(), count, wait), (MAX_STREAMS, 3, true));
    assert_eq!(next(&[3, 500]), (two.clone(), 500, false));
    let (asked, count, wait) = next(&[3]);
    assert_eq!((asked.len(), count, wait), (MAX_STREAMS, 3, false));
    assert_eq!(next(&[500]), (two, 500, false));
    assert_eq!(next(&[]).0.len(), MAX_STREAMS);
    assert_eq!(next(&[]), (vec![StreamNo(500)], 1_000, false));
    for _ in 0..3 {
        let (asked, _, wait) = next(&[]);
        assert_eq!((asked.len(), wait), (MAX_STREAMS, true));
    }
}

#[test]
fn streams_with_more_entries_take_turns() {
    let mut streams = ready(600);
    streams.new_read((0..600).map(StreamNo));
    let mut read = BTreeSet::new();
    for _ in 0..6 {
        let Some(Step::ReadNew { streams: asked, .. }) = streams.next(1_000) else {
            panic!("not a step for new entries");
        };
        if !streams.was_in_turn {
            read.extend(asked.iter().copied());
        }
        streams.new_read(asked);
    }
    assert_eq!(read.len(), 600);
}

#[test]
fn a_stream_with_more_entries_that_is_gone_is_not_read() {
    let mut streams = ready(2);
    streams.new_read([StreamNo(0)]);
    streams.discovered(campaigns([1]));
    for _ in 0..2 {
        let read = streams.next(10);
        assert!(matches!(read, Some(Step::ReadNew { streams, .. }) if streams == [StreamNo(1)]));
    }
}

proptest! {
    #[test]
    fn never_more_than_asked_for_and_every_stream_has_its_turn(count in 1u32..600, most in 1usize..2000, full in 0u32..600) {
        let mut streams = ready(count);
        let has_full = count > 1 && full > 0;
        let mut seen = BTreeSet::new();
        let mut turns = 1;
        while turns > 0 {
            let Some(Step::ReadNew { streams: asked, count: each, steps, .. }) = streams.next(most) else {
                return Err(TestCaseError::fail("not a step for new entries"));
            };
            prop_assert!(each >= 1 && each * asked.len() <= most);
            prop_assert!(asked.len() <= MAX_STREAMS);
            if seen.is_empty() {
                turns = if has_full { 2 * steps } else { steps };
            }
            turns -= 1;
            // These always have more.
            streams.new_read(asked.iter().copied().filter(|stream| stream.0 < full));
            seen.extend(asked);
        }
        prop_assert_eq!(seen.len(), count as usize);
    }
}
