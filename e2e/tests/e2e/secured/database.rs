//! Tests what consumer and operator say when the database has a wrong certificate, or refuses their login or their
//! rights, and that the consumer works again as soon as it is right.

use super::DATABASE_CERTIFICATE;
use super::says::{Log, says};
use crate::view::View;
use rushgate_e2e::schema::administer;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::certificates::{
    AUTHORITY, EXPIRED, FOREIGN, OTHER_AUTHORITY, OTHER_NAME, SERVER,
};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::wait::until;
use std::time::{Duration, Instant};
use url::Url;

/// A certificate that the database gets, or a statement about the user `?`; how the user becomes right again; and what
/// the programs say.
const CASES: [(&str, &str, &[&str]); 6] = [
    (FOREIGN, "", &["authority", "ssl-ca"]),
    (OTHER_NAME, "", &["another host name", "DATABASE_URL"]),
    (EXPIRED, "", &["expired"]),
    (
        "ALTER USER ? REQUIRE X509",
        "ALTER USER ? REQUIRE NONE",
        &["login was refused", "ssl-cert"],
    ),
    (
        "ALTER USER ? IDENTIFIED BY 'an0ther'",
        "ALTER USER ? IDENTIFIED BY 'secret'",
        &["login was refused", "password"],
    ),
    (
        "REVOKE SELECT, INSERT ON ?.* FROM ?",
        "GRANT SELECT, INSERT ON ?.* TO ?",
        &["lacks a right", "deploy/rights"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_the_database_is_told_and_healed() {
    let _alone = DATABASE_CERTIFICATE.lock().await;
    let mut system = System::start_secured(Size::NO_CONSUMER, &[]).await;
    system
        .operator
        .create("launch", 100)
        .await
        .expect("created");
    let mut url = Url::parse(system.database_url()).expect("a URL");
    // A user with the name of the schema.
    let user = url.path().trim_start_matches('/').to_owned();
    let does = async |statement: &str| {
        let statement = statement.replace('?', &user);
        let done = administer(&statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    };
    does("CREATE USER ? IDENTIFIED BY 'secret'").await;
    does("GRANT ALL ON ?.* TO ?").await;
    let proxy = Proxy::open(0, url.port().expect("a port")).await;
    url.set_port(Some(proxy.port)).expect("a port");
    url.set_username(&user).expect("a user");
    url.set_password(Some("secret")).expect("a password");
    let authority = system.secured().file(AUTHORITY);
    url.set_query(Some(&format!(
        "ssl-mode=VERIFY_IDENTITY&ssl-ca={authority}"
    )));
    system.set("DATABASE_URL", url.as_str());
    system.start_consumer().await;
    let operator = system.operator.with(&[("DATABASE_URL", url.as_str())]);
    let launch = View::of(&system, "launch");
    for (number, (wrong, right, words)) in (1..).zip(CASES) {
        let log = Log::now("the consumer", &system.consumers[0]);
        let certificate = !wrong.contains(' ');
        match certificate {
            true if shows_certificate(&system, wrong).await => {}
            true => {
                assert_eq!(wrong, EXPIRED, "the database does not use this certificate");
                launch.apply(&format!("user-{number}")).await;
                launch.has_rows(number).await;
                continue;
            }
            false => does(wrong).await,
        }
        proxy.reset();
        launch.apply(&format!("user-{number}")).await;
        let show = operator.end_of(&["campaign", "show", "launch"]).await;
        let show = show.expect("run");
        assert_eq!(show.code, Some(1), "{wrong}: {show:?}");
        says("the operator", &show.stderr, words).expect("the reason");
        log.says(words).await;
        proxy.set(Trouble::None);
        let begun = Instant::now();
        // The first case lasts until the replayer, which tries every 2 s, has tried again, too.
        let attempts = if number == 1 { 9 } else { 4 };
        until("it has tried again, several times", async || {
            (proxy.connections() >= attempts).then_some(())
        })
        .await;
        // The waits become longer, and the second one is at least 0.1 s.
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(100), "{wrong}: {took:?}");
        log.is_short(words);
        match certificate {
            true => assert!(shows_certificate(&system, SERVER).await),
            false => does(right).await,
        }
        launch.has_rows(number).await;
    }
    does("DROP USER ?").await;
}

/// The database reads its certificate again. Returns whether it uses it: MySQL uses none that has expired.
async fn shows_certificate(system: &System, name: &str) -> bool {
    let installed = system.secured().certificates.install(name);
    installed.expect("the certificate");
    // MariaDB's statement.
    if administer("FLUSH SSL").await.is_ok() {
        return true;
    }
    // MySQL also checks the certificate itself, with its own authority.
    let authority = system.secured().file(match name {
        FOREIGN => OTHER_AUTHORITY,
        _ => AUTHORITY,
    });
    let set = administer(&format!("SET GLOBAL ssl_ca = '{authority}'")).await;
    set.expect("an authority");
    match administer("ALTER INSTANCE RELOAD TLS").await {
        Err(error) if error.to_string().contains("Invalid certificates") => false,
        done => {
            done.expect("a new certificate");
            true
        }
    }
}
