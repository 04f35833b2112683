//! One session on its shard: ICE-lite, DTLS, then SRTP, and what it carries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_sdp::Publishing;
use showrunner_transport::Fingerprint;
use showrunner_transport::dtls::{Dtls, DtlsEvent, Identity};
use showrunner_transport::ice::IceLite;
use showrunner_transport::srtp;

use super::message::{Carries, NewSession, ProgramId, SessionNumber};
use super::path::Path;
use super::viewer::Viewer;
use crate::media::ingest::Ingest;
use crate::node::EndReason;

/// A session without an authenticated ICE check for this long is over (RFC 7675 §5.1).
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);

/// A session that is not connected by then is over.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A publisher's media.
pub(super) struct Publisher {
    pub(super) ingest: Ingest,
}

/// What a session carries.
pub(super) enum Role {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

/// SRTP in both directions.
pub(super) struct Srtp {
    pub(super) sender: srtp::Sender,
    pub(super) receiver: srtp::Receiver,
}

/// A session.
pub(super) struct Session {
    pub(super) number: SessionNumber,
    pub(super) log_id: Arc<str>,
    pub(super) program: ProgramId,
    pub(super) home: usize,
    pub(super) ufrag: String,
    pub(super) ice: IceLite<Path>,
    pub(super) paths: Vec<Path>,
    pub(super) role: Role,
    pub(super) srtp: Option<Srtp>,
    /// Made at the first DTLS datagram, so that half-open joins cost little.
    dtls: Option<Dtls>,
    fingerprint: Fingerprint,
    created: Instant,
}

impl Session {
    /// A session that waits for its peer.
    pub(super) fn new(new: NewSession, seeds: [u64; 2], now: Instant) -> Self {
        let role = match new.carries {
            Carries::Publish(publishing) => publisher(&publishing, new.number, now),
            Carries::Watch(watching) => Role::Viewer(Box::new(Viewer::new(watching, seeds))),
        };
        Self {
            number: new.number,
            log_id: new.log_id,
            program: new.program,
            home: new.home,
            ufrag: new.local.ufrag.clone(),
            ice: IceLite::new(new.local, Some(new.remote), now),
            paths: Vec::new(),
            role,
            srtp: None,
            dtls: None,
            fingerprint: new.fingerprint,
            created: now,
        }
    }

    /// When the offer came.
    pub(super) fn created(&self) -> Instant {
        self.created
    }

    /// Takes a DTLS datagram from a path that passed ICE. True once, when the session is up.
    ///
    /// # Errors
    /// Why the session has to end.
    pub(super) fn on_dtls(
        &mut self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
    ) -> Result<bool, EndReason> {
        let fingerprint = &self.fingerprint;
        let dtls = self
            .dtls
            .get_or_insert_with(|| Dtls::server(identity, *fingerprint));
        match dtls.handle(now, datagram) {
            Ok(None) => Ok(false),
            Ok(Some(DtlsEvent::Connected(keys))) => {
                self.srtp = Some(Srtp {
                    sender: srtp::Sender::new(&keys),
                    receiver: srtp::Receiver::new(&keys),
                });
                Ok(true)
            }
            Ok(Some(DtlsEvent::Closed)) => Err(EndReason::ClosedByPeer),
            Err(error) => {
                tracing::debug!(session = %self.log_id, %error, "DTLS failed");
                Err(EndReason::TransportFailed)
            }
        }
    }

    /// The next DTLS datagram to send.
    pub(super) fn poll_dtls(&mut self) -> Option<bytes::BytesMut> {
        self.dtls.as_mut()?.poll_transmit()
    }

    /// Retransmits lost DTLS flights, and finds out whether the session is over.
    ///
    /// # Errors
    /// Why the session has to end.
    pub(super) fn on_tick(&mut self, now: Instant) -> Result<(), EndReason> {
        if let Some(dtls) = &mut self.dtls
            && dtls.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = dtls.handle_timeout(now)
        {
            tracing::debug!(session = %self.log_id, %error, "DTLS gave up");
            return Err(EndReason::TransportFailed);
        }
        let age = now.saturating_duration_since(self.created);
        let silent = now.saturating_duration_since(self.ice.last_consent());
        if silent > CONSENT_LIFETIME || (self.srtp.is_none() && age > CONNECT_LIMIT) {
            return Err(EndReason::ConsentExpired);
        }
        Ok(())
    }

    /// Says goodbye (DTLS close_notify), if there is somebody to say it to.
    pub(super) fn close(&mut self, now: Instant) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
    }

    /// Whether a handshake is going on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.srtp.is_none() && self.dtls.is_some()
    }
}

fn publisher(publishing: &Publishing, number: SessionNumber, now: Instant) -> Role {
    Role::Publisher(Box::new(Publisher {
        ingest: Ingest::new(publishing, number.0, now),
    }))
}
