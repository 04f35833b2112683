//! A pod's event stream on its way to a viewer: `reconnect` events are told in public addresses, all else passes as it
//! is.
//!
//! Bytes in, bytes out. An event goes out when it is whole, which is when a client would act on it.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};

use super::rewrite::Source;

/// Longest event. Those of pods have a few hundred bytes.
const MAX_EVENT: usize = 64 * 1024;

/// An event that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pod sent an event of more than {MAX_EVENT} bytes")]
pub struct Endless;

/// Rewrites one stream.
#[derive(Debug)]
pub struct EventRewriter {
    source: Source,
    /// The beginning of an event.
    pending: BytesMut,
    /// As far as `pending` was searched for the event's end.
    searched: usize,
}

impl EventRewriter {
    /// For a stream that a pod sends.
    #[must_use]
    pub fn new(source: Source) -> EventRewriter {
        EventRewriter {
            source,
            pending: BytesMut::new(),
            searched: 0,
        }
    }

    /// Takes what has come and returns the events that are whole, which may be none.
    ///
    /// # Errors
    /// If an event is too long. The stream is of no more use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Endless> {
        self.pending.extend_from_slice(bytes);
        let mut whole = BytesMut::new();
        while let Some(end) = self.end_of_event() {
            let event = self.pending.split_to(end);
            self.searched = 0;
            whole.extend_from_slice(&self.rewrite(&event));
        }
        if self.pending.len() > MAX_EVENT {
            return Err(Endless);
        }
        Ok(whole.freeze())
    }

    /// Behind the first blank line. Lines end in LF or CR LF here, as pods write them; with a lone CR, which the
    /// format allows as well, there would be no end.
    fn end_of_event(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(2);
        let end = (from..self.pending.len()).find_map(|at| match self.pending.get(at..)? {
            [b'\n', b'\n', ..] => Some(at + 2),
            [b'\n', b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
        self.searched = self.pending.len();
        end
    }

    fn rewrite(&self, event: &[u8]) -> Bytes {
        let rewritten = std::str::from_utf8(event)
            .ok()
            .and_then(|text| self.reconnect(text));
        rewritten.map_or_else(|| Bytes::copy_from_slice(event), Bytes::from)
    }

    /// The event as the viewer shall see it; none if it is no `reconnect` or has no address. Without an address of use
    /// the viewer reconnects where it came from.
    fn reconnect(&self, event: &str) -> Option<String> {
        let fields = || event.lines().filter_map(field);
        fields().find(|field| *field == ("event", "reconnect"))?;
        let data: Vec<&str> = fields()
            .filter(|(name, _)| *name == "data")
            .map(|(_, v)| v)
            .collect();
        let mut data: Map<String, Value> = serde_json::from_str(&data.join("\n")).ok()?;
        let url = data.remove("url")?;
        if let Some(url) = url.as_str().and_then(|url| self.source.target(url)) {
            data.insert("url".to_owned(), url.into());
        }
        let others = fields().filter(|(name, _)| *name != "data");
        let mut text: String = others
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect();
        text.push_str(&format!("data: {}\n\n", Value::Object(data)));
        Some(text)
    }
}

/// A line's field name and value; comments and blank lines have none.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    (!name.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use showrunner_protocol::RoomName;

    use super::super::address::{Endpoint, PodName, Protocol};
    use super::*;

    fn rewriter() -> EventRewriter {
        EventRewriter::new(Source {
            endpoint: Endpoint {
                protocol: Protocol::Whep,
                room: RoomName::new("shop", "sale").unwrap(),
            },
            pod: PodName::new("media", "eu-1").unwrap(),
        })
    }

    fn push(rewriter: &mut EventRewriter, text: &str) -> String {
        let out = rewriter.push(text.as_bytes()).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn events_pass_as_they_are_and_as_soon_as_they_are_whole() {
        let mut rewriter = rewriter();
        for event in [
            "event: active\ndata: {}\n\n",
            ":\n\n",
            "data: a\r\ndata: b\r\n\r\n",
            "\n\n",
        ] {
            assert_eq!(push(&mut rewriter, event), event);
        }
        assert_eq!(
            push(&mut rewriter, "event: viewercount\ndata: {\"viewerc"),
            ""
        );
        let rest = "ount\":3}\n\nevent: la";
        let whole = "event: viewercount\ndata: {\"viewercount\":3}\n\n";
        assert_eq!(push(&mut rewriter, rest), whole);
    }

    #[test]
    fn a_reconnect_names_a_public_address() {
        for (pods, told) in [
            (
                "{\"url\":\"https://10.1.2.3:8443/whep/shop/sale\"}",
                "{\"url\":\"/whep/shop/sale\"}",
            ),
            (
                "{\"url\":\"/whep/shop/sale\"}",
                "{\"url\":\"/whep/shop/sale\"}",
            ),
            ("{\"url\":\"https://10.1.2.3:8443/internal\"}", "{}"),
            ("{\"url\":7}", "{}"),
            ("{}", "{}"),
        ] {
            let event = |data| format!("id: 4\nevent: reconnect\ndata: {data}\n\n");
            assert_eq!(push(&mut rewriter(), &event(pods)), event(told));
        }
    }

    #[test]
    fn the_order_of_fields_and_split_data_do_not_matter() {
        let event = "data: {\"url\":\r\ndata: \"http://[fd00::1]:80/whep/shop/sale\"}\r\nevent:reconnect\r\n\r\n";
        assert_eq!(
            push(&mut rewriter(), event),
            "event: reconnect\ndata: {\"url\":\"/whep/shop/sale\"}\n\n"
        );
    }

    #[test]
    fn addresses_in_other_events_are_not_touched() {
        let event = "event: chat\ndata: {\"url\":\"https://10.1.2.3/whep/shop/sale\"}\n\n";
        assert_eq!(push(&mut rewriter(), event), event);
    }

    #[test]
    fn an_event_without_end_ends_the_stream() {
        let mut rewriter = rewriter();
        let piece = [b'x'; 1024];
        let pushed = (0..).take_while(|_| rewriter.push(&piece).is_ok()).count();
        assert_eq!(pushed, MAX_EVENT / piece.len());
    }

    proptest! {
        /// What comes out does not depend on how it was cut in transit.
        #[test]
        fn cuts_do_not_matter(
            events in prop::collection::vec(prop::sample::select(vec![
                "event: active\ndata: {}\n\n", ":\n\n", "data: a\r\n\r\n", "\n", "\r\n", "ä\n",
                "event: reconnect\ndata: {\"url\":\"http://10.0.0.1/whep/shop/sale\"}\n\n",
            ]), 0..12),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let stream = events.concat();
            let whole = rewriter().push(stream.as_bytes()).unwrap();
            let mut rewriter = rewriter();
            let (mut rest, mut out) = (stream.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                out.extend_from_slice(&rewriter.push(now).unwrap());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(out, whole.to_vec());
        }

        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut rewriter = rewriter();
            for piece in pieces {
                let _ = rewriter.push(&piece);
            }
        }
    }
}
