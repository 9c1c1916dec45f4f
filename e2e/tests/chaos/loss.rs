//! Redis forgets what it had acknowledged; the one case that a human has to say a word about.

use crate::fault::{Fault, Planned};
use crate::part::Part;
use crate::world::World;
use rushgate_e2e::redis_server::Replica;
use rushgate_e2e::wait::until;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

/// How long people go on applying after the moment that Redis goes back to, and after it has come back.
const WHILE: Duration = Duration::from_secs(1);

/// Lets Redis lose grants, people go on applying, and an operator restore the campaign.
pub(crate) async fn commit(world: &mut World, planned: &Planned, campaign: &str) {
    sleep(WHILE).await;
    match planned.fault {
        Fault::LaggingReplica => fail_over(world).await,
        Fault::Wiped => {
            world.kill(Part::Redis);
            world.fresh_dir("redis");
        }
        _ => {
            let copy = world.fresh_dir("copy");
            copy_all(&world.redis_dir(), &copy);
            sleep(WHILE).await;
            world.kill(Part::Redis);
            let dir = world.fresh_dir("redis");
            copy_all(&copy, &dir);
        }
    }
    world.start_part(Part::Redis);
    sleep(WHILE + planned.lasts).await;
    world.heal().await;
    let restore = ["restore", campaign, "--halt", "--wait", "60"];
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

/// A replica takes over that has not heard of the last grants.
async fn fail_over(world: &mut World) {
    let replica = Replica::start(world.fresh_dir("replica"), world.redis_port()).await;
    replica.cut_off().await;
    sleep(WHILE).await;
    world.kill(Part::Redis);
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
