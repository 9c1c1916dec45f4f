//! Tests of whole simulated runs.

mod edges {
    use crate::simulate::costs::Costs;
    use crate::simulate::crowd::{Arrivals, Crowd};
    use crate::simulate::edges::{Edges, Region, Served};
    use crate::simulate::memory::Memory;

    const REGIONS: [Region; 2] = [
        Region {
            round_trip: 2.0,
            people: 1.0,
        },
        Region {
            round_trip: 100.0,
            people: 1.0,
        },
    ];

    fn served(window: f64) -> Vec<Served> {
        let edges = Edges {
            regions: &REGIONS,
            memory: Memory {
                askers: 1,
                applications: u64::MAX,
                at_once: usize::MAX,
                most_known: u64::MAX,
            },
            window,
            quota: 200,
            crowd: Crowd {
                people: 4_000,
                arrivals: Arrivals::Flash(200.0),
            },
            seed: 1,
        };
        edges.simulate(&Costs::round())
    }

    #[test]
    fn near_applicants_come_first_unless_clicks_count() {
        let at_once = served(0.0);
        assert_eq!(
            (at_once[0].granted.len(), at_once[1].granted.len()),
            (200, 0)
        );
        let by_clicks = served(60.0);
        let far = by_clicks[1].granted.len();
        assert!((80..=120).contains(&far), "{far}");
        assert_eq!(by_clicks[0].granted.len() + far, 200);
    }

    #[test]
    fn all_are_answered_and_most_refusals_come_from_the_edge() {
        for served in served(0.0) {
            let answers = served.granted.len() + served.refused.len();
            assert_eq!(answers as u64, served.people);
            assert!(
                served.remembered > served.people / 3,
                "{}",
                served.remembered
            );
        }
    }
}

mod split {
    use crate::simulate::costs::Costs;
    use crate::simulate::crowd::{Arrivals, Crowd};
    use crate::simulate::order::Order;
    use crate::simulate::split::{Policy, Split};

    const POLICIES: [Policy; 6] = [
        Policy::Shares,
        Policy::Rebalanced(1.0),
        Policy::Rebalanced(20.0),
        Policy::Leases(1),
        Policy::Leases(7),
        Policy::Leases(10_000),
    ];

    fn split(gates: usize, policy: Policy) -> Split {
        Split {
            gates,
            skew: 0.5,
            policy,
            quota: 1_001,
            crowd: Crowd {
                people: 3_000,
                arrivals: Arrivals::Flash(30.0),
            },
            seed: 1,
        }
    }

    #[test]
    fn there_are_never_more_places_than_the_quota_and_with_demand_enough_none_is_left_over() {
        for gates in [1, 2, 3, 8] {
            for policy in POLICIES {
                for people in [500, 1_001, 1_050, 3_000] {
                    let mut split = split(gates, policy);
                    split.crowd.people = people;
                    // Every step asserts that granted and remaining places add up to the quota.
                    let order = split.simulate(&Costs::round()).order;
                    assert!(order.granted <= people.min(1_001), "{split:?}");
                    let refused = people - order.granted;
                    assert_eq!(order.left_over, refused.min(1_001 - order.granted));
                    if people == 3_000 && !matches!(policy, Policy::Leases(10_000)) {
                        assert_eq!(order.granted, 1_001, "{split:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_gate_passes_no_applicant_over() {
        for policy in POLICIES {
            let order = split(1, policy).simulate(&Costs::round()).order;
            let strict = Order {
                granted: 1_001,
                ..Order::default()
            };
            assert_eq!(order, strict, "{policy:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_result() {
        for policy in POLICIES {
            let split = split(8, policy);
            let costs = Costs::round();
            assert_eq!(split.simulate(&costs), split.simulate(&costs));
        }
    }

    #[test]
    fn leases_give_what_uneven_shares_leave_over() {
        let slow = |policy| {
            let mut split = split(4, policy);
            split.crowd = Crowd {
                people: 1_050,
                arrivals: Arrivals::Steady(5_000.0),
            };
            split.simulate(&Costs::round()).order
        };
        let (shares, leases) = (slow(Policy::Shares), slow(Policy::Leases(8)));
        assert!(shares.left_over > 100, "{shares:?}");
        assert!(leases.left_over <= 4 * 8, "{leases:?}");
        assert!(
            leases.passed_over < shares.passed_over,
            "{leases:?} {shares:?}"
        );
    }
}

mod system {
    use crate::simulate::costs::Costs;
    use crate::simulate::crowd::{Arrivals, Crowd};
    use crate::simulate::memory::Memory;
    use crate::simulate::run::{Run, Sizing};
    use crate::simulate::simulated::Component;

    fn run(sizing: Sizing, quota: u64) -> Run {
        Run {
            sizing,
            memory: None,
            crowd: Crowd {
                people: 2_000,
                arrivals: Arrivals::Flash(1.0),
            },
            quota,
            seed: 1,
        }
    }

    #[test]
    fn all_are_answered_and_every_grant_has_its_row() {
        let two = Sizing {
            gates: 2,
            consumers: 2,
            partitions: 3,
            ..Sizing::ONE_OF_EACH
        };
        for (sizing, quota, rows) in [
            (Sizing::ONE_OF_EACH, 500, 500),
            (Sizing::ONE_OF_EACH, 9_000, 2_000),
            (two, 501, 501),
        ] {
            let outcome = run(sizing, quota).simulate(&Costs::round());
            assert_eq!((outcome.answers(), outcome.rows), (2_000, rows));
            assert_eq!(outcome.decisions, 2_000);
        }
    }

    #[test]
    fn the_slowest_part_is_what_is_waited_for() {
        let outcome = run(Sizing::ONE_OF_EACH, 2_000).simulate(&Costs::round());
        // A handler's core takes 100 µs, more than anything else.
        assert_eq!(outcome.bottleneck(|_| true), Some(Component::Handler));
        assert!(
            (outcome.answers_per_second() / 1e4 - 1.0).abs() < 0.1,
            "{outcome:?}"
        );
        let sizing = Sizing {
            handler_cores: 100,
            ..Sizing::ONE_OF_EACH
        };
        let mut many = run(sizing, 20_000);
        many.crowd.people = 20_000;
        let outcome = many.simulate(&Costs::round());
        assert_eq!(outcome.bottleneck(|_| true), Some(Component::Broker));
        // One record in 70 µs.
        let rows = outcome.rows as f64 / outcome.last_row();
        assert!((rows / 14_286.0 - 1.0).abs() < 0.05, "{rows}");
    }

    #[test]
    fn the_same_seed_gives_the_same_result_and_another_one_does_not() {
        let costs = Costs::round();
        let one = run(Sizing::ONE_OF_EACH, 500);
        let other = Run { seed: 2, ..one };
        assert_eq!(one.simulate(&costs), one.simulate(&costs));
        assert_ne!(one.simulate(&costs), other.simulate(&costs));
    }

    #[test]
    fn refusals_that_are_remembered_do_not_reach_the_gate() {
        let memory = Memory {
            askers: 2,
            applications: u64::MAX,
            at_once: 4,
            most_known: 10,
        };
        for (quota, remembers) in [(10, true), (11, false)] {
            let run = Run {
                memory: Some(memory),
                ..run(Sizing::ONE_OF_EACH, quota)
            };
            let outcome = run.simulate(&Costs::round());
            assert_eq!(outcome.answers(), 2_000);
            assert_eq!(outcome.decisions <= 200, remembers, "{outcome:?}");
        }
    }
}
