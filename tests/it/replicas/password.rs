//! The password of the database is changed while a gateway has it open.

use std::sync::Arc;
use std::time::Duration;

use settlement_gateway::config;
use settlement_gateway::store::{Error, Postgres, Store};
use tempfile::TempDir;

use super::database::Database;
use crate::config::{ONE_APP, load};
use crate::harness::within;

/// Makes a user whom the server believes by its password only; how it connects.
pub async fn user_with_password(server: &Database, user: &str, password: &str) -> String {
    let rules = server.text("SHOW hba_file").await.unwrap();
    server.run(&format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'")).await;
    let lines = format!("('local all {user} scram-sha-256'), ('local all all trust')");
    server.run(&format!("COPY (VALUES {lines}) TO '{rules}'")).await;
    server.run("SELECT pg_reload_conf()").await;
    let home = server.home().display().to_string().replace('/', "%2F");
    format!("postgres://{user}@{home}/postgres")
}

async fn until_it_commits(store: &Store) {
    let committing = async {
        // Its sessions have ended, and it notices that with the first statement on each.
        while let Err(error) = store.ping().await {
            assert!(matches!(error, Error::Unavailable(_) | Error::InDoubt(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a session with the password of the moment", committing).await;
}

#[tokio::test]
async fn the_file_of_the_password_is_read_again_for_each_session() {
    let (server, dir) = (Database::start().await, TempDir::new().unwrap());
    let url = user_with_password(&server, "turning", "first").await;
    let file = dir.path().join("password");
    let write = |word: &str| std::fs::write(&file, word).unwrap();
    write("first\n");
    let text = format!("[store]\nurl = {url:?}\npassword_file = {file:?}\n{ONE_APP}");
    let loaded = load(&text, &[]).map_err(|problems| problems.to_string()).unwrap();
    let config::Database::Postgres(options) = loaded.config.database() else { panic!("it is one") };
    Postgres::init(&options).await.unwrap();
    write("wrong");
    let refused = Postgres::open((*options).clone()).await.err().expect("the password is wrong");
    assert!(refused.to_string().contains("password authentication failed"), "{refused}");
    write("first");
    let store = Store::Postgres(Arc::new(Postgres::open(*options).await.unwrap()));

    server.run("ALTER ROLE turning PASSWORD 'second'").await;
    write("second\n");
    server.terminate_sessions().await;
    until_it_commits(&store).await;
    // Without the file the last one goes on to count.
    std::fs::remove_file(&file).unwrap();
    server.terminate_sessions().await;
    until_it_commits(&store).await;
    store.close().await;

    // Or from a variable, which stays as it is.
    let text = format!("[store]\nurl = {url:?}\npassword_env = \"TURNING\"\n{ONE_APP}");
    let opened = |password| {
        let loaded = load(&text, &[("TURNING", password)]);
        let loaded = loaded.map_err(|problems| problems.to_string()).unwrap();
        let config::Database::Postgres(options) = loaded.config.database() else { panic!() };
        Postgres::open(*options)
    };
    opened("second").await.unwrap();
    let refused = opened("first").await.err().expect("the password is wrong");
    assert!(refused.to_string().contains("password authentication failed"), "{refused}");
}
