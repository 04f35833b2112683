//! What the node sees of a host.

use std::time::{Duration, Instant};

use super::Lived;
use super::layers::{LayerTime, On};
use super::stalls::{Source, Stalls};

/// Layers that are told apart.
const MAX_LAYERS: usize = 16;

/// A host's session, as it goes on.
#[derive(Clone, Debug, Default)]
pub struct Hosting {
    stalls: Stalls,
    timestamp: Option<u32>,
    first: Option<Instant>,
    last: Option<Instant>,
    packets: u64,
    bytes: u64,
    keyframe_requests: u32,
    /// Layers side by side, and until when their time is counted.
    layers: Vec<LayerTime>,
    looked: Option<Instant>,
}

impl Hosting {
    /// A datagram of media came.
    pub fn on_packet(&mut self, now: Instant, bytes: usize) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// A frame of video is whole. Of the layers of one picture the first counts.
    pub fn on_frame(&mut self, now: Instant, timestamp: u32) {
        let is_newer = |before: u32| timestamp.wrapping_sub(before) as i32 > 0;
        if self.timestamp.is_none_or(is_newer) {
            self.timestamp = Some(timestamp);
            // Frames are due from a host at any time.
            self.stalls.on_frame(now, true, &Source::default());
        }
    }

    /// It was asked for a keyframe.
    pub fn on_keyframe_request(&mut self) {
        self.keyframe_requests = self.keyframe_requests.saturating_add(1);
    }

    /// These layers have been on air since the last look, each with so many bit/s of its own.
    pub fn on_layers<'a>(&mut self, now: Instant, on_air: impl Iterator<Item = (On<'a>, u64)>) {
        let before = self.looked.replace(now);
        let Some(time) = before.map(|before| now.saturating_duration_since(before)) else {
            return;
        };
        for (on, bitrate_bps) in on_air {
            let known = self.layers.iter().position(|layer| layer.is(&on));
            if known.is_none() && self.layers.len() < MAX_LAYERS {
                self.layers.push(LayerTime::new(on));
            }
            let layer = match known {
                Some(at) => self.layers.get_mut(at),
                None => self.layers.last_mut().filter(|layer| layer.is(&on)),
            };
            if let Some(layer) = layer {
                layer.time += time;
                layer.bytes += (bitrate_bps as f64 / 8.0 * time.as_secs_f64()) as u64;
            }
        }
    }

    /// The session is over. `created` is when its offer came; of packets, so many were `lost` on the way and `recovered`
    /// by retransmission.
    pub fn finish(
        mut self,
        now: Instant,
        created: Instant,
        (lost, recovered): (u64, u64),
    ) -> Lived {
        // Frames end with the last packet: what comes after is silence.
        self.stalls.hold();
        let silent = |last| now.saturating_duration_since(last);
        let present = self.first.zip(self.last);
        Lived {
            first_media: self.first.map(|at| at.saturating_duration_since(created)),
            present: present.map_or(Duration::ZERO, |(first, last)| {
                last.saturating_duration_since(first)
            }),
            silent: self.last.map_or(Duration::ZERO, silent),
            stalls: self.stalls.count(),
            stalled: self.stalls.total(),
            longest_stall: self.stalls.longest(),
            first_stall: self
                .stalls
                .first_stall()
                .zip(self.stalls.first())
                .map(|(stall, first)| stall.saturating_duration_since(first)),
            packets: self.packets,
            bytes: self.bytes,
            lost,
            retransmitted: recovered,
            keyframe_requests: self.keyframe_requests,
            layers: self.layers,
            ..Lived::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_hosts_session_adds_up() {
        let created = Instant::now();
        let at = |ms| created + Duration::from_millis(ms);
        let mut hosting = Hosting::default();
        let (q, f): (Arc<str>, Arc<str>) = ("q".into(), "f".into());
        for ms in (100..3100).step_by(40).chain((5100..6100).step_by(40)) {
            for _layer in [&q, &f] {
                hosting.on_packet(at(ms), 500);
                hosting.on_frame(at(ms), ms as u32 * 90);
            }
        }
        let on = |rid| {
            let on = On {
                rid,
                spatial: None,
                size: None,
            };
            (on, 80_000)
        };
        hosting.on_layers(at(1000), [on(&q)].into_iter());
        hosting.on_layers(at(2000), [on(&q), on(&f)].into_iter());
        hosting.on_layers(at(3000), [on(&f)].into_iter());
        let lived = hosting.finish(at(7000), created, (3, 2));
        assert_eq!(lived.first_media, Some(Duration::from_millis(100)));
        assert_eq!(lived.present, Duration::from_millis(6060 - 100));
        assert_eq!(lived.silent, Duration::from_millis(7000 - 6060));
        assert_eq!(
            (lived.stalls, lived.stalled),
            (1, Duration::from_millis(5100 - 3060))
        );
        assert_eq!((lived.packets, lived.bytes), (200, 100_000));
        let times: Vec<_> = lived
            .layers
            .iter()
            .map(|l| (&*l.rid, l.time.as_secs(), l.bytes))
            .collect();
        assert_eq!(times, [("q", 1, 10_000), ("f", 2, 20_000)]);
    }
}
