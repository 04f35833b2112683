//! A path in a box, for tests: a link with a rate, a delay, a bounded queue, loss and jitter.

/// Random numbers that are the same each time.
#[derive(Debug)]
pub(crate) struct Dice(pub u64);

impl Dice {
    /// From 0 to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

/// Loss, whatever is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Each packet by itself.
    Random(f64),
    /// Bursts of a mean length (Gilbert).
    Bursts { share: f64, length: f64 },
}

/// One direction of a path.
pub(crate) struct Link {
    /// Bit/s at a time in ms.
    pub(crate) rate: Box<dyn Fn(i64) -> f64>,
    pub(crate) delay_us: i64,
    /// How much time's worth of packets the queue holds, at the rate of the moment, and at least in
    /// bytes.
    pub(crate) queue_us: i64,
    pub(crate) loss: Loss,
    pub(crate) jitter_us: i64,
    /// Drops what is above the rate, and delays nothing.
    pub(crate) polices: bool,
    busy_until_us: i64,
    in_burst: bool,
    last_arrival_us: i64,
    pub(crate) dice: Dice,
}

impl Link {
    pub(crate) fn new(rate: impl Fn(i64) -> f64 + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            delay_us: 50_000,
            queue_us: 300_000,
            loss: Loss::Random(0.0),
            jitter_us: 0,
            polices: false,
            busy_until_us: 0,
            in_burst: false,
            last_arrival_us: 0,
            dice: Dice(7),
        }
    }

    /// When a packet arrives; none if it does not.
    pub(crate) fn carry(&mut self, now_us: i64, bytes: usize) -> Option<i64> {
        let rate = (self.rate)(now_us / 1000).max(1.0);
        let free_us = self.busy_until_us.max(now_us);
        let room_us = if self.polices { 10_000 } else { self.queue_us };
        let queued_bits = (free_us - now_us) as f64 * rate / 1e6;
        if free_us - now_us > room_us && queued_bits > 15_000.0 * 8.0 {
            return None;
        }
        self.busy_until_us = self.serve(free_us, bytes as f64 * 8.0);
        if self.is_lost() {
            return None;
        }
        let left_us = if self.polices {
            now_us
        } else {
            self.busy_until_us
        };
        let jitter_us = (self.dice.roll() * self.jitter_us as f64) as i64;
        // Jitter does not change the order.
        self.last_arrival_us = self
            .last_arrival_us
            .max(left_us + self.delay_us + jitter_us);
        Some(self.last_arrival_us)
    }

    /// When so many bits are through, with a rate that changes under way.
    fn serve(&self, from_us: i64, mut bits: f64) -> i64 {
        const STEP_US: i64 = 10_000;
        let mut at_us = from_us;
        loop {
            let rate = (self.rate)(at_us / 1000).max(1.0);
            let step_us = STEP_US - at_us % STEP_US;
            let needs_us = bits * 1e6 / rate;
            if needs_us <= step_us as f64 {
                return at_us + needs_us as i64;
            }
            bits -= rate * step_us as f64 / 1e6;
            at_us += step_us;
        }
    }

    fn is_lost(&mut self) -> bool {
        match self.loss {
            Loss::Random(share) => self.dice.roll() < share,
            Loss::Bursts { share, length } => {
                let leaves = 1.0 / length;
                let enters = share * leaves / (1.0 - share);
                let turns = self.dice.roll() < if self.in_burst { leaves } else { enters };
                self.in_burst ^= turns;
                self.in_burst
            }
        }
    }
}
