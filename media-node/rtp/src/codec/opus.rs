//! Opus (RFC 6716): how long a packet plays, which is all that a forwarder has to know of it.

/// How long a packet plays, in samples of 48 kHz (§3.1 and §3.2); none if it is empty, cut off, or
/// longer than the 120 ms that a packet may be.
pub fn duration(packet: &[u8]) -> Option<u32> {
    const MAX: u32 = 5760;
    let &toc = packet.first()?;
    let frame = match toc >> 3 {
        // SILK: 10, 20, 40, 60 ms.
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        // Hybrid: 10, 20 ms.
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        // CELT: 2.5, 5, 10, 20 ms.
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|all| (1..=MAX).contains(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_rfc() {
        let of = |config: u8, code: u8| duration(&[config << 3 | code, 3]);
        assert_eq!(
            [0, 1, 2, 3].map(|c| of(c, 0).unwrap() / 48),
            [10, 20, 40, 60]
        );
        assert_eq!([12, 13].map(|c| of(c, 0).unwrap() / 48), [10, 20]);
        assert_eq!(
            [28, 29, 30, 31].map(|c| of(c, 0).unwrap()),
            [120, 240, 480, 960]
        );
        assert_eq!(
            [1, 2, 3].map(|code| of(31, code).unwrap()),
            [1920, 1920, 2880]
        );
    }

    #[test]
    fn what_is_no_packet_has_no_duration() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[31 << 3 | 3]), None, "cut off");
        assert_eq!(duration(&[31 << 3 | 3, 0]), None, "no frame");
        assert_eq!(duration(&[3 << 3 | 3, 3]), None, "180 ms");
    }
}
