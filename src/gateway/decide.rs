//! What an operator decides about a settle.

use super::Gateway;
use crate::settle::{
    CallerName, Key, Learned, Observation, Record, Scope, Source, Verdict, Why, can_resolve,
};
use crate::store;

/// Who decided, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// `None`: the gateway is open to anyone.
    pub by: Option<CallerName>,
    pub why: Why,
}

/// Why a contradiction is not resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResolveError {
    NotFound,
    /// The settle has no open contradiction.
    NotDisputed,
    /// Not final yet, or the decision would leave a success for another settle.
    NotAllowed,
    Store(store::Error),
}

impl Gateway {
    /// Ends the open contradiction of a settle as an operator decided.
    pub(crate) async fn resolve(
        &self,
        key: &Key,
        verdict: Verdict,
        decided: Decided,
    ) -> Result<Record, ResolveError> {
        let known = self.0.store.get(key).await.map_err(ResolveError::Store)?;
        let known = known.ok_or(ResolveError::NotFound)?;
        if known.open_contradiction().is_none() {
            return Err(ResolveError::NotDisputed);
        }
        if !can_resolve(&known, verdict) {
            return Err(ResolveError::NotAllowed);
        }
        let Decided { by, why } = decided;
        let seen = Observation {
            learned: Learned::Resolved { verdict, why },
            source: Source::Operator,
            begun: self.0.clock.now(),
            scope: Scope::Single,
            answers: None,
            log_id: None,
            by,
        };
        let observed = self.observe(key, &seen).await.map_err(ResolveError::Store)?;
        observed.ok_or(ResolveError::NotFound)
    }
}
