//! ICE (RFC 8445): the lite side that the node is, and the small controlling side of a client that
//! knows one address of the node.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::IceCredentials;
use crate::stun::{Builder, Class, Message, StunError, TransactionId};

/// Paths that one session may have open; beyond, the oldest that isn't in use is forgotten.
const MAX_PATHS: usize = 8;

/// A check that was not answered, and must not be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceError {
    /// Not a Binding request for this session, or not proven to be from its peer.
    #[error(transparent)]
    Stun(#[from] StunError),
    /// Not a request: a lite agent asks nothing, so gets no answers.
    #[error("not a Binding request")]
    NotARequest,
    /// USERNAME is not this session's.
    #[error("the user name is another session's")]
    WrongUser,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceOutcome {
    /// Length of the answer in the reply buffer, to be sent back on the same path.
    pub reply_len: usize,
    /// Media goes another way from now on.
    pub selected_changed: bool,
}

/// The lite side (RFC 8445 §2.5) of one session: answers checks, never makes any. `P` names a path.
///
/// A path is let in by one check whose integrity proves that the peer knows the session's password.
/// Media goes to the path nominated last; until the first nomination, to the first that was let in,
/// so that DTLS need not wait for it.
#[derive(Debug)]
pub struct IceLite<P> {
    local: IceCredentials,
    remote: Option<IceCredentials>,
    /// After a restart, until the peer first uses the new credentials.
    previous: Option<(IceCredentials, Option<IceCredentials>)>,
    paths: Vec<P>,
    selected: Option<P>,
    last_consent: Instant,
    /// An [`IceClient`] beside this makes checks, so the peer is controlled.
    controls: bool,
}

impl<P: Copy + Eq> IceLite<P> {
    /// A session that waits for its peer. `remote` is not needed to answer; it narrows who may ask.
    pub fn new(local: IceCredentials, remote: Option<IceCredentials>, now: Instant) -> Self {
        Self {
            local,
            remote,
            previous: None,
            paths: Vec::new(),
            selected: None,
            last_consent: now,
            controls: false,
        }
    }

    /// The same of a session that an [`IceClient`] begins: its peer, if that makes checks at all, is controlled.
    #[must_use]
    pub fn controlling(self) -> Self {
        Self {
            controls: true,
            ..self
        }
    }

    /// Takes a datagram that came on `path` from `peer`, and writes the answer into `reply`.
    ///
    /// # Errors
    /// If it is not an authentic request for this session: drop it without an answer.
    pub fn handle(
        &mut self,
        now: Instant,
        path: P,
        peer: SocketAddr,
        datagram: &[u8],
        reply: &mut [u8],
    ) -> Result<IceOutcome, IceError> {
        let message = Message::parse(datagram)?;
        if message.class != Class::Request {
            return Err(IceError::NotARequest);
        }
        let (to, from) = message
            .username
            .and_then(|u| u.split_once(':'))
            .ok_or(IceError::WrongUser)?;
        let current = is_for(&self.local, &self.remote, to, from);
        let password = if current {
            &self.local.pwd
        } else {
            let known = self
                .previous
                .as_ref()
                .filter(|(l, r)| is_for(l, r, to, from));
            &known.ok_or(IceError::WrongUser)?.0.pwd
        };
        message.verify(password)?;
        let id = message.transaction_id;
        // RFC 8445 §7.3.1.1: a lite agent is always controlled; the peer has to change its mind.
        if message.controlled.is_some() && !self.controls {
            let reply_len = Builder::new(reply, Class::Error, id)?
                .error(487, "Role Conflict")?
                .finish(password)?;
            return Ok(IceOutcome {
                reply_len,
                selected_changed: false,
            });
        }
        if let Some(unknown) = message.unknown_attribute {
            let reply_len = Builder::new(reply, Class::Error, id)?
                .error(420, "Unknown Attribute")?
                .unknown_attribute(unknown)?
                .finish(password)?;
            return Ok(IceOutcome {
                reply_len,
                selected_changed: false,
            });
        }
        let reply_len = Builder::new(reply, Class::Success, id)?
            .mapped(peer)?
            .finish(password)?;
        if current {
            self.previous = None; // a restarted session is up with its new credentials
        }
        self.last_consent = now;
        let selected_changed = self.let_in(path, message.use_candidate);
        Ok(IceOutcome {
            reply_len,
            selected_changed,
        })
    }

    fn let_in(&mut self, path: P, nominate: bool) -> bool {
        if !self.paths.contains(&path) {
            if self.paths.len() == MAX_PATHS {
                let unused = self.paths.iter().position(|p| Some(*p) != self.selected);
                self.paths.remove(unused.unwrap_or(0));
            }
            self.paths.push(path);
        }
        let select = nominate || self.selected.is_none();
        if select && self.selected != Some(path) {
            self.selected = Some(path);
            return true;
        }
        false
    }

    /// The peer has answered a check that an [`IceClient`] made of this side's credentials: as good as one of its own.
    /// True if media goes another way from now on.
    pub fn answered(&mut self, now: Instant, path: P) -> bool {
        self.last_consent = now;
        self.let_in(path, true)
    }

    /// Whether the peer has proved itself on this path.
    pub fn is_validated(&self, path: P) -> bool {
        self.paths.contains(&path)
    }

    /// Where media goes.
    pub fn selected(&self) -> Option<P> {
        self.selected
    }

    /// When the peer last proved that it wants to receive (RFC 7675). A lite agent learns that from
    /// the peer's own checks.
    pub fn last_consent(&self) -> Instant {
        self.last_consent
    }

    /// Begins a restart (RFC 8445 §9). Media goes on as before, and checks with the old credentials
    /// are still answered, until the peer uses the new ones: a restart that fails costs nothing.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        let old_local = std::mem::replace(&mut self.local, local);
        let old_remote = self.remote.replace(remote);
        // A restart during a restart: what worked last is what stays.
        self.previous.get_or_insert((old_local, old_remote));
    }
}

fn is_for(local: &IceCredentials, remote: &Option<IceCredentials>, to: &str, from: &str) -> bool {
    local.ufrag == to && remote.as_ref().is_none_or(|r| r.ufrag == from)
}

/// How often a client asks while it has no answer.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How often it asks to keep consent fresh (RFC 7675 §5.1: about 5 s).
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);

/// The controlling side with one remote candidate, nominating it at once (RFC 8445 §8.1.1 with a
/// lite peer).
#[derive(Debug)]
pub struct IceClient {
    local: IceCredentials,
    remote: IceCredentials,
    transaction: u64,
    next_check: Option<Instant>,
    last_answer: Option<Instant>,
}

impl IceClient {
    /// A client that will check as soon as it is polled.
    pub fn new(local: IceCredentials, remote: IceCredentials) -> Self {
        Self {
            local,
            remote,
            transaction: 0,
            next_check: None,
            last_answer: None,
        }
    }

    /// Writes a check if one is due; its length.
    ///
    /// # Errors
    /// If `out` is too small.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8],
    ) -> Result<Option<usize>, StunError> {
        if self.next_check.is_some_and(|at| now < at) {
            return Ok(None);
        }
        let interval = if self.is_connected() {
            CONSENT_INTERVAL
        } else {
            CHECK_INTERVAL
        };
        self.next_check = Some(now + interval);
        self.transaction += 1;
        let builder = Builder::new(out, Class::Request, self.transaction_id())?;
        builder
            .username(&self.remote.ufrag, &self.local.ufrag)?
            .priority(1_845_501_695)?
            .controlling(1)?
            .use_candidate()?
            .finish(&self.remote.pwd)
            .map(Some)
    }

    /// When [`Self::poll_transmit`] next has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_check
    }

    /// Takes an answer. True if it is a success of the node's.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let Ok(message) = Message::parse(datagram) else {
            return false;
        };
        let ours = message.class == Class::Success
            && message.transaction_id[..4] == self.transaction_id()[..4]
            && message.verify(&self.remote.pwd).is_ok();
        if ours {
            if self.last_answer.is_none() {
                self.next_check = Some(now + CONSENT_INTERVAL);
            }
            self.last_answer = Some(now);
        }
        ours
    }

    /// Whether the node has answered.
    pub fn is_connected(&self) -> bool {
        self.last_answer.is_some()
    }

    /// When the node last answered.
    pub fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }

    /// Four bytes of the session, eight of the check: the integrity is what counts, the id only
    /// pairs answer and request.
    fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        for (to, from) in id[..4].iter_mut().zip(self.local.ufrag.bytes()) {
            *to = from;
        }
        id[4..].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.7:5000";

    struct Pair {
        lite: IceLite<u8>,
        client: IceClient,
        now: Instant,
    }

    fn pair() -> Pair {
        let (a, b) = (IceCredentials::generate(), IceCredentials::generate());
        let now = Instant::now();
        Pair {
            lite: IceLite::new(a.clone(), Some(b.clone()), now),
            client: IceClient::new(b, a),
            now,
        }
    }

    fn plain(builder: Builder<'_>) -> Result<Builder<'_>, StunError> {
        Ok(builder)
    }

    fn request(
        to: &IceCredentials,
        from: &str,
        extra: impl Fn(Builder<'_>) -> Result<Builder<'_>, StunError>,
    ) -> Vec<u8> {
        let mut buf = [0; 256];
        let builder = Builder::new(&mut buf, Class::Request, *b"abcdefghijkl").unwrap();
        let builder = extra(builder.username(&to.ufrag, from).unwrap()).unwrap();
        let len = builder.finish(&to.pwd).unwrap();
        buf[..len].to_vec()
    }

    impl Pair {
        fn ask(&mut self, path: u8, bytes: &[u8]) -> Result<(IceOutcome, Vec<u8>), IceError> {
            let mut reply = [0; 256];
            let outcome =
                self.lite
                    .handle(self.now, path, PEER.parse().unwrap(), bytes, &mut reply)?;
            Ok((outcome, reply[..outcome.reply_len].to_vec()))
        }

        fn local(&self) -> IceCredentials {
            self.lite.local.clone()
        }

        fn user(&self) -> String {
            self.lite.remote.clone().unwrap().ufrag
        }
    }

    #[test]
    fn a_client_connects_and_keeps_consent_fresh() {
        let mut pair = pair();
        let mut buf = [0; 256];
        let len = pair
            .client
            .poll_transmit(pair.now, &mut buf)
            .unwrap()
            .unwrap();
        let (outcome, reply) = pair.ask(1, &buf[..len]).unwrap();
        assert!(outcome.selected_changed);
        assert_eq!(Message::parse(&reply).unwrap().mapped, PEER.parse().ok());
        assert!(pair.client.handle(pair.now, &reply));
        assert_eq!(pair.client.poll_transmit(pair.now, &mut buf), Ok(None));
        pair.now += CONSENT_INTERVAL;
        let len = pair
            .client
            .poll_transmit(pair.now, &mut buf)
            .unwrap()
            .unwrap();
        pair.ask(1, &buf[..len]).unwrap();
        assert_eq!(pair.lite.last_consent(), pair.now);
    }

    #[test]
    fn a_check_without_the_password_opens_nothing() {
        let mut pair = pair();
        let mut forged = pair.local();
        forged.pwd = "wrong".repeat(6);
        let bytes = request(&forged, &pair.user(), plain);
        assert_eq!(
            pair.ask(1, &bytes),
            Err(IceError::Stun(StunError::Integrity))
        );
        let bytes = request(&pair.local(), "somebody", plain);
        assert_eq!(pair.ask(1, &bytes), Err(IceError::WrongUser));
        assert!(!pair.lite.is_validated(1));
        assert_eq!(pair.lite.selected(), None);
    }

    #[test]
    fn media_follows_the_newest_nomination() {
        let mut pair = pair();
        let (local, user) = (pair.local(), pair.user());
        let check = request(&local, &user, plain);
        let nominating = request(&local, &user, |b| b.use_candidate());
        pair.ask(1, &check).unwrap();
        assert_eq!(
            pair.lite.selected(),
            Some(1),
            "the first path serves until one is nominated"
        );
        assert!(pair.ask(2, &nominating).unwrap().0.selected_changed);
        assert!(!pair.ask(1, &check).unwrap().0.selected_changed);
        assert_eq!(pair.lite.selected(), Some(2));
        pair.ask(3, &nominating).unwrap();
        assert_eq!(
            pair.lite.selected(),
            Some(3),
            "the client's address changed"
        );
        assert!(pair.lite.is_validated(2));
    }

    #[test]
    fn paths_are_bounded_and_the_one_in_use_stays() {
        let mut pair = pair();
        let (local, user) = (pair.local(), pair.user());
        pair.ask(0, &request(&local, &user, |b| b.use_candidate()))
            .unwrap();
        let check = request(&local, &user, plain);
        for path in 1..100 {
            pair.ask(path, &check).unwrap();
        }
        assert!(pair.lite.is_validated(0));
        assert_eq!(
            (0..100).filter(|p| pair.lite.is_validated(*p)).count(),
            MAX_PATHS
        );
    }

    #[test]
    fn a_failed_restart_leaves_the_session_alive_and_a_good_one_ends_the_old_credentials() {
        let mut pair = pair();
        let (old, user) = (pair.local(), pair.user());
        let old_check = request(&old, &user, |b| b.use_candidate());
        pair.ask(1, &old_check).unwrap();
        let (new, peer) = (IceCredentials::generate(), IceCredentials::generate());
        pair.lite.restart(new.clone(), peer.clone());
        pair.ask(1, &old_check)
            .expect("the old credentials still work");
        assert_eq!(pair.lite.selected(), Some(1));
        pair.ask(2, &request(&new, &peer.ufrag, |b| b.use_candidate()))
            .unwrap();
        assert_eq!(pair.lite.selected(), Some(2));
        assert_eq!(pair.ask(1, &old_check), Err(IceError::WrongUser));
    }

    #[test]
    fn an_answer_opens_a_path_as_a_check_does() {
        let mut pair = pair();
        pair.now += Duration::from_secs(1);
        assert!(pair.lite.answered(pair.now, 7));
        assert!(!pair.lite.answered(pair.now, 7));
        assert_eq!(
            (pair.lite.selected(), pair.lite.is_validated(7)),
            (Some(7), true)
        );
        assert_eq!(pair.lite.last_consent(), pair.now);
    }

    #[test]
    fn conflicts_and_unknown_attributes_are_answered_as_errors() {
        let mut pair = pair();
        let (local, user) = (pair.local(), pair.user());
        let (_, reply) = pair
            .ask(1, &request(&local, &user, |b| b.controlled(5)))
            .unwrap();
        assert_eq!(Message::parse(&reply).unwrap().error_code, Some(487));
        let (_, reply) = pair
            .ask(1, &request(&local, &user, |b| b.attribute_for_test(0x7777)))
            .unwrap();
        assert_eq!(Message::parse(&reply).unwrap().error_code, Some(420));
        assert_eq!(pair.lite.selected(), None);
    }

    #[test]
    fn the_peer_of_a_session_that_this_side_begins_is_controlled() {
        let mut pair = pair();
        pair.lite = pair.lite.controlling();
        let (local, user) = (pair.local(), pair.user());
        let (_, reply) = pair
            .ask(1, &request(&local, &user, |b| b.controlled(5)))
            .unwrap();
        assert_eq!(Message::parse(&reply).unwrap().error_code, None);
        assert_eq!(pair.lite.selected(), Some(1));
    }
}
