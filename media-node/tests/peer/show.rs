//! A room on air: a host, and a viewer that must get everything.

use super::{PATIENCE, Packet, Peer, Who};
use crate::support::Harness;
use media_node::http::HttpConfig;

pub struct Show {
    pub harness: Harness,
    pub host: Peer,
    pub viewer: Peer,
    next: u32,
    last_seq: Option<u16>,
}

impl Show {
    pub async fn begin() -> Show {
        Show::on(Harness::new(), Who::anyone(), Who::anyone()).await
    }

    /// On a node that takes no more sessions than this.
    pub async fn begin_with(max_sessions: usize) -> Show {
        let harness = Harness::of(HttpConfig::default(), max_sessions);
        Show::on(harness, Who::anyone(), Who::anyone()).await
    }

    pub async fn on(harness: Harness, host: Who, viewer: Who) -> Show {
        let mut host = Peer::host(&harness, host).await;
        host.connect().await;
        until_on_air(&harness).await;
        let mut viewer = Peer::viewer(&harness, viewer).await;
        viewer.connect().await;
        let mut show = Show {
            harness,
            host,
            viewer,
            next: 0,
            last_seq: None,
        };
        show.carry(1).await;
        show
    }

    /// The host sends frames, one by one; the viewer gets each once, in order, numbered without a gap.
    pub async fn carry(&mut self, frames: u32) -> Vec<Packet> {
        let mut received = Vec::new();
        for _ in 0..frames {
            self.host.send_frame(self.next).await;
            let packet = self.viewer.next_packet().await;
            assert_eq!(packet.ssrc, self.viewer.answer.ssrc);
            assert_eq!(packet.number(), self.next);
            if let Some(last) = self.last_seq {
                assert_eq!(packet.seq, last.wrapping_add(1));
            }
            self.last_seq = Some(packet.seq);
            self.next += 1;
            received.push(packet);
        }
        received
    }
}

/// Until the node knows that the host is connected, and takes viewers.
pub async fn until_on_air(harness: &Harness) {
    let wait = async {
        while !harness
            .node
            .status()
            .rooms
            .iter()
            .any(|r| r.video_codec.is_some())
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the host did not get on air");
}

/// Until a session is over.
pub async fn until_ended(harness: &Harness, peer: &Peer) {
    // None is known of one that has ended.
    if let Some(mut ended) = harness.node.ended(&peer.id) {
        let wait = ended.wait_for(Option::is_some);
        let result = tokio::time::timeout(PATIENCE, wait).await;
        assert!(result.is_ok(), "the session did not end");
    }
}
