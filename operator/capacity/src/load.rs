//! What pods carry, and what they can.

/// An amount of work: what is on a pod, what a room needs, or what a pod takes at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions of viewers, and of edges that take the room from this pod.
    pub viewers: u64,
    /// Rooms.
    pub rooms: u64,
    /// Media sent, bit/s.
    pub egress_bps: u64,
    /// Media packets sent each second.
    pub packets: u64,
}

/// More than any pod carries: what has no limit. Sums of a few stay far from the type's end.
pub const UNLIMITED: u64 = u64::MAX >> 8;

impl Load {
    /// A pod that takes whatever comes.
    pub const UNLIMITED: Load = Load {
        viewers: UNLIMITED,
        rooms: UNLIMITED,
        egress_bps: UNLIMITED,
        packets: UNLIMITED,
    };

    /// Whether all of it is there in `free`.
    #[must_use]
    pub fn fits(&self, free: &Load) -> bool {
        self.viewers <= free.viewers
            && self.rooms <= free.rooms
            && self.egress_bps <= free.egress_bps
            && self.packets <= free.packets
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Load) -> Load {
        Load {
            viewers: self.viewers.saturating_add(other.viewers),
            rooms: self.rooms.saturating_add(other.rooms),
            egress_bps: self.egress_bps.saturating_add(other.egress_bps),
            packets: self.packets.saturating_add(other.packets),
        }
    }

    /// What is left of it without the other: nothing of what the other has more of.
    #[must_use]
    pub fn minus(&self, other: &Load) -> Load {
        Load {
            viewers: self.viewers.saturating_sub(other.viewers),
            rooms: self.rooms.saturating_sub(other.rooms),
            egress_bps: self.egress_bps.saturating_sub(other.egress_bps),
            packets: self.packets.saturating_sub(other.packets),
        }
    }

    /// So many per cent of it. Rooms stay as they are: they are counted, and none grows.
    #[must_use]
    pub fn percent(&self, percent: u32) -> Load {
        let of = |amount: u64| {
            let part = u128::from(amount) * u128::from(percent) / 100;
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        Load {
            viewers: of(self.viewers),
            rooms: self.rooms,
            egress_bps: of(self.egress_bps),
            packets: of(self.packets),
        }
    }
}

/// What one viewer of a room costs the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Media sent, bit/s.
    pub egress_bps: u64,
    /// Media packets sent each second.
    pub packets: u64,
}

impl Rate {
    /// What so many viewers cost.
    #[must_use]
    pub fn of(&self, viewers: u64) -> Load {
        Load {
            viewers,
            rooms: 0,
            egress_bps: self.egress_bps.saturating_mul(viewers),
            packets: self.packets.saturating_mul(viewers),
        }
    }

    /// How many viewers fit into what is free.
    #[must_use]
    pub fn viewers_in(&self, free: &Load) -> u64 {
        let by = |free: u64, each: u64| free.checked_div(each).unwrap_or(UNLIMITED);
        free.viewers
            .min(by(free.egress_bps, self.egress_bps))
            .min(by(free.packets, self.packets))
    }
}
