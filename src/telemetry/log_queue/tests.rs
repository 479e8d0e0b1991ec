//! A place that cannot be written to, in each possible way, and what happens to the lines.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// Gives each write its scripted answer and keeps what was written; after the script it takes all.
struct Outside {
    answers: Vec<io::Result<usize>>,
    written: Arc<Mutex<Vec<u8>>>,
    /// If there is one, writing waits here until the test opens it.
    gate: Option<Receiver<()>>,
}

impl Write for Outside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            // A gate whose sender is gone stays open.
            let _ = gate.recv();
        }
        let answer = if self.answers.is_empty() { Ok(bytes.len()) } else { self.answers.remove(0) };
        let taken = answer?.min(bytes.len());
        self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn outside(answers: Vec<io::Result<usize>>) -> (Outside, Arc<Mutex<Vec<u8>>>) {
    let written = Arc::default();
    (Outside { answers, written: Arc::clone(&written), gate: None }, written)
}

fn gated() -> (Outside, Arc<Mutex<Vec<u8>>>, SyncSender<()>) {
    let (open, gate) = sync_channel(1);
    let (out, written) = outside(Vec::new());
    (Outside { gate: Some(gate), ..out }, written, open)
}

fn text(written: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(written.lock().unwrap().clone()).unwrap()
}

#[test]
fn lines_are_written_in_order_and_all_of_them_before_the_end() {
    let (out, written) = outside(Vec::new());
    let log = LogQueue::start(out, &LOG);
    let lines: Vec<_> = (0..5_000).map(|n| format!("line {n}\n")).collect();
    lines.iter().for_each(|line| log.push(line.as_bytes()));
    log.finish();
    assert_eq!(text(&written), lines.concat());
}

#[test]
fn a_write_that_fails_is_tried_again_and_a_line_goes_on_where_it_stopped() {
    let failures = [ErrorKind::StorageFull, ErrorKind::WouldBlock, ErrorKind::Interrupted];
    for failure in failures {
        let (out, written) = outside(vec![Ok(4), Err(failure.into()), Err(failure.into())]);
        let log = LogQueue::start(out, &LOG);
        log.push(b"the first line\n");
        log.push(b"the second line\n");
        // The end of the process tries once more; this test must only not end earlier.
        while text(&written).len() < 31 {
            thread::yield_now();
        }
        log.finish();
        assert_eq!(text(&written), "the first line\nthe second line\n", "{failure:?}");
    }
}

#[test]
fn a_thread_that_logs_never_waits_and_lines_without_room_are_dropped() {
    let (out, written, open) = gated();
    let log = LogQueue::start(out, &LOG);
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    let pushed = 2 * BYTES_MAX / line.len();
    log.push(&line);
    while !log.state().queued.is_empty() {
        thread::yield_now();
    }
    (1..pushed).for_each(|_| log.push(&line));
    let dropped = log.state().dropped;
    assert!(log.state().queued.len() <= BYTES_MAX);
    drop(open);
    log.finish();
    let kept = text(&written).lines().filter(|line| line.starts_with('x')).count();
    assert_eq!(kept as u64 + dropped, pushed as u64, "each line is written or counted");
    assert!(dropped > 0 && kept >= BYTES_MAX / line.len());
}

#[test]
fn the_end_waits_for_no_reader_that_stands_still_and_for_no_full_disk() {
    let (stalled, _, _open) = gated();
    let full = (0..1_000).map(|_| Err(ErrorKind::StorageFull.into())).collect();
    for out in [stalled, outside(full).0] {
        let log = LogQueue::start(out, &LOG);
        log.push(b"this is never read\n");
        log.finish();
    }
}

#[test]
fn what_is_written_in_one_piece_are_whole_lines() {
    let (short, long) = ([b'a'; 99], [b'b'; 3 * PIPE_BUF]);
    let short = [&short[..], b"\n"].concat();
    let long = [&long[..], b"\n"].concat();
    assert_eq!(whole_lines(&short), short);
    assert_eq!(whole_lines(&short.repeat(100)).len(), 4_000);
    assert_eq!(whole_lines(&[&long[..], &short[..]].concat()), long);
    assert_eq!(whole_lines(&[&short[..], &long[..]].concat()), short);
}
