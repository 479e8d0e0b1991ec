//! The series on which alerts stand, each moved by its fault.

use std::ops::RangeInclusive;
use std::time::Duration;

use douyin_sim::{Gate, Script, SimApp, Simulator, Status, StrangerSettle};
use settlement_gateway::clock::Clock;
use settlement_gateway::proto::v1::{CreateSettleRequest, Settle};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{
    APP_ID, SECRET, create_on, create_request, number, simulator_with, watch_request, within,
};
use crate::process::{Process, Setting, database};

/// Apps of their own, for faults that would hold up the others.
const THROTTLED: &str = "tt-throttled";
const LOCKED_OUT: &str = "tt-locked-out";
/// One request each second for creates, and one for polling.
const LITTLE: &str = "tt-little";

/// A series, and between which values a fault brings it.
type Moves = (String, RangeInclusive<f64>);

fn moves(name: &str, labels: &str, values: RangeInclusive<f64>) -> Moves {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    (format!("{name}{labels}"), values)
}

fn app(app_id: &str) -> String {
    format!("app_id=\"{app_id}\"")
}

/// Some events, a time that is over, and neither.
const SOME: RangeInclusive<f64> = 1.0..=f64::MAX;
const LONG: RangeInclusive<f64> = 0.001..=f64::MAX;
const NONE: RangeInclusive<f64> = 0.0..=0.0;
const SECOND: Duration = Duration::from_secs(1);
const ONE: RangeInclusive<f64> = 1.0..=1.0;

/// A gateway that looks through its settles all the time, and hears callbacks of the first app.
struct Run {
    sim: Simulator,
    dir: TempDir,
    gateway: Process,
    /// A moment just before, in seconds since the Unix epoch.
    began: f64,
}

impl Run {
    async fn start() -> Self {
        let others = [(THROTTLED, SECRET), (LOCKED_OUT, "another secret"), (LITTLE, SECRET)];
        let sim = simulator_with(|config| {
            config.apps.extend(others.map(|(app_id, secret)| SimApp::new(app_id, secret)));
        })
        .await;
        let dir = TempDir::new().unwrap();
        let keys = dir.path().join("keys.pem");
        std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
        let mut more = format!("platform_public_keys_file = {keys:?}\n");
        for (app_id, budget) in [(THROTTLED, 20), (LOCKED_OUT, 20), (LITTLE, 2)] {
            more += &format!(
                "[[apps]]\napp_id = \"{app_id}\"\nclient_secret_env = \"TEST_SECRET\"\n\
                 requests_per_second = {budget}\n"
            );
        }
        more += "[poller]\nsweep_interval_ms = 100\n";
        let just_before = Clock::system().now().since_epoch().saturating_sub(SECOND);
        let began = just_before.as_secs_f64();
        let setting = Setting { more, ..Setting::default() };
        let gateway = Process::start(&sim, dir.path(), setting).await;
        sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
        Self { sim, dir, gateway, began }
    }

    async fn shows(&self, fault: &str, moved: impl IntoIterator<Item = Moves>) {
        for (series, values) in moved {
            let reached = async {
                while !values.contains(&self.gateway.metric(&series).await) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            within(&format!("{fault}: {series} in {values:?}"), reached).await;
        }
    }

    /// The moments of this run.
    fn lately(&self) -> RangeInclusive<f64> {
        self.began..=f64::MAX
    }

    /// Creates a settle, however that is answered.
    async fn create(&self, app_id: &str, number: &str) {
        let request = create_request(number);
        let request = CreateSettleRequest { app_id: app_id.to_owned(), ..request };
        let _ = self.gateway.create(request).await;
    }

    /// Settles that want more of polling than there is, and creates that wait for the budget.
    fn begin_burst(&self) -> JoinSet<()> {
        let mut burst = JoinSet::new();
        for turn in 0..8 {
            let held = create_on(&number("little"), &format!("sim-hold-little-{turn}"));
            let request = CreateSettleRequest { app_id: LITTLE.to_owned(), ..held };
            let mut client = self.gateway.client.clone();
            burst.spawn(async move { client.create_settle(request).await.map_or((), drop) });
        }
        burst
    }

    async fn burst_is_seen(&self, burst: JoinSet<()>) {
        let (of_app, create) = (app(LITTLE), format!("{},asker=\"create\"", app(LITTLE)));
        let left = format!("{of_app},share=\"creates\"");
        let used_up = [
            moves("settlement_budget_refused_total", &create, SOME),
            moves("settlement_budget_wait_seconds_sum", &create, LONG),
            moves("settlement_budget_left", &left, NONE),
            moves("settlement_due_since_timestamp_seconds", &of_app, self.lately()),
            moves("settlement_claims_total", &of_app, SOME),
            moves("settlement_claim_late_seconds_sum", &of_app, LONG),
        ];
        self.shows("the budget is used up", used_up).await;
        burst.join_all().await;
    }

    async fn douyin_throttles(&self) {
        let throttled = number("throttled");
        self.sim.script(&throttled, vec![Script::Refuse(12001); 100]);
        self.create(THROTTLED, &throttled).await;
        let of_app = app(THROTTLED);
        let reason = format!("{of_app},reason=\"UPSTREAM_RATE_LIMITED\"");
        let submitting = format!("{of_app},state=\"SUBMITTING\"");
        let moved = [
            moves("settlement_pauses_total", &reason, SOME),
            moves("settlement_paused_until_timestamp_seconds", &of_app, self.lately()),
            moves("settlement_settles_open", &submitting, ONE),
            moves("settlement_settle_oldest_open_seconds", &submitting, LONG),
            moves("settlement_settles_due", &of_app, ONE),
            moves("settlement_round_timestamp_seconds", "", self.lately()),
        ];
        self.shows("Douyin throttles", moved).await;
    }

    async fn douyin_rejects_the_secret(&self) {
        self.create(LOCKED_OUT, &number("locked")).await;
        let of_app = app(LOCKED_OUT);
        let reason = format!("{of_app},reason=\"UPSTREAM_CREDENTIALS_REJECTED\"");
        let kind = format!("{of_app},kind=\"credentials_rejected\"");
        let moved = [
            moves("settlement_pauses_total", &reason, SOME),
            moves("settlement_settles_stuck", &kind, ONE),
        ];
        self.shows("Douyin rejects the secret", moved).await;
    }

    async fn a_token_ends_early(&self) {
        self.create(APP_ID, &number("warm")).await;
        self.sim.expire_tokens(APP_ID);
        // A token is replaced at most once per gap.
        let again =
            async { while self.gateway.create(create_request(&number("again"))).await.is_err() {} };
        within("a create with another token", again).await;
        let moved = [
            moves("settlement_token_rejections_total", &app(APP_ID), SOME),
            moves("settlement_token_fetched_timestamp_seconds", &app(APP_ID), self.lately()),
            moves("settlement_token_end_timestamp_seconds", &app(APP_ID), self.lately()),
        ];
        self.shows("a token ends early", moved).await;
    }

    async fn douyin_answers_an_unlisted_number(&self) {
        let unlisted = number("unlisted");
        self.sim.script(&unlisted, vec![Script::Refuse(98_765)]);
        self.create(APP_ID, &unlisted).await;
        let moved = moves("settlement_unlisted_answers_total", &app(APP_ID), SOME);
        self.shows("Douyin answers an unlisted number", [moved]).await;
    }

    async fn a_settle_lasts_and_its_watcher_hangs_up(&self) -> Settle {
        let held = number("held");
        let settle = self.gateway.create(create_on(&held, "sim-hold-1")).await.unwrap();
        self.open_settles("Douyin ends no settle", ONE, LONG).await;
        let watch = self.gateway.client.clone().watch_settle(watch_request(&held, 0)).await;
        let watch = watch.unwrap();
        self.open_watches("a watcher is there", ONE).await;
        drop(watch);
        let gone = moves("settlement_watches_ended_total", "ending=\"CALLER_GONE\"", SOME);
        self.shows("a watcher hangs up", [gone]).await;
        self.open_watches("a watcher hangs up", NONE).await;
        settle
    }

    async fn open_watches(&self, fault: &str, watches: RangeInclusive<f64>) {
        let moved = [
            moves("settlement_watches_open", "", watches.clone()),
            moves("settlement_calls_open", "rpc=\"WatchSettle\"", watches),
        ];
        self.shows(fault, moved).await;
    }

    async fn douyin_keeps_the_poller_waiting(&self, settle: &Settle) {
        let (gate, turns) = (Gate::new(), "settlement_turns_open");
        self.sim.script_query(settle.settle_id(), vec![Script::Hold(gate.clone())]);
        within("the query", gate.arrived()).await;
        self.shows("Douyin does not answer a query", [moves(turns, &app(APP_ID), ONE)]).await;
        gate.open();
        self.shows("Douyin answers it", [moves(turns, &app(APP_ID), NONE)]).await;
    }

    async fn it_ends_by_its_callback(&self, settle: &Settle) {
        self.sim.finish(settle.settle_id(), Status::Success);
        self.open_settles("Douyin ends it", NONE, NONE).await;
        let acknowledged = format!("{},result=\"acknowledged\"", app(APP_ID));
        let moved = [
            moves("settlement_callback_delay_seconds_count", &app(APP_ID), SOME),
            moves("settlement_callbacks_total", &acknowledged, SOME),
        ];
        self.shows("its callback comes", moved).await;
    }

    async fn open_settles(
        &self,
        fault: &str,
        settles: RangeInclusive<f64>,
        age: RangeInclusive<f64>,
    ) {
        let processing = format!("{},state=\"PROCESSING\"", app(APP_ID));
        let moved = [
            moves("settlement_settles_open", &processing, settles),
            moves("settlement_settle_oldest_open_seconds", &processing, age),
        ];
        self.shows(fault, moved).await;
    }

    async fn another_system_takes_the_number(&self, settle: &Settle) {
        let theirs = StrangerSettle {
            out_order_no: "another-order".to_owned(),
            status: Status::Success,
            ..StrangerSettle::default()
        };
        self.sim.stranger_settle(APP_ID, &settle.out_settle_no, theirs);
        let foreign = format!("{},alert=\"ForeignSettle\"", app(APP_ID));
        let moved = [
            moves("settlement_alerts_total", &foreign, SOME),
            moves("settlement_log_errors_total", "", SOME),
        ];
        self.shows("another system takes the number", moved).await;
    }

    async fn the_database_is_removed(&self) {
        std::fs::remove_file(database(self.dir.path())).unwrap();
        self.create(APP_ID, &number("lost")).await;
        let failed = "settlement_store_commit_duration_seconds_count";
        let moved = [moves(failed, "result=\"failed\"", SOME), moves("settlement_ready", "", NONE)];
        self.shows("the database is removed", moved).await;
    }
}

#[tokio::test]
async fn each_fault_moves_the_series_of_its_alert() {
    let run = Run::start().await;
    let burst = run.begin_burst();
    run.douyin_throttles().await;
    run.douyin_rejects_the_secret().await;
    run.a_token_ends_early().await;
    run.douyin_answers_an_unlisted_number().await;
    let settle = run.a_settle_lasts_and_its_watcher_hangs_up().await;
    run.douyin_keeps_the_poller_waiting(&settle).await;
    run.it_ends_by_its_callback(&settle).await;
    run.another_system_takes_the_number(&settle).await;
    run.burst_is_seen(burst).await;
    run.the_database_is_removed().await;
}
