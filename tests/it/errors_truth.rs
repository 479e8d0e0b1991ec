//! `outcome` is a promise about money, and stays true: each way to it is played, three simulated
//! days pass, and every promise is compared with what Douyin applied in the end.
//!
//! Everything runs in this process on simulated time, with the limits and waits of a real gateway:
//! a grace of an hour takes an hour.

mod ended;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use douyin_sim::{AppliedSettle, Status};
use settlement_gateway::proto::v1;

use crate::harness::create_on;
use world::{Fault, Heard, World};

const HOUR: Duration = Duration::from_secs(3600);

/// One way to an outcome. Each has an app of its own, so that the pauses of others do not touch it.
struct Way {
    name: &'static str,
    /// What the first caller hears: an outcome, or OK.
    first: &'static str,
    /// What callers hear in the end.
    last: &'static str,
    sends: &'static [Fault],
    /// What queries meet, one after the other.
    queries: &'static [Fault],
}

const OK: &str = "OK";
const NOT_SENT: &str = "not_sent";
const REFUSED: &str = "refused";
const UNKNOWN: &str = "unknown";

use Fault::{Hang, LostAnswer, LostRequest, Nameless, Refuse, Unreachable};

const fn way(name: &'static str, first: &'static str, last: &'static str) -> Way {
    Way { name, first, last, sends: &[], queries: &[] }
}

/// Ways of a request that is right and comes alone.
const WAYS: &[Way] = &[
    way("accepted", OK, OK),
    Way { sends: &[LostAnswer, LostRequest], queries: &[Hang], ..way("lost", UNKNOWN, OK) },
    Way { sends: &[LostRequest; 2], ..way("never-arrived", UNKNOWN, OK) },
    Way { sends: &[Unreachable; 2], ..way("unreachable", UNKNOWN, OK) },
    Way { sends: &[LostAnswer, Hang], queries: &[LostAnswer], ..way("hanging", UNKNOWN, OK) },
    Way { sends: &[Refuse(23000); 9], ..way("system-error", UNKNOWN, OK) },
    Way { sends: &[Refuse(12001)], ..way("throttled", UNKNOWN, OK) },
    Way { sends: &[Refuse(10020)], ..way("quota", UNKNOWN, OK) },
    Way { sends: &[Refuse(28001003); 4], ..way("credentials", UNKNOWN, OK) },
    Way { sends: &[Nameless], queries: &[Hang], ..way("nameless", UNKNOWN, OK) },
    // The money went with the first send, and a repeat is refused for lack of it.
    Way {
        sends: &[LostAnswer, Refuse(23112)],
        queries: &[LostAnswer; 3],
        ..way("refused-repeat", UNKNOWN, OK)
    },
    Way { sends: &[LostRequest, Refuse(23112)], ..way("refused-at-last", UNKNOWN, REFUSED) },
    Way { sends: &[Refuse(23999); 3], ..way("unlisted", UNKNOWN, REFUSED) },
    Way { sends: &[Refuse(23111)], ..way("taken-and-not-shown", UNKNOWN, REFUSED) },
    Way { sends: &[Refuse(23000); 2_000], ..way("expired", UNKNOWN, REFUSED) },
    Way { sends: &[Refuse(23102)], ..way("unpaid", REFUSED, REFUSED) },
    Way { sends: &[Refuse(10000)], ..way("wrong", REFUSED, REFUSED) },
    Way { sends: &[Refuse(28001014)], ..way("forbidden", REFUSED, REFUSED) },
];

/// Ways that need more than faults; each has an app, too.
const OTHERS: &[&str] = &[
    "late-answer",
    "foreign",
    "unproven",
    "conflict",
    "conflict-refused",
    "no-time",
    "overload",
    "budget",
    "pause",
    "store",
    "store-in-doubt",
    "window",
    "drain",
    "later",
];

fn app_id(name: &str) -> String {
    format!("tt-{name}")
}

fn request(name: &str) -> v1::CreateSettleRequest {
    let app_id = app_id(name);
    v1::CreateSettleRequest { app_id, ..create_on(name, &format!("order-of-{name}")) }
}

/// What a caller was promised under a number, and what had been sent by then.
#[derive(Clone, Debug)]
struct Promise {
    number: String,
    heard: Heard,
    sends: usize,
}

/// All that was promised, and the last word under each number.
#[derive(Default)]
struct Promises(Vec<Promise>);

impl Promises {
    /// Calls, and keeps what is heard.
    async fn call(&mut self, world: &World, request: v1::CreateSettleRequest) -> Heard {
        let number = request.out_settle_no.clone();
        let heard = world.create(request, None).await;
        self.heard(world, &number, heard)
    }

    fn heard(&mut self, world: &World, number: &str, heard: Heard) -> Heard {
        let sends = world.sends(number);
        self.0.push(Promise { number: number.to_owned(), heard: heard.clone(), sends });
        heard
    }

    fn last(&self) -> BTreeMap<&str, &Heard> {
        self.0.iter().map(|it| (it.number.as_str(), &it.heard)).collect()
    }

    /// Compares each promise with Douyin's books as they are in the end.
    fn hold(&self, world: &World) {
        let books = world.books();
        // Under these numbers another request was sent than the one that was turned away.
        let sent_by_others = ["conflict"];
        for promise in &self.0 {
            let Promise { number, heard, sends } = promise;
            let alive = |settle: &&AppliedSettle| settle.status != Status::Fail;
            let ours: Vec<_> =
                books.under(number).into_iter().filter(|it| world.is_ours(it)).collect();
            assert!(ours.len() <= 1, "{number} is paid twice: {ours:?}");
            match heard.word.as_str() {
                REFUSED => {
                    assert_eq!(world.sends(number), *sends, "sent after {promise:?}");
                    let living = ours.iter().filter(|it| alive(it)).count();
                    assert_eq!(living, 0, "{promise:?}, and it lives: {ours:?}");
                }
                NOT_SENT if !sent_by_others.contains(&number.as_str()) => {
                    assert_eq!((world.sends(number), ours.len()), (0, 0), "{promise:?}");
                }
                OK => assert_eq!(ours.len(), 1, "{promise:?}"),
                NOT_SENT | UNKNOWN => {}
                other => panic!("{number} heard {other}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_still_true_after_three_days() {
    let names = WAYS.iter().map(|way| way.name).chain(OTHERS.iter().copied());
    let world = World::new(names.map(app_id).collect()).await;
    let mut promises = Promises::default();
    for way in WAYS {
        world.script(way.name, way.sends, way.queries);
        let heard = promises.call(&world, request(way.name)).await;
        assert_eq!(heard, way.first, "{}", way.name);
    }
    others(&world, &mut promises).await;
    // All callers come back each hour, as callers and meshes do.
    for hour in 0..3 * 24 + 3 {
        world.pass(HOUR).await;
        for way in WAYS {
            let heard = promises.call(&world, request(way.name)).await;
            assert_ne!(heard, NOT_SENT, "{} is recorded: {hour} h", way.name);
        }
    }
    let last = promises.last();
    for way in WAYS {
        assert_eq!(*last[way.name], way.last, "{} in the end", way.name);
    }
    for (name, reason) in [
        ("refused-at-last", "NO_MONEY_TO_SETTLE"),
        ("unlisted", "DOUYIN_ERROR"),
        ("taken-and-not-shown", "OUT_SETTLE_NO_EXISTS"),
        ("expired", "SUBMISSION_EXPIRED"),
    ] {
        assert_eq!(last[name].reason, reason, "{name}");
    }
    let heard = promises.call(&world, request("unproven")).await;
    assert_eq!(heard, UNKNOWN, "nothing proves whose it is, and a person has to look");
    world.core.drain();
    assert_eq!(promises.call(&world, request("drain")).await, NOT_SENT);
    world.pass(HOUR).await;
    promises.hold(&world);
    for outcome in [OK, NOT_SENT, REFUSED, UNKNOWN] {
        assert!(promises.0.iter().any(|it| it.heard == outcome), "{outcome} was never heard");
    }
    println!("{} promises kept, {} sends", promises.0.len(), world.sends_total());
}

/// The ways that need more than one call, or a call that is wrong.
async fn others(world: &World, promises: &mut Promises) {
    // The answer comes after its caller's time.
    world.script("late-answer", &[Fault::Late(3_000)], &[]);
    let call = world.create(request("late-answer"), Some(Duration::from_secs(1)));
    let heard = call.await;
    assert_eq!(promises.heard(world, "late-answer", heard), UNKNOWN);

    // Another system's settle, with a mark that is not ours, and without one.
    world.stranger("foreign", "sg1:00000000000000000000000000000000");
    assert_eq!(promises.call(world, request("foreign")).await, REFUSED);
    world.stranger("unproven", "");
    assert_eq!(promises.call(world, request("unproven")).await, UNKNOWN);

    // The number is recorded with other content, living and rejected.
    for (name, sends, heard) in
        [("conflict", &[][..], NOT_SENT), ("conflict-refused", &[Refuse(23102)][..], REFUSED)]
    {
        world.script(name, sends, &[]);
        promises.call(world, request(name)).await;
        let other = v1::CreateSettleRequest { settle_desc: "other".to_owned(), ..request(name) };
        assert_eq!(promises.call(world, other).await, heard, "{name}");
    }

    // No time, a window that is over, an app that is not served, fields that are wrong.
    let heard = world.create(request("no-time"), Some(Duration::from_millis(5))).await;
    assert_eq!(promises.heard(world, "no-time", heard), NOT_SENT);
    let mut late = request("window");
    late.submit_before = Some(prost_types::Timestamp::default());
    assert_eq!(promises.call(world, late).await, NOT_SENT);
    let mut unserved = request("later");
    unserved.app_id = "tt-not-served".to_owned();
    assert_eq!(promises.call(world, unserved).await, NOT_SENT);
    let wrong = v1::CreateSettleRequest { settle_desc: String::new(), ..request("later") };
    assert_eq!(promises.call(world, wrong).await, NOT_SENT);

    // Too many at once, and no budget: both while others wait for Douyin.
    for (name, beside) in [("overload", 2), ("budget", 1)] {
        let mut held = Vec::new();
        for i in 0..beside {
            let number = format!("{name}-beside-{i}");
            world.script(&number, &[Fault::Late(4_000)], &[]);
            let beside = create_on(&number, &format!("order-of-{number}"));
            held.push(world.begin(v1::CreateSettleRequest { app_id: app_id(name), ..beside }));
        }
        world.pass(Duration::from_millis(50)).await;
        assert_eq!(promises.call(world, request(name)).await, NOT_SENT, "{name}");
        for call in held {
            assert_eq!(call.await.unwrap(), OK, "{name}");
        }
    }
    // The app is paused.
    world.script("pause-first", &[Refuse(12001)], &[]);
    let first =
        v1::CreateSettleRequest { out_settle_no: "pause-first".to_owned(), ..request("pause") };
    assert_eq!(promises.call(world, first).await, UNKNOWN);
    assert_eq!(promises.call(world, request("pause")).await, NOT_SENT);

    // The store fails before anything is written, and after Douyin took it.
    world.break_store();
    assert_eq!(promises.call(world, request("store")).await, NOT_SENT);
    world.mend_store();
    world.script("store-in-doubt", &[Fault::Late(2_000)], &[]);
    let call = world.begin(request("store-in-doubt"));
    world.pass(Duration::from_secs(1)).await;
    world.break_store();
    let heard = call.await.unwrap();
    world.mend_store();
    assert_eq!(promises.heard(world, "store-in-doubt", heard), UNKNOWN);
}
