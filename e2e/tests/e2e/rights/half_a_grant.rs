//! Tests what follows when the handler's user in Redis lacks a right in the middle of a grant: the event is on the stream,
//! and the gate does not know the holder.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::rights::{Role, redis_rules, set_redis_rules};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_grant_halts_its_campaign_and_restore_makes_it_whole() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 9).await.expect("created");
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("whole").await, granted(1));
    launch.has_rows(1).await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let rules = redis_rules(Role::Handler);
    // The first write of a grant is XADD, the second one HSET.
    let mut fewer = rules.clone();
    fewer.retain(|rule| rule != "+hset");
    let mut may = async |rules: &[String]| {
        let set = set_redis_rules(Role::Handler, rules);
        set.exec_async(&mut redis).await.expect("ACL SETUSER");
    };
    may(&fewer).await;
    // So that the events of both come before the campaign is halted.
    let bridge = &system.bridges[0];
    bridge.signal(Signal::SIGSTOP).expect("a signal");
    for user_id in ["half", "late", "half"] {
        let (status, code) = launch.refusal(user_id).await;
        assert_eq!((status, code.as_str()), (503, "gate_unavailable"));
    }
    may(&rules).await;
    bridge.signal(Signal::SIGCONT).expect("a signal");
    until("the campaign is halted", async || {
        (launch.states().await["launch"] == "halted").then_some(())
    })
    .await;

    let said = launch.exits(2, &["audit", "launch"]).await;
    assert!(
        said.contains("once/2 of half has an active row, and the gate does not know it"),
        "{said}"
    );
    let said = launch.does(&["restore", "launch"]).await;
    assert!(said.contains("campaign launch is running again"), "{said}");
    for (user_id, serial) in [("half", 2), ("late", 3)] {
        let place = Reply::AlreadyGranted(Place::new("once", serial));
        assert_eq!(launch.apply(user_id).await, place, "{user_id}");
    }
    launch.has_rows(3).await;
    system.drained("launch").await;
    launch.exits(0, &["audit", "launch"]).await;
}
