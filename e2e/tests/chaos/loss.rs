//! Tests the one fault that needs an operator: Redis loses writes that it has acknowledged.

use crate::component::Component;
use crate::fault::{Fault, Planned};
use crate::operator::{Operator, Stopped};
use crate::sabotage::step;
use crate::world::World;
use rushgate_e2e::replica::Replica;
use rushgate_testbed::proxy::{Then, Trouble};
use rushgate_testbed::wait::until;
use std::future::pending;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long applicants come between the backup and the loss, and after Redis is back.
const WHILE: Duration = Duration::from_secs(1);

/// Redis loses grants while applicants come, and an operator restores the campaign.
pub(crate) async fn commit(world: &mut World, planned: &Planned, campaign: &str) {
    sleep(WHILE).await;
    match planned.fault {
        Fault::LaggingReplica => fail_over(world).await,
        Fault::Wiped => {
            world.kill(Component::Redis);
            world.fresh_dir("redis");
        }
        _ => {
            let copy = world.fresh_dir("copy");
            copy_all(&world.redis_dir(), &copy);
            sleep(WHILE).await;
            world.kill(Component::Redis);
            let dir = world.fresh_dir("redis");
            copy_all(&copy, &dir);
        }
    }
    world.start_component(Component::Redis);
    sleep(WHILE + planned.lasts).await;
    world.heal().await;
    let restore = ["restore", campaign, "--halt", "--wait", "60s"];
    interrupt(world, planned.count, &restore).await;
    until("the campaign is restored", async || {
        let restored = world.operator.run(&restore).await;
        if let Err(error) = &restored {
            eprintln!("restore: {error:#}");
        }
        restored.ok()
    })
    .await;
    sleep(WHILE).await;
}

/// The operator's commands run until Redis loses its data: the last one may or may not complete.
pub(crate) async fn stop_in_the_middle(
    world: &World,
    planned: &Planned,
    operator: Operator,
) -> Stopped {
    sleep(WHILE).await;
    if planned.count.is_multiple_of(2) {
        let (link, request) = step(planned.count / 2);
        world.link(link).set(Trouble::HoldAnswer(request.max(1)));
        let _ = timeout(WHILE, world.link(link).strikes()).await;
        operator.kill();
        world.link(link).set(Trouble::None);
    }
    operator.stop().await
}

/// Restores the campaign twice; both restores are interrupted.
async fn interrupt(world: &World, count: u8, restore: &[&str]) {
    let operator = world.operator_on_links();
    let blows: [fn(usize) -> Trouble; 4] = [
        |request| Trouble::LoseAnswer(request, Then::Cut),
        Trouble::HoldAnswer,
        |request| Trouble::DropRequest(request, Then::Works),
        |request| Trouble::LoseAnswer(request, Then::Works),
    ];
    for turn in [count, count / 2] {
        let (link, request) = step(turn.max(1));
        let (link, trouble) = (world.link(link), blows[usize::from(turn) % 4](request));
        link.set(trouble);
        let killed = async {
            match trouble {
                Trouble::HoldAnswer(_) => link.strikes().await,
                _ => pending().await,
            }
        };
        operator.end_of_unless(restore, killed).await.expect("run");
        link.set(Trouble::None);
    }
}

/// Promotes a replica that has not received the last grants.
async fn fail_over(world: &mut World) {
    let replica = Replica::start(
        world.fresh_dir("replica"),
        world.redis_port(),
        world.redis_acl(),
    )
    .await;
    replica.cut_off().await;
    sleep(WHILE).await;
    world.kill(Component::Redis);
    world.promote(replica).await;
}

fn copy_all(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(
        status.expect("cp").success(),
        "cp {} {}",
        from.display(),
        to.display()
    );
}
