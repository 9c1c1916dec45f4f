//! Redis forgets what it had acknowledged; the one case that a human has to say a word about.

use crate::fault::{Fault, Planned};
use crate::part::Part;
use crate::world::World;
use rushgate_e2e::process::{Process, free_port, redis_server};
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
    let (port, dir) = (free_port(), world.fresh_dir("replica"));
    let log = world.fresh_dir("replica-log").join("replica.log");
    let mut command = redis_server(port, &dir);
    command.args(["--replicaof", "127.0.0.1", &world.redis_port().to_string()]);
    command.args(["--repl-diskless-sync-delay", "0"]);
    let replica = Process::start(&mut command, log);
    let url = format!("redis://127.0.0.1:{port}");
    let client = redis::Client::open(url).expect("an address");
    let mut connection = until("the replica has all", async || {
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let info: String = redis::cmd("INFO")
            .arg("replication")
            .query_async(&mut connection)
            .await
            .ok()?;
        info.contains("master_link_status:up").then_some(connection)
    })
    .await;
    // From now on it hears of nothing.
    let alone = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .exec_async(&mut connection)
        .await;
    alone.expect("REPLICAOF");
    sleep(WHILE).await;
    world.kill(Part::Redis);
    world.promote(replica, port, &dir);
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
