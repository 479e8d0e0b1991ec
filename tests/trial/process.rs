//! One process of a gateway. Its tasks can be delayed, reordered and ended at any point.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use settlement_gateway::tasks::{Runner, Task};
use tokio::time::{Instant, Sleep};

use crate::faults::Fault;
use crate::rules::Rule;
use crate::world::World;

/// Cheap to clone; clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Shared>);

struct Shared {
    world: World,
    name: String,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    dead: bool,
    /// Nothing runs before this moment.
    frozen_until: Option<Instant>,
    /// It dies when so many more polls have been made.
    polls_left: Option<u64>,
    /// Of its tasks, to be woken by its death.
    wakers: Vec<Waker>,
    tasks: usize,
}

/// What happens instead of a poll.
enum Before {
    Poll,
    Die,
    Wait(Duration),
    Yield,
}

impl Process {
    pub fn new(world: &World, name: String) -> Self {
        Self(Arc::new(Shared { world: world.clone(), name, life: Mutex::default() }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn is_alive(&self) -> bool {
        !self.life().dead
    }

    /// How many tasks it has.
    pub fn tasks(&self) -> usize {
        self.life().tasks
    }

    /// Ends every task where it stands.
    pub fn kill(&self) {
        let wakers = {
            let mut life = self.life();
            life.dead = true;
            std::mem::take(&mut life.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn die_in(&self, polls: u64) {
        self.life().polls_left = Some(polls);
    }

    /// Runs nothing for so long. What falls due meanwhile happens afterwards.
    pub fn freeze(&self, lasts: Duration) {
        self.life().frozen_until = Some(Instant::now() + lasts);
    }

    /// What a gateway's tasks are run within.
    pub fn runner(&self) -> Runner {
        let process = self.clone();
        Runner::Within(Arc::new(move |task| Box::pin(process.mortal(task))))
    }

    /// Runs a task in this process.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.mortal(Box::pin(task)));
    }

    fn mortal(&self, task: Task) -> Mortal {
        self.life().tasks += 1;
        Mortal { process: self.clone(), task: Some(task), stall: None, known: false }
    }

    fn before_poll(&self) -> Before {
        let world = &self.0.world;
        let mut life = self.life();
        if let Some(until) = life.frozen_until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() && !world.is_calm() {
                return Before::Wait(left.min(world.storm_left()));
            }
            life.frozen_until = None;
        }
        match &mut life.polls_left {
            // No process dies once faults are over.
            Some(_) if world.is_calm() => {}
            Some(0) => return Before::Die,
            Some(left) => *left -= 1,
            None => {}
        }
        drop(life);
        if world.roll(Fault::Overtaken) {
            return Before::Yield;
        }
        if world.roll(Fault::Stall) {
            let longest_ms = [5, 50, 2_000, 90_000][world.below(4)];
            return Before::Wait(Duration::from_millis(world.upto(longest_ms)));
        }
        Before::Poll
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.0.life.lock().expect("no code panics while holding this lock")
    }
}

/// A task of a process.
struct Mortal {
    process: Process,
    /// `None` once it has ended, by itself or with its process.
    task: Option<Task>,
    stall: Option<Pin<Box<Sleep>>>,
    /// Its process knows its waker.
    known: bool,
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let process = this.process.clone();
        if !this.known {
            this.known = true;
            process.life().wakers.push(context.waker().clone());
        }
        if !process.is_alive() {
            this.task = None;
            return Poll::Ready(());
        }
        if let Some(stall) = &mut this.stall {
            std::task::ready!(stall.as_mut().poll(context));
            this.stall = None;
        }
        match process.before_poll() {
            Before::Poll => {}
            Before::Die => {
                this.task = None;
                process.0.world.crashed(&process);
                return Poll::Ready(());
            }
            Before::Wait(lasts) => {
                let mut stall = Box::pin(tokio::time::sleep(lasts));
                if stall.as_mut().poll(context).is_pending() {
                    this.stall = Some(stall);
                    return Poll::Pending;
                }
            }
            Before::Yield => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let task = this.task.as_mut().expect("a task that has ended is not polled again");
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        process.0.world.stirred();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                this.task = None;
                Poll::Ready(())
            }
            Err(_) => {
                this.task = None;
                process.0.world.violation(Rule::NoPanics, &format!("a task of {}", process.name()));
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.task = None;
        self.process.life().tasks -= 1;
    }
}
