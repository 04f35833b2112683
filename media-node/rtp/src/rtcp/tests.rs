use proptest::prelude::*;

use super::*;

#[test]
fn what_applications_say_reads_back_in_whole_words() {
    let mut buf = [0xff; 64];
    let mut writer = Writer::new(&mut buf);
    writer
        .application(9, 0xff, *b"name", &[&[1, 2], &[3, 4, 5]])
        .unwrap();
    writer.application(9, 2, *b"none", &[]).unwrap();
    assert_eq!(
        writer.application(9, 0, *b"huge", &[&[0; 40]]),
        Err(BufferFull)
    );
    let len = writer.finish();
    let all: Vec<_> = packets(&buf[..len]).map(Result::unwrap).collect();
    let [
        Packet::Application {
            ssrc: 9,
            subtype: 31,
            name: [b'n', b'a', b'm', b'e'],
            data: [1, 2, 3, 4, 5, 0, 0, 0],
        },
        Packet::Application {
            subtype: 2,
            data: [],
            ..
        },
    ] = all[..]
    else {
        panic!("{all:?}");
    };
}

#[test]
fn reports_read_back_as_written() {
    let block = ReportBlock {
        ssrc: 9,
        fraction_lost: 255,
        cumulative_lost: -3,
        highest_seq: 70_000,
        jitter: 4,
        last_sr: 5,
        delay_since_last_sr: 6,
    };
    let mut buf = [0; 256];
    let mut writer = Writer::new(&mut buf);
    writer
        .sender_report(1, NtpTime(0x1_0000_0002), 3, 4, 5)
        .unwrap();
    writer.sdes_cname(1, "name").unwrap();
    writer.receiver_report(2, &[block, block]).unwrap();
    writer.pli(1, 7).unwrap();
    writer.bye(1).unwrap();
    let len = writer.finish();
    let all: Vec<_> = packets(&buf[..len]).map(Result::unwrap).collect();
    let [
        Packet::SenderReport(sr),
        Packet::SourceDescription,
        Packet::ReceiverReport { ssrc: 2, blocks },
        Packet::Pli {
            sender_ssrc: 1,
            media_ssrc: 7,
        },
        Packet::Bye { ssrc: Some(1) },
    ] = all[..]
    else {
        panic!("{all:?}");
    };
    assert_eq!((sr.ssrc, sr.ntp.0, sr.rtp_timestamp), (1, 0x1_0000_0002, 3));
    assert_eq!((sr.packets, sr.octets), (4, 5));
    assert_eq!(blocks.collect::<Vec<_>>(), [block, block]);
}

#[test]
fn a_full_buffer_keeps_what_was_written() {
    let mut buf = [0; 14];
    let mut writer = Writer::new(&mut buf);
    writer.pli(1, 2).unwrap();
    assert_eq!(writer.pli(1, 2), Err(BufferFull));
    assert_eq!(writer.finish(), 12);
}

#[test]
fn remb_is_mantissa_and_exponent() {
    let mut packet = vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
    packet.extend(b"REMB");
    packet.extend([1, 3 << 2 | 1, 0, 0, 0, 0, 0, 9]);
    let read = packets(&packet).next();
    assert!(
        matches!(
            read,
            Some(Ok(Packet::Remb {
                bitrate_bps: 524_288
            }))
        ),
        "{read:?}"
    );
}

proptest! {
    #[test]
    fn nacks_read_back_as_written(mut seqs in prop::collection::btree_set(any::<u16>(), 1..100), wrap in any::<u16>()) {
        let seqs: Vec<u16> = std::mem::take(&mut seqs).into_iter().map(|s| s.wrapping_add(wrap)).collect();
        let mut buf = [0; 1024];
        let mut writer = Writer::new(&mut buf);
        writer.nack(1, 2, &seqs).unwrap();
        let len = writer.finish();
        let Some(Ok(Packet::Nack { sender_ssrc: 1, media_ssrc: 2, entries })) = packets(&buf[..len]).next() else {
            return Err(TestCaseError::fail("not a NACK"));
        };
        prop_assert_eq!(entries.collect::<Vec<_>>(), seqs);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 200u8..208) {
        let mut bytes = bytes;
        if bytes.len() > 4 {
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            bytes[1] = kind;
            let words = (bytes.len() / 4 - 1) as u16;
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
        }
        for packet in packets(&bytes).flatten() {
            match packet {
                Packet::Nack { entries, .. } => entries.for_each(drop),
                Packet::TransportCc(feedback) => drop(feedback.arrivals(|_, _| ())),
                Packet::SenderReport(report) => report.blocks.for_each(drop),
                Packet::ExtendedReport { blocks, .. } => blocks.for_each(drop),
                _ => {}
            }
        }
    }
}
