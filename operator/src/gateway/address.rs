//! The addresses of the gateway and those of pods, and the way from one to the other.
//!
//! A path of the gateway names all that finds a session without memory: protocol, room, pod and session. A pod knows its
//! sessions by their ids alone. Paths are read strictly, byte for byte and without percent-decoding: nothing that a
//! client writes can name another resource of a pod than those here.

use std::fmt;

use showrunner_protocol::RoomName;

/// How media is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Hosts send (RFC 9725).
    Whip,
    /// Viewers receive (draft-ietf-wish-whep).
    Whep,
}

/// Where sessions of a room are made: the same path on the gateway and on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// For hosts or for viewers.
    pub protocol: Protocol,
    /// Which room.
    pub room: RoomName,
}

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName(RoomName);

/// A resource of a session, as its pod names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    id: SessionId,
    /// Which of the session's resources.
    pub part: Part,
}

/// The resources that a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The session itself.
    Session,
    /// Where event streams are made.
    Events,
    /// One event stream.
    Stream(u32),
    /// The choice of a layer.
    Layer,
    /// What a viewer's page tells.
    Report,
}

/// A session's name on its pod: characters of base64url, so that it can stand in a path as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SessionId(String);

/// A session's resource, as the gateway names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAddress {
    /// Where the session was made.
    pub endpoint: Endpoint,
    /// Where it lives.
    pub pod: PodName,
    /// What of it.
    pub resource: Resource,
}

/// What a path of the gateway names, of all that pods answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Where sessions are made.
    Endpoint(Endpoint),
    /// A session's resource.
    Session(SessionAddress),
}

/// Longest session id; ids of pods have 22 characters.
const MAX_ID: usize = 64;

impl Protocol {
    /// As it begins a path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Whip => "whip",
            Protocol::Whep => "whep",
        }
    }

    fn parse(name: &str) -> Option<Protocol> {
        [Protocol::Whip, Protocol::Whep]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

impl PodName {
    /// Checks both parts; pods are named by the same rules as rooms.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Option<PodName> {
        RoomName::new(namespace, name).ok().map(PodName)
    }

    /// Reads `namespace.name`; a namespace has no dot, so the first one parts the two.
    fn parse(text: &str) -> Option<PodName> {
        let (namespace, name) = text.split_once('.')?;
        PodName::new(namespace, name)
    }
}

impl Resource {
    /// Reads a path of a pod: `/sessions/{id}` and what is below it.
    #[must_use]
    pub fn parse(path: &str) -> Option<Resource> {
        Resource::of_segments(path.strip_prefix("/sessions/")?.split('/'))
    }

    fn of_segments<'a>(mut segments: impl Iterator<Item = &'a str>) -> Option<Resource> {
        let id = SessionId::parse(segments.next()?)?;
        let part = match (segments.next(), segments.next()) {
            (None, None) => Part::Session,
            (Some("events"), None) => Part::Events,
            (Some("events"), Some(number)) => Part::Stream(stream_number(number)?),
            (Some("layer"), None) => Part::Layer,
            (Some("report"), None) => Part::Report,
            _ => return None,
        };
        segments.next().is_none().then_some(Resource { id, part })
    }
}

/// The canonical form only, so that a stream has one address.
fn stream_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl SessionId {
    fn parse(text: &str) -> Option<SessionId> {
        let is_safe = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        let is_id = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_safe);
        is_id.then(|| SessionId(text.to_owned()))
    }
}

impl Endpoint {
    /// Reads the path of an endpoint.
    #[must_use]
    pub fn parse(path: &str) -> Option<Endpoint> {
        match Address::parse(path)? {
            Address::Endpoint(endpoint) => Some(endpoint),
            Address::Session(_) => None,
        }
    }
}

impl Address {
    /// Reads a path of the gateway; none if it names nothing that pods answer for.
    #[must_use]
    pub fn parse(path: &str) -> Option<Address> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let protocol = Protocol::parse(segments.next()?)?;
        let room = RoomName::new(segments.next()?, segments.next()?).ok()?;
        let endpoint = Endpoint { protocol, room };
        match segments.next() {
            None => return Some(Address::Endpoint(endpoint)),
            Some("sessions") => {}
            Some(_) => return None,
        }
        let pod = PodName::parse(segments.next()?)?;
        let resource = Resource::of_segments(segments)?;
        Some(Address::Session(SessionAddress {
            endpoint,
            pod,
            resource,
        }))
    }
}

impl fmt::Display for Endpoint {
    /// The path, on the gateway as on a pod.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.protocol.name(), self.room)
    }
}

impl fmt::Display for PodName {
    /// `namespace/name`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Resource {
    /// The path on its pod.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/sessions/{}{}", self.id.0, self.part)
    }
}

impl fmt::Display for Part {
    /// What comes after the session's own path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Session => Ok(()),
            Part::Events => f.write_str("/events"),
            Part::Stream(number) => write!(f, "/events/{number}"),
            Part::Layer => f.write_str("/layer"),
            Part::Report => f.write_str("/report"),
        }
    }
}

impl fmt::Display for SessionAddress {
    /// The path on the gateway.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pod = self.pod.to_string().replacen('/', ".", 1);
        let Resource { id, part } = &self.resource;
        write!(f, "{}/sessions/{pod}/{}{part}", self.endpoint, id.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            protocol: Protocol::Whep,
            room: RoomName::new("shop", "sale-11.11").unwrap(),
        }
    }

    #[test]
    fn an_endpoint_has_the_same_path_on_both_sides() {
        assert_eq!(
            Address::parse("/whep/shop/sale-11.11"),
            Some(Address::Endpoint(endpoint()))
        );
        assert_eq!(endpoint().to_string(), "/whep/shop/sale-11.11");
    }

    #[test]
    fn every_resource_of_a_session_has_a_public_address() {
        for (part, on_pod) in [
            (Part::Session, "/sessions/aB-_9"),
            (Part::Events, "/sessions/aB-_9/events"),
            (Part::Stream(7), "/sessions/aB-_9/events/7"),
            (Part::Layer, "/sessions/aB-_9/layer"),
            (Part::Report, "/sessions/aB-_9/report"),
        ] {
            let resource = Resource::parse(on_pod).unwrap();
            assert_eq!(resource.part, part);
            assert_eq!(resource.to_string(), on_pod);
            let address = SessionAddress {
                endpoint: endpoint(),
                pod: PodName::new("media", "eu-1.x").unwrap(),
                resource,
            };
            let public = address.to_string();
            let prefix = "/whep/shop/sale-11.11/sessions/media.eu-1.x/aB-_9";
            assert_eq!(public, format!("{prefix}{part}"));
            assert_eq!(Address::parse(&public), Some(Address::Session(address)));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for path in [
            "",
            "/",
            "whep/shop/sale",
            "/whep",
            "/whep/shop",
            "/whep/shop/",
            "/whep/shop/sale/",
            "/whep//sale",
            "/WHEP/shop/sale",
            "/rtmp/shop/sale",
            "/whep/shop/Sale",
            "/whep/shop/sale%2Fx",
            "/whep/shop/..",
            "/whep/shop/sale/other",
            "/whep/shop/sale/sessions",
            "/whep/shop/sale/sessions/media.a",
            "/whep/shop/sale/sessions/media/id",
            "/whep/shop/sale/sessions/.a/id",
            "/whep/shop/sale/sessions/media./id",
            "/whep/shop/sale/sessions/media.a/",
            "/whep/shop/sale/sessions/media.a/id/",
            "/whep/shop/sale/sessions/media.a/..",
            "/whep/shop/sale/sessions/media.a/%2e%2e",
            "/whep/shop/sale/sessions/media.a/id?x",
            "/whep/shop/sale/sessions/media.a/id/status",
            "/whep/shop/sale/sessions/media.a/id/events/",
            "/whep/shop/sale/sessions/media.a/id/events/-1",
            "/whep/shop/sale/sessions/media.a/id/events/+1",
            "/whep/shop/sale/sessions/media.a/id/events/01",
            "/whep/shop/sale/sessions/media.a/id/events/4294967296",
            "/whep/shop/sale/sessions/media.a/id/events/1/x",
            "/whep/shop/sale/sessions/media.a/id/layer/x",
            "/whep/shop/sale/sessions/media.a/id/report/",
            "/whep/shop/sale/sessions/media.a/id/report/x",
            "/whep/shop/sale/sessions/media.a/id/reports",
        ] {
            assert_eq!(Address::parse(path), None, "{path}");
        }
        let long = format!("/sessions/{}", "a".repeat(MAX_ID + 1));
        assert_eq!(Resource::parse(&long), None);
    }

    /// Paths made of the pieces that parsers trip over.
    fn paths() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "/", "whep", "whip", "shop", "sale", "sessions", "media.a", "id", "events", "layer",
            "report", "7", "..", "%2f", "%00", "?", "#", "\\", " ", "ä", "\r\n", ".", "-",
        ]);
        prop::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// An address is spelled in one way, so what was checked is what is used.
        #[test]
        fn an_address_that_is_read_is_written_the_same(path in paths()) {
            match Address::parse(&path) {
                Some(Address::Endpoint(endpoint)) => prop_assert_eq!(endpoint.to_string(), path),
                Some(Address::Session(session)) => prop_assert_eq!(session.to_string(), path),
                None => {}
            }
        }

        /// Whatever a client asks for, a pod is only asked for a session's resources.
        #[test]
        fn a_pod_is_asked_for_nothing_else(path in "/(whip|whep)/[a-z]{1,3}/[a-z.]{1,3}/sessions/[a-z.]{1,4}/.{0,24}") {
            if let Some(Address::Session(session)) = Address::parse(&path) {
                let on_pod = session.resource.to_string();
                prop_assert_eq!(Resource::parse(&on_pod), Some(session.resource));
                let rest = on_pod.strip_prefix("/sessions/").unwrap();
                prop_assert!(!rest.contains(['.', '%', '?', '#', '\\', '\r', '\n']));
                prop_assert!(rest.split('/').count() <= 3);
            }
        }
    }
}
