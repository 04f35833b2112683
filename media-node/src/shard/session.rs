//! One session on its shard: ICE-lite, DTLS, then SRTP, and what it carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_sdp::DtlsRole;
use showrunner_transport::Fingerprint;
use showrunner_transport::dtls::{Dtls, DtlsError, DtlsEvent, Identity};
use showrunner_transport::ice::IceLite;
use showrunner_transport::srtp;

use super::caller::Caller;
use super::feed::Feed;
use super::hearing::Signs;
use super::intake::Intake;
use super::message::{Carries, NewSession, ProgramId, SessionNumber};
use super::path::Path;
use super::viewer::Viewer;
use crate::lived::stalls::Source;
use crate::lived::{Hosting, Lived};
use crate::media::ingest::Ingest;
use crate::node::EndReason;

/// A session without an authenticated ICE check for this long is over (RFC 7675 §5.1).
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);

/// A session that is not connected by then is over.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A link that is not up by then won't be: the other pod is next door.
const LINK_LIMIT: Duration = Duration::from_secs(2);

impl Carries {
    /// Where the other end may be reached and how long it is looked for, if it is this one that begins.
    pub(super) fn call(&self) -> Option<(&[SocketAddr], Duration)> {
        match self {
            Self::Take(candidates) => Some((candidates, LINK_LIMIT)),
            Self::Pull(_, candidates) => Some((candidates, CONNECT_LIMIT)),
            Self::Publish(_) | Self::AddLayers { .. } | Self::Watch { .. } | Self::Feed => None,
        }
    }
}

/// A publisher's media.
pub(super) struct Publisher {
    pub(super) ingest: Ingest,
    /// What it lives through.
    pub(super) lived: Hosting,
    rtt: Option<Duration>,
    /// It is a transcoder: the host to whose picture it adds layers.
    pub(super) adds_to: Option<SessionNumber>,
    /// It is another pod.
    pub(super) intake: Option<Box<Intake>>,
}

impl Publisher {
    /// A round trip to it, as far as it is known: what it does not send again within that is asked
    /// for once more.
    pub(super) fn rtt(&self) -> Duration {
        const ASSUMED: Duration = Duration::from_millis(60);
        self.rtt.unwrap_or(ASSUMED)
    }

    /// One was measured.
    pub(super) fn on_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(match self.rtt {
            Some(known) => (known * 3 + rtt) / 4,
            None => rtt,
        });
    }
}

/// What a session carries.
pub(super) enum Role {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
    /// Another pod takes the room from here.
    Feed(Box<Feed>),
}

impl Role {
    /// What it is more than a publisher, if it is another pod.
    pub(super) fn intake_mut(&mut self) -> Option<&mut Intake> {
        match self {
            Role::Publisher(publisher) => publisher.intake.as_deref_mut(),
            Role::Viewer(_) | Role::Feed(_) => None,
        }
    }

    /// Whether it is an end of a link.
    pub(super) fn is_link(&self) -> bool {
        match self {
            Role::Publisher(publisher) => publisher.intake.is_some(),
            Role::Viewer(_) => false,
            Role::Feed(_) => true,
        }
    }
}

/// Random numbers.
#[derive(Clone, Copy)]
pub(super) struct Seeds {
    /// For this session.
    pub(super) session: [u64; 2],
    /// The same for all sessions of the shard.
    pub(super) process: u64,
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
    pub(super) max_lines: Option<u16>,
    pub(super) ufrag: String,
    pub(super) ice: IceLite<Path>,
    pub(super) paths: Vec<Path>,
    pub(super) role: Role,
    /// It is begun by this end.
    pub(super) caller: Option<Box<Caller>>,
    pub(super) srtp: Option<Srtp>,
    /// Made when the peer has passed ICE, so that half-open joins cost little.
    dtls: Option<Dtls>,
    dtls_role: DtlsRole,
    /// The peer is known to take GCM.
    knows_gcm: bool,
    fingerprint: Fingerprint,
    created: Instant,
    /// When RTCP last came from the peer.
    last_rtcp: Option<Instant>,
}

impl Session {
    /// A session that waits for its peer, or looks for it: from `port`, if it is one that this end begins
    /// ([`Carries::call`]).
    pub(super) fn new(new: NewSession, seeds: Seeds, port: Option<u16>, now: Instant) -> Self {
        let (dtls_role, knows_gcm) = match &new.carries {
            Carries::Publish(publishing)
            | Carries::AddLayers { publishing, .. }
            | Carries::Pull(publishing, _) => (publishing.dtls_role(), publishing.remote.knows_gcm),
            Carries::Watch { watching, .. } => (watching.dtls_role(), watching.remote.knows_gcm),
            Carries::Feed => (DtlsRole::Server, true),
            Carries::Take(_) => (DtlsRole::Client, true),
        };
        let caller = new
            .carries
            .call()
            .zip(port)
            .map(|((candidates, patience), port)| {
                let (local, remote) = (new.local.clone(), new.remote.clone());
                let candidates = candidates.to_vec();
                Box::new(Caller::new(local, remote, candidates, port, now, patience))
            });
        let mut ice = IceLite::new(new.local.clone(), Some(new.remote), now);
        if caller.is_some() {
            ice = ice.controlling();
        }
        let role = match new.carries {
            Carries::Publish(publishing) | Carries::Pull(publishing, _) => {
                publisher(Ingest::new(&publishing, new.number.0, now), None, None)
            }
            Carries::AddLayers {
                publishing,
                prefix,
                host,
            } => {
                let ingest = Ingest::of_transcoder(&publishing, prefix, new.number.0, now);
                publisher(ingest, Some(host), None)
            }
            Carries::Watch {
                watching,
                transcodes,
            } => {
                let mut viewer = Viewer::new(watching, seeds.session, now);
                viewer.transcodes = transcodes;
                Role::Viewer(Box::new(viewer))
            }
            Carries::Feed => {
                let [seed, _] = seeds.session;
                Role::Feed(Box::new(Feed::new(seeds.process, seed, now)))
            }
            Carries::Take(_) => {
                let intake = Box::new(Intake::new(now));
                publisher(Ingest::of_link(now), None, Some(intake))
            }
        };
        Self {
            number: new.number,
            log_id: new.log_id,
            program: new.program,
            home: new.home,
            max_lines: new.max_lines,
            ufrag: new.local.ufrag,
            ice,
            paths: Vec::new(),
            role,
            caller,
            srtp: None,
            dtls: None,
            dtls_role,
            knows_gcm,
            fingerprint: new.fingerprint,
            created: now,
            last_rtcp: None,
        }
    }

    /// Says hello, if that is up to us: the peer has passed ICE. Only who knows the session's
    /// password is ever sent this, and once (with its few repetitions), so it makes no flood of a
    /// forged address.
    ///
    /// # Errors
    /// Why the session has to end.
    pub(super) fn greet(&mut self, now: Instant, identity: &Identity) -> Result<(), EndReason> {
        if self.dtls.is_some() || self.dtls_role == DtlsRole::Server {
            return Ok(());
        }
        let client = if self.knows_gcm {
            Dtls::client_with_gcm
        } else {
            Dtls::client
        };
        match client(identity, self.fingerprint, now) {
            Ok(dtls) => {
                self.dtls = Some(dtls);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn fail(&self, error: &DtlsError) -> EndReason {
        tracing::debug!(session = %self.log_id, %error, "DTLS failed");
        EndReason::TransportFailed
    }

    /// When the offer came.
    pub(super) fn created(&self) -> Instant {
        self.created
    }

    /// RTCP came that only the peer can have sent.
    pub(super) fn on_rtcp(&mut self, now: Instant) {
        self.last_rtcp = Some(now);
    }

    /// What there is to be heard of its peer, if that is somebody who watches. A transcoder may be next door.
    pub(super) fn signs(&self) -> Option<Signs> {
        let Role::Viewer(viewer) = &self.role else {
            return None;
        };
        let check = self.ice.selected().map(|_| self.ice.last_consent());
        (!viewer.transcodes).then(|| Signs {
            admitted: self.created,
            heard: self.last_rtcp.max(check),
            sending: viewer.way.sending(),
        })
    }

    /// Takes a DTLS datagram from a path that passed ICE. True once, when media can flow.
    ///
    /// # Errors
    /// Why the session has to end.
    pub(super) fn on_dtls(
        &mut self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
    ) -> Result<bool, EndReason> {
        if self.dtls.is_none() && self.dtls_role == DtlsRole::Server {
            self.dtls = Some(Dtls::server(identity, self.fingerprint));
        }
        let Some(dtls) = &mut self.dtls else {
            return Ok(false);
        };
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
            Err(error) => Err(self.fail(&error)),
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
            return Err(self.fail(&error));
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

    /// What it has lived through, now that it ends. `frames` are those of its room.
    pub(super) fn lived(&mut self, now: Instant, frames: &Source) -> Lived {
        match &mut self.role {
            Role::Publisher(publisher) => {
                let lived = std::mem::take(&mut publisher.lived);
                lived.finish(now, self.created, publisher.ingest.losses())
            }
            Role::Viewer(viewer) => {
                let lived = std::mem::take(&mut viewer.lived);
                lived.finish(now, self.created, frames, viewer.sent_in_all())
            }
            Role::Feed(_) => Lived::default(),
        }
    }

    /// Whether a handshake is going on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.dtls.as_ref().is_some_and(Dtls::is_handshaking)
    }
}

fn publisher(ingest: Ingest, adds_to: Option<SessionNumber>, intake: Option<Box<Intake>>) -> Role {
    Role::Publisher(Box::new(Publisher {
        ingest,
        lived: Hosting::default(),
        rtt: None,
        adds_to,
        intake,
    }))
}

#[cfg(test)]
mod tests {
    use showrunner_sdp::{IceParameters, Remote, Setup, Watching};
    use showrunner_transport::IceCredentials;
    use showrunner_transport::ice::IceClient;
    use showrunner_transport::srtp::{Profile, SrtpKeys};

    use super::*;

    const PATH: Path = Path::Tcp {
        peer: std::net::SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
            5000,
        ),
        connection: 0,
    };

    fn session(now: Instant) -> (Session, [IceCredentials; 2]) {
        let [local, remote] = [(); 2].map(|()| IceCredentials::generate());
        let ice = IceParameters::new(&remote.ufrag, &remote.pwd).expect("credentials");
        let fingerprint = Fingerprint([0; 32]);
        let new = NewSession {
            number: SessionNumber(1),
            log_id: "test".into(),
            program: ProgramId(1),
            home: 0,
            max_lines: None,
            local: local.clone(),
            remote: remote.clone(),
            fingerprint,
            carries: Carries::Watch {
                watching: Watching {
                    remote: Remote {
                        ice,
                        fingerprint: fingerprint.0,
                        setup: Setup::ActPass,
                        knows_gcm: true,
                    },
                    audio: None,
                    video: None,
                },
                transcodes: false,
            },
        };
        let seeds = Seeds {
            session: [0; 2],
            process: 0,
        };
        (Session::new(new, seeds, None, now), [local, remote])
    }

    fn connected(now: Instant) -> (Session, [IceCredentials; 2]) {
        let (mut session, credentials) = session(now);
        let keys = SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, false, &[0; 56])
            .expect("enough of it");
        session.srtp = Some(Srtp {
            sender: srtp::Sender::new(&keys),
            receiver: srtp::Receiver::new(&keys),
        });
        (session, credentials)
    }

    /// A check with these passwords. True if it was answered.
    fn check(session: &mut Session, now: Instant, [local, remote]: &[IceCredentials; 2]) -> bool {
        let mut client = IceClient::new(remote.clone(), local.clone());
        let (mut out, mut reply) = ([0; 256], [0; 256]);
        let len = client.poll_transmit(now, &mut out).expect("room");
        let datagram = &out[..len.expect("the first check is due")];
        let outcome = session
            .ice
            .handle(now, PATH, PATH.peer(), datagram, &mut reply);
        outcome.is_ok()
    }

    #[test]
    fn a_session_ends_thirty_seconds_after_the_last_authentic_check() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut session, credentials) = connected(start);
        assert!(check(&mut session, at(20), &credentials));
        assert_eq!(session.on_tick(at(50)), Ok(()));
        let [mut wrong, remote] = credentials;
        wrong.pwd = "a".repeat(24);
        assert!(!check(&mut session, at(40), &[wrong, remote]));
        assert_eq!(session.on_tick(at(51)), Err(EndReason::ConsentExpired));
    }

    #[test]
    fn a_session_that_checks_but_never_connects_ends() {
        let start = Instant::now();
        let (mut session, credentials) = session(start);
        for seconds in 0..=15 {
            let now = start + Duration::from_secs(seconds);
            assert!(check(&mut session, now, &credentials));
            assert_eq!(session.on_tick(now), Ok(()));
        }
        let late = start + Duration::from_secs(16);
        assert!(check(&mut session, late, &credentials));
        assert_eq!(session.on_tick(late), Err(EndReason::ConsentExpired));
    }
}
