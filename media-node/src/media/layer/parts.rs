//! What can be sent of a layer: all of it, or of a scalable one its lower spatial and temporal layers.

use showrunner_rtp::codec::layering::{MAX_SPATIAL, MAX_TEMPORAL};

use super::Layer;
use crate::media::forwarder::Sublayers;

/// A part of a scalable layer that can be sent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its highest spatial and temporal layer.
    pub sublayers: Sublayers,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
    /// Bits a second, with all that it builds on.
    pub bitrate_bps: u64,
}

impl Layer {
    /// Bits a second over the last second or so.
    pub fn bitrate_bps(&self) -> u64 {
        self.rate.bps.iter().flatten().sum()
    }

    /// What can be sent of it, each with all that it builds on: one for every spatial and temporal
    /// layer that came in lately. A layer that isn't scalable has one part, itself.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let highest = self.rate.highest_spatial();
        (0..MAX_SPATIAL).flat_map(move |spatial| {
            (0..MAX_TEMPORAL)
                .filter(move |temporal| {
                    (spatial, *temporal) == (0, 0) || self.rate.bps[spatial][*temporal] > 0
                })
                .map(move |temporal| Part {
                    sublayers: Sublayers {
                        spatial: spatial as u8,
                        temporal: temporal as u8,
                    },
                    size: self.size_of(spatial, highest),
                    bitrate_bps: self.rate.up_to(spatial, temporal),
                })
        })
    }

    /// Its pictures, the smallest first: spatial layer if it has several, size, and bit/s of that
    /// layer alone.
    pub fn pictures(&self) -> impl Iterator<Item = (Option<u8>, Option<(u16, u16)>, u64)> {
        let highest = self.rate.highest_spatial();
        (0..=highest).map(move |spatial| {
            let size = self.size_of(spatial, highest);
            if highest == 0 {
                return (None, size.or(self.size), self.bitrate_bps());
            }
            let bitrate_bps = self.rate.bps[spatial].iter().sum();
            (Some(spatial as u8), size, bitrate_bps)
        })
    }

    /// Which of its pictures one sees who is sent spatial layers up to this one, and its size.
    pub fn picture(&self, up_to: u8) -> (Option<u8>, Option<(u16, u16)>) {
        let seen = self
            .pictures()
            .take(usize::from(up_to).saturating_add(1))
            .last();
        seen.map_or((None, self.size), |(spatial, size, _)| (spatial, size))
    }

    /// Picture size of a spatial layer. What is known of the whole is that of the highest.
    fn size_of(&self, spatial: usize, highest: usize) -> Option<(u16, u16)> {
        match self.spatial_sizes[spatial] {
            (0, 0) => self.size.filter(|_| spatial == highest),
            size => Some(size),
        }
    }
}
