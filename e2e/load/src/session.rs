//! A client's session: ICE, DTLS, then SRTP; bytes in, bytes out.

use std::time::{Duration, Instant};

use showrunner_transport::dtls::{Dtls, DtlsEvent, Identity};
use showrunner_transport::ice::IceClient;
use showrunner_transport::srtp::{Receiver, Sender, SrtpKeys};
use showrunner_transport::{Fingerprint, IceCredentials, stun};

use crate::sdp::Answer;

/// SRTP of a connected session.
pub struct Srtp {
    /// For what we send.
    pub sender: Sender,
    /// For what we receive.
    pub receiver: Receiver,
}

/// A session on its way up, or up.
pub struct Session {
    ice: IceClient,
    dtls: Option<Dtls>,
    peer: Fingerprint,
    /// The node says hello.
    is_dtls_server: bool,
    /// Until the handshake is over.
    keys: Option<Box<SrtpKeys>>,
    /// Once it is up.
    pub srtp: Option<Srtp>,
    since: Instant,
    connected: Option<Instant>,
    failure: Option<String>,
}

/// A session that isn't up by then has failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A node that is silent for this long is gone (RFC 7675 §5.1).
const CONSENT_LIMIT: Duration = Duration::from_secs(30);

impl Session {
    /// A session whose offer was posted at `since`, with a node that answered this.
    pub fn new(local: IceCredentials, answer: &Answer, since: Instant) -> Self {
        Self {
            ice: IceClient::new(local, answer.ice.clone()),
            dtls: None,
            peer: answer.fingerprint,
            is_dtls_server: answer.is_dtls_client,
            keys: None,
            srtp: None,
            since,
            connected: None,
            failure: None,
        }
    }

    /// Why it has ended; none as long as it may go on.
    pub fn failure(&self, now: Instant) -> Option<String> {
        let silent_since = self.ice.last_answer().unwrap_or(self.since);
        if self.failure.is_some() {
            self.failure.clone()
        } else if self.connected.is_none()
            && now.saturating_duration_since(self.since) > CONNECT_LIMIT
        {
            let at = if self.dtls.is_some() {
                "finish the DTLS handshake"
            } else {
                "answer ICE checks"
            };
            Some(format!("the node didn't {at} in time"))
        } else if now.saturating_duration_since(silent_since) > CONSENT_LIMIT {
            Some("the node fell silent".into())
        } else {
            None
        }
    }

    /// From the offer to the end of the DTLS handshake.
    pub fn join_time(&self) -> Option<Duration> {
        Some(self.connected?.saturating_duration_since(self.since))
    }

    /// When the offer was posted.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Takes a datagram that is STUN or DTLS. True if it was.
    pub fn handle(&mut self, now: Instant, datagram: &[u8], identity: &Identity) -> bool {
        match datagram.first() {
            // RFC 7983: RTP and RTCP, which are most of what comes.
            Some(128..=191) => false,
            Some(20..=63) => {
                self.handle_dtls(now, datagram, identity);
                true
            }
            _ => {
                self.handle_stun(now, datagram, identity);
                true
            }
        }
    }

    fn handle_stun(&mut self, now: Instant, datagram: &[u8], identity: &Identity) {
        let is_answer = stun::is_stun(datagram) && self.ice.handle(now, datagram);
        if is_answer && self.dtls.is_none() && !self.is_dtls_server {
            match Dtls::client(identity, self.peer, now) {
                Ok(dtls) => self.dtls = Some(dtls),
                Err(e) => self.failure = Some(e.to_string()),
            }
        }
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8], identity: &Identity) {
        if self.dtls.is_none() && self.is_dtls_server {
            self.dtls = Some(Dtls::server(identity, self.peer));
        }
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        match dtls.handle(now, datagram) {
            Ok(Some(DtlsEvent::Connected(keys))) => self.keys = Some(keys),
            Ok(Some(DtlsEvent::Closed)) => self.failure = Some("the node said goodbye".into()),
            Err(e) => self.failure = Some(e.to_string()),
            Ok(None) => {}
        }
        // What is sent to the node before it has the keys as well is lost.
        if !dtls.is_handshaking()
            && let Some(keys) = self.keys.take()
        {
            self.srtp = Some(Srtp {
                sender: Sender::new(&keys),
                receiver: Receiver::new(&keys),
            });
            self.connected = Some(now);
        }
    }

    /// Gives each datagram that ICE or DTLS has to send now.
    pub fn poll(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        let mut check = [0; 256];
        if let Ok(Some(len)) = self.ice.poll_transmit(now, &mut check) {
            send(&check[..len]);
        }
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        if dtls.poll_timeout().is_some_and(|at| at <= now)
            && let Err(e) = dtls.handle_timeout(now)
        {
            self.failure = Some(e.to_string());
        }
        while let Some(datagram) = dtls.poll_transmit() {
            send(&datagram);
        }
    }
}
