//! How a world is played: in every order if there are not too many, else in drawn ones.

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// The most orders of a world that is played in all of them.
const ORDERS_MAX: usize = 100_000;
/// How many orders are drawn, of each kind.
const DRAWN: usize = 1_500;
/// Switches at unlikely places. Every race known in structures like these needs one or two.
const SWITCHES: usize = 3;

/// Plays a small world in every order there is. It fails by a panic, or when all its tasks wait for
/// each other.
pub fn play_all(name: &str, world: impl Fn() + Send + Sync + Copy + 'static) {
    let orders = run(DfsScheduler::new(Some(ORDERS_MAX), false), world);
    assert!(orders < ORDERS_MAX, "{name} is too large to be played in every order");
    println!("{name}: all {orders} orders");
}

/// Plays a world in drawn orders: in any, and in those with few switches at unlikely places.
pub fn play(name: &str, world: impl Fn() + Send + Sync + Copy + 'static) {
    let seed = std::env::var("SEED").ok();
    let seed = seed.map_or(1, |seed| seed.parse().expect("SEED is a number"));
    println!("{name}: SEED={seed}, {} orders", 2 * DRAWN);
    run(RandomScheduler::new_from_seed(seed, DRAWN), world);
    run(PctScheduler::new_from_seed(seed, SWITCHES, DRAWN), world);
}

fn run(scheduler: impl Scheduler + 'static, world: impl Fn() + Send + Sync + 'static) -> usize {
    Runner::new(scheduler, Config::new()).run(world)
}
