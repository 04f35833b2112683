//! What became of the packets of a direction.

use std::time::Duration;

use serde::Serialize;

/// Width of a histogram's cells.
const CELL: Duration = Duration::from_micros(50);
/// The last cell takes everything above: a minute.
const CELLS: usize = 1_200_000;

/// How often spans of time occurred.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    cells: Vec<u32>,
    count: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, span: Duration) {
        let cell = (span.as_nanos() / CELL.as_nanos()) as usize;
        let cell = cell.min(CELLS - 1);
        if self.cells.len() <= cell {
            self.cells.resize(cell + 1, 0);
        }
        self.cells[cell] = self.cells[cell].saturating_add(1);
        self.count += 1;
    }

    /// The span in milliseconds that this share (0 to 1) of all were not above; none if there were
    /// none.
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let cell = self.cells.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        // The middle of the cell.
        Some((CELL * cell as u32 + CELL / 2).as_micros() as f64 / 1e3)
    }
}

/// Counts of a direction, from the beginning or since they were last asked for.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets that came in.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were lost on the way.
    pub lost: u64,
    /// Packets that the queue had no room for, or that CoDel dropped.
    pub queue_dropped: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Packets that were held back, so that later ones overtake them.
    pub reordered: u64,
    /// Packets that arrived, copies included.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// From coming in to arriving.
    pub delay: Histogram,
    /// How much later than the model's time packets were given out: the shell's own error.
    pub lateness: Histogram,
}

/// The same as figures to print.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Packets that came in.
    pub packets: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets dropped by the queue.
    pub queue_dropped: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets held back.
    pub reordered: u64,
    /// Packets that arrived.
    pub delivered: u64,
    /// Bits a second that came in.
    pub offered_bps: f64,
    /// Bits a second that arrived.
    pub delivered_bps: f64,
    /// Mean of what the link could have carried; none is without a limit.
    pub capacity_bps: Option<f64>,
    /// Bytes that wait now.
    pub queue_bytes: usize,
    /// Median of the way's time, in milliseconds.
    pub delay_ms_p50: Option<f64>,
    /// 95th percentile of it.
    pub delay_ms_p95: Option<f64>,
    /// 99th percentile of it.
    pub delay_ms_p99: Option<f64>,
    /// 99th percentile of how much too late packets were given out.
    pub late_ms_p99: Option<f64>,
}

impl Counts {
    /// Figures of a stretch of time.
    pub fn figures(
        &self,
        over: Duration,
        capacity_bps: Option<f64>,
        queue_bytes: usize,
    ) -> Figures {
        let per_second = |bytes: u64| {
            let seconds = over.as_secs_f64();
            if seconds > 0.0 {
                bytes as f64 * 8.0 / seconds
            } else {
                0.0
            }
        };
        Figures {
            packets: self.packets,
            lost: self.lost,
            queue_dropped: self.queue_dropped,
            duplicated: self.duplicated,
            reordered: self.reordered,
            delivered: self.delivered,
            offered_bps: per_second(self.bytes),
            delivered_bps: per_second(self.delivered_bytes),
            capacity_bps,
            queue_bytes,
            delay_ms_p50: self.delay.percentile_ms(0.5),
            delay_ms_p95: self.delay.percentile_ms(0.95),
            delay_ms_p99: self.delay.percentile_ms(0.99),
            late_ms_p99: self.lateness.percentile_ms(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_spans() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ms(0.5), None);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        assert_eq!(histogram.percentile_ms(0.5), Some(50.025));
        assert_eq!(histogram.percentile_ms(0.99), Some(99.025));
        assert_eq!(histogram.percentile_ms(0.0), Some(1.025));
        histogram.add(Duration::MAX);
        assert!(histogram.percentile_ms(1.0).unwrap() > 59_999.0);
    }
}
