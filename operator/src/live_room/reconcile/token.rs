//! The Secret of a room's host: written when it is time.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};

use super::{Rooms, Work};
use crate::clock::now;
use crate::cluster::events::Happening;
use crate::cluster::names::MANAGER;
use crate::cluster::write::WriteError;
use crate::live_room::{host_token, pull};

/// Rest after the Secret of a host could not be written.
const TOKEN_REST: Duration = Duration::from_secs(60);
/// Rest until a Secret is written that waits for other rooms to open.
const FLOOD_REST: Duration = Duration::from_secs(15);

impl Rooms {
    /// Writes the Secret of the host if it is time. Returns its name, if there is one. A room without is open all the
    /// same.
    pub(super) async fn renew_token(&self, work: &Work<'_>) -> Option<String> {
        match self.write_token(work).await {
            Ok(name) => name,
            Err(error) => {
                self.remember(&work.uid, |memory| {
                    memory.token_due = Some(Instant::now() + TOKEN_REST)
                });
                if error.status().is_some() {
                    let note = format!(
                        "the Secret of its host can't be written: {}",
                        error.message()
                    );
                    self.world.reports.tell(
                        work.room,
                        Happening::warning("SecretRefused", "Write", note),
                    );
                }
                work.old.host_token_secret.clone()
            }
        }
    }

    async fn write_token(&self, work: &Work<'_>) -> Result<Option<String>, WriteError> {
        if pull::of(work.room).is_some() {
            // It has no host.
            return Ok(work.old.host_token_secret.clone());
        }
        let name = host_token::secret_name(work.name.name());
        let interval = host_token::interval(self.world.rooms.len());
        let clock = Instant::now();
        let is_new = work.old.host_token_secret.is_none();
        let is_due = self.remember(&work.uid, |memory| {
            let first = if is_new {
                Duration::ZERO
            } else {
                host_token::first_turn(&work.uid, interval)
            };
            *memory.token_due.get_or_insert(clock + first) <= clock
        });
        if is_new && is_due && self.world.is_flooded() {
            // All rooms open first, then their hosts get tokens.
            self.remember(&work.uid, |memory| {
                memory.token_due = Some(clock + FLOOD_REST)
            });
            return Ok(None);
        }
        let Some(keys) = self.world.keys().filter(|_| is_due) else {
            return Ok(work.old.host_token_secret.clone());
        };
        let life = host_token::life(self.world.config.token_seconds, interval);
        let url = self.endpoints(work).publish;
        let secret = host_token::secret(
            work.room,
            (&work.name, &work.uid),
            &keys.tokens,
            (now(), life),
            &url,
        );
        let Some(secret) = secret else {
            tracing::error!("a token can't be signed: the system has no randomness");
            return Ok(work.old.host_token_secret.clone());
        };
        let api: Api<Secret> = Api::namespaced(self.world.hand.client(), work.name.namespace());
        let params = PatchParams::apply(MANAGER).force();
        self.world
            .hand
            .write("secrets", api.patch(&name, &params, &Patch::Apply(&secret)))
            .await?;
        self.remember(&work.uid, |memory| {
            memory.token_due = Some(clock + interval)
        });
        Ok(Some(name))
    }
}
