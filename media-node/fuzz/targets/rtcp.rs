//! A compound of RTCP, every part of it read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::rtcp::{Packet, packets};

fuzz_target!(|compound: &[u8]| {
    for packet in packets(compound) {
        let Ok(packet) = packet else {
            return;
        };
        match packet {
            Packet::SenderReport(report) => assert!(report.blocks.count() <= 31),
            Packet::ReceiverReport { blocks, .. } => assert!(blocks.count() <= 31),
            // A DLRR block has an answer in twelve bytes.
            Packet::ExtendedReport { blocks, .. } => assert!(blocks.count() <= compound.len() / 12),
            // Each entry of four bytes names at most 17 packets.
            Packet::Nack { entries, .. } => assert!(entries.count() <= compound.len() / 4 * 17),
            Packet::TransportCc(feedback) => {
                let mut reported = 0_u32;
                let _ = feedback.arrivals(|_, _| reported += 1);
                assert!(reported <= u32::from(feedback.count));
            }
            _ => {}
        }
    }
});
