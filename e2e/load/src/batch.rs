//! Datagrams that leave together: those of one size with one system call.

/// Most bytes of a run: what a UDP datagram of the kernel's segmentation may carry.
const MAX_RUN: usize = 60_000;

/// Collects a run of equally long datagrams, of which the last may be shorter.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    /// The run has its shorter last one.
    closed: bool,
}

impl Batch {
    /// Adds a datagram; what can't be in one run with it is given to `send` before, with the size of
    /// its datagrams if it has several.
    pub fn push(
        &mut self,
        datagram: &[u8],
        max_segments: usize,
        send: impl FnMut(&[u8], Option<usize>),
    ) {
        let fits = !self.closed
            && datagram.len() <= self.segment
            && self.count < max_segments
            && self.bytes.len() + datagram.len() <= MAX_RUN;
        if !fits {
            self.flush(send);
            self.segment = datagram.len();
        }
        self.closed = datagram.len() < self.segment;
        self.count += 1;
        self.bytes.extend_from_slice(datagram);
    }

    /// Gives what is there to `send`.
    pub fn flush(&mut self, mut send: impl FnMut(&[u8], Option<usize>)) {
        if self.count > 0 {
            send(&self.bytes, (self.count > 1).then_some(self.segment));
        }
        self.bytes.clear();
        (self.segment, self.count, self.closed) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(sizes: &[usize], max_segments: usize) -> Vec<(usize, Option<usize>)> {
        let mut out = Vec::new();
        let mut batch = Batch::default();
        for size in sizes {
            batch.push(&vec![0; *size], max_segments, |bytes, segment| {
                out.push((bytes.len(), segment))
            });
        }
        batch.flush(|bytes, segment| out.push((bytes.len(), segment)));
        out
    }

    #[test]
    fn equal_datagrams_share_a_run_that_a_shorter_one_ends() {
        assert_eq!(
            runs(&[40, 900, 900, 700, 700, 900], 64),
            [(40, None), (2500, Some(900)), (700, None), (900, None)]
        );
        assert_eq!(runs(&[], 64), []);
    }

    #[test]
    fn runs_are_no_longer_than_the_kernel_takes() {
        assert_eq!(
            runs(&[100; 5], 2),
            [(200, Some(100)), (200, Some(100)), (100, None)]
        );
        assert_eq!(runs(&[1000; 61], 64)[0], (60_000, Some(1000)));
        assert_eq!(runs(&[100; 3], 1), [(100, None); 3]);
    }
}
