//! What the callers want and what they were told, and whether Douyin's books agree. Everything here
//! is seen from outside: answers of the gateway, and the simulator's books.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use douyin_sim::{AppliedSettle, Snapshot, Status};
use settlement_gateway::proto::v1::{self, SettleOrigin, SettleState};

use crate::harness::create_on;

/// How many of the numbers that were told last are remembered: what was told just before a kill is
/// what may not have been durable.
pub const LATELY: usize = 40;

/// All intents of a run.
#[derive(Default)]
pub struct Ledger(Mutex<Pages>);

#[derive(Default)]
pub struct Pages {
    pub intents: Vec<Intent>,
    /// Which intent, and which of its attempts.
    numbers: HashMap<String, (usize, usize)>,
    /// Numbers whose settle was told, the latest one last.
    told_lately: VecDeque<String>,
    /// Whether the store may be away and lose records. A settle of a lost one is shown as Douyin
    /// tells it. And callbacks that came meanwhile come again after all else, so that two settles
    /// may be known under a number before it is known which of them has failed.
    pub forgets: bool,
}

/// One payment that is to happen once.
pub struct Intent {
    /// In order; a later one is made only when the one before it permits it.
    pub attempts: Vec<Attempt>,
    pub paid: bool,
}

pub struct Attempt {
    pub request: v1::CreateSettleRequest,
    pub told: Told,
}

/// What the gateway has said of one number.
#[derive(Default)]
pub struct Told {
    /// It is recorded.
    recorded: bool,
    /// The newest one that was told; 0 for none.
    revision: i64,
    /// More than one only if Douyin took a repeat for another settle after a FAIL, which frees a
    /// number with some of its habits.
    settle_ids: BTreeSet<String>,
    end: Option<End>,
}

/// What ends a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Succeeded,
    Failed,
    /// The state REJECTED, or the outcome `refused`.
    Refused,
}

impl Ledger {
    pub fn open(&self) -> MutexGuard<'_, Pages> {
        // A caller that saw what must not be fails the run when it is joined.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// A new intent, with its first attempt on this order.
    pub fn intend(&mut self, order: &str) -> usize {
        let intent = self.intents.len();
        self.intents.push(Intent { attempts: Vec::new(), paid: false });
        self.attempt(intent, order);
        intent
    }

    /// Another number for the same intent. Every attempt has an order of its own, so that a second
    /// payment is not refused for want of money, and shows.
    pub fn attempt(&mut self, intent: usize, order: &str) {
        let attempts = &mut self.intents[intent].attempts;
        let number = format!("intent-{intent}-{}", attempts.len());
        let request = create_on(&number, &format!("{order}-{number}"));
        self.numbers.insert(number, (intent, attempts.len()));
        attempts.push(Attempt { request, told: Told::default() });
    }

    /// The attempt that an intent is at.
    pub fn current(&self, intent: usize) -> &Attempt {
        self.intents[intent].attempts.last().expect("an intent begins with an attempt")
    }

    pub fn unpaid(&self) -> usize {
        self.intents.iter().filter(|intent| !intent.paid).count()
    }

    /// The gateway shows a settle.
    pub fn shown(&mut self, settle: &v1::Settle) {
        self.told_lately.push_back(settle.out_settle_no.clone());
        if self.told_lately.len() > LATELY {
            self.told_lately.pop_front();
        }
        let forgets = self.forgets;
        let is_adopted = forgets && settle.origin() == SettleOrigin::Platform;
        let attempt = self.attempt_of(&settle.out_settle_no);
        let request = &attempt.request;
        if !is_adopted {
            assert_eq!(settle.origin(), SettleOrigin::Gateway, "{settle:?}");
            assert_eq!(settle.out_order_no(), request.out_order_no, "{settle:?}");
            assert_eq!(settle.settle_params, request.settle_params, "{settle:?}");
        }
        attempt.told.recorded = true;
        attempt.told.revision = attempt.told.revision.max(settle.revision);
        if let Some(claim) = settle.contradiction.as_ref().filter(|_| forgets) {
            return attempt.told.disputed(settle, claim);
        }
        assert_eq!(settle.contradiction, None, "{settle:?}");
        let before = attempt.told.end;
        match settle.state() {
            SettleState::Submitting => {}
            SettleState::Processing => assert_ne!(settle.settle_id(), "", "{settle:?}"),
            SettleState::Succeeded => attempt.told.ended(End::Succeeded, settle),
            SettleState::Failed => attempt.told.ended(End::Failed, settle),
            SettleState::Rejected => attempt.told.refused(&settle.out_settle_no),
            SettleState::Unspecified => panic!("{settle:?}"),
        }
        if !settle.settle_id().is_empty() {
            let fresh = attempt.told.settle_ids.insert(settle.settle_id().to_owned());
            assert!(!fresh || before.is_none(), "another settle after the end: {settle:?}");
        }
    }

    /// A create of this number was answered with the outcome `refused`.
    pub fn refused(&mut self, number: &str) {
        self.attempt_of(number).told.refused(number);
    }

    fn attempt_of(&mut self, number: &str) -> &mut Attempt {
        let known = self.numbers.get(number);
        let (intent, attempt) = *known.unwrap_or_else(|| panic!("no caller asked for {number}"));
        &mut self.intents[intent].attempts[attempt]
    }

    /// The numbers that were told last, with the newest revision that was told.
    pub fn told_lately(&mut self) -> BTreeMap<String, i64> {
        let numbers = std::mem::take(&mut self.told_lately);
        numbers.into_iter().map(|number| (number.clone(), self.revision_of(&number))).collect()
    }

    /// All numbers of which a settle was told, in the same way.
    pub fn told_ever(&mut self) -> BTreeMap<String, i64> {
        let numbers: Vec<_> = self.numbers.keys().cloned().collect();
        let told = numbers.into_iter().map(|number| (number.clone(), self.revision_of(&number)));
        told.filter(|(_, revision)| *revision > 0).collect()
    }

    fn revision_of(&mut self, number: &str) -> i64 {
        self.attempt_of(number).told.revision
    }

    /// Whether everything that was said is true in Douyin's books, and no intent is paid twice.
    pub fn assert_true(&self, books: &Snapshot) {
        let mut by_number: HashMap<&str, Vec<&AppliedSettle>> = HashMap::new();
        for settle in &books.settles {
            by_number.entry(&settle.out_settle_no).or_default().push(settle);
        }
        for number in by_number.keys() {
            assert!(self.numbers.contains_key(*number), "{number} was never asked for");
        }
        for (name, intent) in self.intents.iter().enumerate() {
            let mut alive: Vec<&AppliedSettle> = Vec::new();
            for attempt in &intent.attempts {
                let number = attempt.request.out_settle_no.as_str();
                let settles = by_number.get(number).map_or(&[][..], Vec::as_slice);
                attempt.assert_true(settles);
                let bodies = books.create_bodies(number);
                assert!(bodies.windows(2).all(|two| two[0] == two[1]), "{number}: two contents");
                alive.extend(settles.iter().filter(|settle| settle.status != Status::Fail));
            }
            assert!(alive.len() <= 1, "intent {name} is paid twice: {alive:?}");
        }
    }

    /// At the very end: every intent is paid, once.
    pub fn assert_all_paid(&self, books: &Snapshot) {
        let paid = books.settles.iter().filter(|settle| settle.status == Status::Success).count();
        assert_eq!(paid, self.intents.len(), "payments and intents");
        assert!(books.settles.iter().all(|settle| settle.status.is_final()));
    }
}

impl Attempt {
    fn assert_true(&self, settles: &[&AppliedSettle]) {
        let number = &self.request.out_settle_no;
        let wanted = self.request.settle_params.iter();
        let wanted: Vec<_> = wanted.map(|to| (to.merchant_uid.as_str(), to.amount_fen)).collect();
        for settle in settles {
            let taken = settle.settle_params.iter();
            let taken: Vec<_> = taken.map(|to| (to.merchant_uid.as_str(), to.amount_fen)).collect();
            assert_eq!(taken, wanted, "{number} pays something else");
        }
        for id in &self.told.settle_ids {
            let exists = settles.iter().any(|settle| settle.settle_id == *id);
            assert!(exists, "{number} was accepted as {id}, which does not exist: {settles:?}");
        }
        let all = |status| settles.iter().all(|settle| settle.status == status);
        match self.told.end {
            None => {}
            Some(End::Succeeded) => {
                let told =
                    |settle: &&&AppliedSettle| self.told.settle_ids.contains(&settle.settle_id);
                let succeeded = settles.iter().filter(|settle| settle.status == Status::Success);
                assert_eq!(succeeded.filter(told).count(), 1, "{number} succeeded: {settles:?}");
            }
            Some(End::Failed) => assert!(all(Status::Fail), "{number} failed: {settles:?}"),
            Some(End::Refused) => assert!(all(Status::Fail), "{number} refused: {settles:?}"),
        }
    }
}

impl Told {
    /// Two different ends cannot both be true.
    fn ended(&mut self, end: End, settle: &v1::Settle) {
        assert!(self.end.is_none_or(|before| before == end), "{:?} before {settle:?}", self.end);
        self.end = Some(end);
    }

    /// Douyin accepted two sends, and it is not known yet which of the two settles failed and freed
    /// the number for the other. No end counts meanwhile, and none is taken back.
    fn disputed(&mut self, settle: &v1::Settle, claim: &v1::Contradiction) {
        let ids = [settle.settle_id(), claim.settle_id()];
        assert!(ids[0] != ids[1] && !ids.contains(&""), "{settle:?}");
        assert_eq!(claim.claimed_state(), SettleState::Processing, "{settle:?}");
        let ended = match settle.state() {
            SettleState::Succeeded => Some(End::Succeeded),
            SettleState::Failed => Some(End::Failed),
            SettleState::Processing => None,
            SettleState::Unspecified | SettleState::Submitting | SettleState::Rejected => {
                panic!("{settle:?}")
            }
        };
        let other = self.end.filter(|told| ended.is_some_and(|ended| ended != *told));
        assert_eq!(other, None, "before {settle:?}");
        self.settle_ids.extend(ids.map(str::to_owned));
    }

    fn refused(&mut self, number: &str) {
        assert!(self.settle_ids.is_empty(), "{number} was accepted, and then refused");
        assert!(self.end.is_none_or(|before| before == End::Refused), "{number}: {:?}", self.end);
        self.recorded = true;
        self.end = Some(End::Refused);
    }

    pub fn end(&self) -> Option<End> {
        self.end
    }

    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    pub fn is_accepted(&self) -> bool {
        !self.settle_ids.is_empty()
    }
}
