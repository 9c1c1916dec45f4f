//! The files of `migrations/`, which are part of the program. `sqlx::migrate!` would embed them too, but with it cargo
//! compiles most of sqlx twice.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType};
use std::sync::LazyLock;

/// All migrations, in order.
pub(super) static MIGRATIONS: LazyLock<Vec<Migration>> = LazyLock::new(|| {
    let migrations = FILES.map(|(version, description, sql)| {
        let sql = SqlStr::from_static(sql);
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql,
            false,
        )
    });
    migrations.into()
});

/// Version, description and text of each file. Version and description are those of the file's name.
const FILES: [(i64, &str, &str); 10] = [
    (
        1,
        "campaigns coupons failed events",
        include_str!("../../../../migrations/0001_campaigns_coupons_failed_events.sql"),
    ),
    (
        2,
        "schedules waitlists and the log",
        include_str!("../../../../migrations/0002_schedules_waitlists_and_the_log.sql"),
    ),
    (
        3,
        "dead letters",
        include_str!("../../../../migrations/0003_dead_letters.sql"),
    ),
    (
        4,
        "intentions",
        include_str!("../../../../migrations/0004_intentions.sql"),
    ),
    (
        5,
        "parked dead letters",
        include_str!("../../../../migrations/0005_parked_dead_letters.sql"),
    ),
    (
        6,
        "dead letters keep every header",
        include_str!("../../../../migrations/0006_dead_letters_keep_every_header.sql"),
    ),
    (
        7,
        "user ids",
        include_str!("../../../../migrations/0007_user_ids.sql"),
    ),
    (
        8,
        "coupon codes and cancellation",
        include_str!("../../../../migrations/0008_coupon_codes_and_cancellation.sql"),
    ),
    (
        9,
        "pool codes",
        include_str!("../../../../migrations/0009_pool_codes.sql"),
    ),
    (
        10,
        "show remaining",
        include_str!("../../../../migrations/0010_show_remaining.sql"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::migrate::Migrator;
    use std::path::Path;

    #[tokio::test]
    async fn every_file_is_embedded_as_sqlx_reads_it() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let files = Migrator::new(files).await.unwrap();
        // The checksum is that of the text.
        let parts = |migration: &Migration| {
            let (description, checksum) = (&migration.description, &migration.checksum);
            let (kind, no_tx) = (migration.migration_type, migration.no_tx);
            (
                migration.version,
                description.clone(),
                kind,
                checksum.clone(),
                no_tx,
            )
        };
        let read: Vec<_> = files.iter().map(parts).collect();
        let embedded: Vec<_> = MIGRATIONS.iter().map(parts).collect();
        assert_eq!(embedded, read);
    }
}
