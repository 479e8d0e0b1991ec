//! The turn to fetch a token among the processes on one store: one fetches, the others wait for
//! what it saves.

use std::time::Duration;

use secrecy::SecretString;

use super::Tokens;
use crate::douyin::access::{Access, Attempts};
use crate::douyin::exchange::Failed;
use crate::douyin::transport::Deadline;
use crate::log_limit::limited;
use crate::settle::{Failure, Reason};
use crate::store::{self, Fence, StoredToken};

/// How often a process looks for the token that another one is fetching.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a process gets that wants a token which it does not have.
pub(super) enum Found {
    /// The token that another process has fetched.
    Stored(SecretString),
    /// The turn to fetch one. `None`: the store is away, and what is fetched is not saved.
    Turn(Option<Fence>),
}

impl Tokens {
    /// The token that another process is fetching, or the turn to fetch one.
    pub(super) async fn turn_or_token(
        &self,
        access: &Access,
        turn: &mut Attempts,
        is_usable: impl Fn(&StoredToken) -> bool,
        deadline: &Deadline,
    ) -> Result<Found, Failed> {
        let waited = self.wait_for_turn(access, turn, is_usable);
        tokio::time::timeout(deadline.left(), waited).await.unwrap_or_else(|_| {
            let failure = Failure::own(Reason::UpstreamTimeout);
            Err(Failed::not_sent(failure, "another process is still fetching the token"))
        })
    }

    /// Waits for the turn among the processes, or for the token of the one that has it.
    async fn wait_for_turn(
        &self,
        access: &Access,
        turn: &mut Attempts,
        is_usable: impl Fn(&StoredToken) -> bool,
    ) -> Result<Found, Failed> {
        loop {
            let fence = match self.fleet_turn(access, turn).await {
                Ok(fence) => fence,
                Err(_) => return Ok(Found::Turn(None)),
            };
            // Saved before this process took the turn, or while it waits for it.
            if let Some(stored) = self.stored(access, &is_usable).await {
                if let Some(fence) = fence {
                    self.end_fleet_turn(access, fence).await;
                }
                return Ok(Found::Stored(stored));
            }
            if fence.is_some() {
                return Ok(Found::Turn(fence));
            }
            // The process that has the turn could not fetch, and told so.
            if let Some(pause) = access.pauses.current() {
                return Err(Failed::paused(pause));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The turn among the processes. `Ok(None)`: another one has it.
    pub(super) async fn fleet_turn(
        &self,
        access: &Access,
        turn: &mut Attempts,
    ) -> Result<Option<Fence>, store::Error> {
        let taken = self.store.token_turn(&access.app_id, turn.turn, self.turn_lease).await;
        let fence = taken.inspect_err(|error| {
            limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not ask whether another process is fetching the access token");
        })?;
        turn.turn = fence.or(turn.turn);
        Ok(fence)
    }

    pub(super) async fn end_fleet_turn(&self, access: &Access, fence: Fence) {
        if let Err(error) = self.store.end_token_turn(&access.app_id, fence).await {
            limited!(Peer, WARN, { app_id = %access.app_id, %error },
                "could not give the turn to fetch the access token back: it ends by itself");
        }
    }
}
