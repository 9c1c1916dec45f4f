//! Tests that the data of one person, and of all people of a campaign, can be deleted in the way of `docs/security.md`.

use crate::view::{View, granted};
use redis::aio::MultiplexedConnection;
use rushgate_e2e::system::{Size, System};
use sqlx::AssertSqlSafe;

/// The statements of the page, for the campaign `launch`.
fn statements() -> impl Iterator<Item = &'static str> {
    let page = include_str!("../../../docs/security.md");
    let (_, rest) = page.split_once("```sql\n").expect("the block");
    let (block, _) = rest.split_once("```").expect("its end");
    block.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The keys of the campaign, and the tables, that have this text.
async fn places_of(system: &System, redis: &mut MultiplexedConnection, text: &str) -> Vec<String> {
    let mut keys = redis::cmd("KEYS");
    let keys = keys.arg("rushgate:{launch}:*").query_async(redis).await;
    let keys: Vec<String> = keys.expect("keys");
    let mut found = vec![];
    for key in keys {
        let dump = redis::cmd("DUMP").arg(&key).query_async(redis).await;
        let dump: Vec<u8> = dump.expect(&key);
        if dump.windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(key);
        }
    }
    let mut session = system.database.session().await.expect("the database");
    for (table, columns) in [
        ("coupons", "user_id"),
        ("failed_events", "payload, detail"),
        ("campaign_log", "user_id, detail, reason"),
        ("intentions", "deed, reason"),
    ] {
        let like = format!("FROM {table} WHERE CONCAT_WS(' ', {columns}) LIKE '%{text}%'");
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT COUNT(*) {like}")));
        if rows.fetch_one(&mut *session).await.expect(table) > 0 {
            found.push(table.to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_can_be_deleted_by_hand_after_a_campaign() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, "launch");
    let create = "campaign create --id launch --quota 3 --waitlist 2";
    launch.does(&create.split(' ').collect::<Vec<_>>()).await;
    for (serial, person) in [(1, "person-a"), (2, "person-b"), (3, "person-c")] {
        assert_eq!(launch.apply(person).await, granted(serial));
    }
    for person in ["person-d", "person-e"] {
        launch.apply(person).await;
    }
    launch.does(&["revoke", "launch", "person-b"]).await;
    launch.has_rows(3).await;
    launch.does(&["campaign", "close", "launch"]).await;
    system.drained("launch").await;
    system.stores().empty_topic().await.expect("emptied");

    let mut redis = system.redis_connection().await.expect("Redis");
    // So that texts can be found in a dump.
    let mut plain = redis::cmd("CONFIG");
    let plain = plain.arg(&["SET", "rdbcompression", "no"]);
    plain.exec_async(&mut redis).await.expect("set");
    let places = places_of(&system, &mut redis, "person-").await;
    assert!(places.len() >= 4, "{places:?}");
    let key = |name: &str| format!("rushgate:{{launch}}:{name}");
    for one in [Some("person-a"), Some("person-b"), None] {
        for statement in statements() {
            let statement = statement.trim_end_matches(';');
            let sql = match one {
                Some(_) if statement.contains("failed_events") => continue,
                Some(one) => format!("{statement} AND user_id = '{one}'"),
                None => statement.to_owned(),
            };
            system.database.run(&sql).await.expect(&sql);
        }
        let mut commands = redis::pipe();
        for name in ["waitlist", "waiting", "dead-letters"] {
            commands.cmd("UNLINK").arg(key(name));
        }
        match one {
            Some(one) => commands.cmd("HDEL").arg(key("grants")).arg(one),
            None => commands.cmd("UNLINK").arg(key("grants")),
        };
        commands.exec_async(&mut redis).await.expect("deleted");
        let said = launch.does(&["restore", "launch", "--halt"]).await;
        assert!(said.contains("campaign launch is closed again"), "{said}");
        launch.exits(0, &["audit", "launch"]).await;
        let person = one.unwrap_or("person-");
        let left = places_of(&system, &mut redis, person).await;
        assert_eq!(left, [""; 0], "{person}");
    }
}
