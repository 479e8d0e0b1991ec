//! At a terminal an export and an import show how far they are.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::Client;

use super::fleet::{Fleet, LEASE, Mode};
use super::moves::{gateway, pipe, until_importing};
use crate::harness::{create_request, number, within};
use crate::terminal::terminal;

/// Longer than a command waits before it writes its line again.
const LONG: Duration = Duration::from_millis(400);

/// What a command says at a terminal while something holds it up.
async fn seen(mut command: Command, held_up: impl Future<Output = ()>) -> String {
    let (mut person, end) = terminal();
    let mut running = command.stderr(end).spawn().unwrap();
    // Only the command has its end of the terminal, which closes with it.
    drop(command);
    let reading = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        // A terminal without a command ends with an error.
        let _ = person.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    });
    held_up.await;
    assert!(within("it to end", running.wait()).await.unwrap().success());
    reading.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_person_sees_how_far_a_move_is_and_a_program_sees_nothing() {
    let (from, to) = (Fleet::new(Mode::Whole).await, Fleet::new(Mode::Whole).await);
    let replica = from.start(0).await;
    for _ in 0..3 {
        replica.create(create_request(&number("moves")), LEASE).await.unwrap();
    }
    replica.stop().await;
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let export = |name: &str| gateway(&["export", &file(name)], &from.configuration());
    // It waits for the table.
    let held_up = async |locked: Client| {
        from.database.until_waits("LOCK TABLE settle").await;
        tokio::time::sleep(LONG).await;
        locked.batch_execute("COMMIT").await.unwrap();
    };
    let lock = || from.database.lock("ROW EXCLUSIVE");
    let locked = lock().await;
    let (exported, ()) = tokio::join!(export("read by a program").output(), held_up(locked));
    let exported = exported.unwrap();
    assert!(exported.status.success());
    assert_eq!(String::from_utf8_lossy(&exported.stderr), "");
    // The first settle comes late enough.
    let locked = lock().await;
    let said = seen(export("seen by a person"), held_up(locked)).await;
    assert_eq!(said, "\r1 settles exported\r\n");

    let (pipe, text) = (pipe(dir.path()).await, std::fs::read(file("seen by a person")).unwrap());
    let mut import = gateway(&["import", pipe.to_str().unwrap()], &to.configuration());
    import.stdout(Stdio::null());
    let slowly = async {
        // The head and a settle.
        let line = |(place, byte): (usize, &u8)| (*byte == b'\n').then_some(place + 1);
        let begin = text.iter().enumerate().filter_map(line).nth(1).unwrap();
        let (begin, rest) = (text[..begin].to_owned(), &text[begin..]);
        let writing = tokio::task::spawn_blocking(move || {
            let mut end = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            end.write_all(&begin).unwrap();
            end
        });
        let mut end = within("the import to begin", writing).await.unwrap();
        until_importing(None, &to).await;
        tokio::time::sleep(LONG).await;
        end.write_all(rest).unwrap();
    };
    let said = seen(import, slowly).await;
    assert!(said.contains(" settles imported"), "{said:?}");
}
