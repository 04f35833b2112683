//! What it costs to seal and to open one packet: `cargo run --release -p showrunner-transport
//! --example seal`. Prints nanoseconds per packet of 1200 bytes, the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use showrunner_transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, SrtpError, SrtpKeys, StreamState,
};

const HEADER: usize = 12;
const PACKET: usize = 1200;
const PACKETS: u64 = 20_000;
const ROUNDS: usize = 20;

fn main() -> Result<(), SrtpError> {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let material: Vec<u8> = (0..60).collect();
        let client = SrtpKeys::from_keying_material(profile, true, &material)?;
        let server = SrtpKeys::from_keying_material(profile, false, &material)?;
        let (sender, receiver) = (Sender::new(&client), Receiver::new(&server));
        let (mut sealing, mut both) = (f64::MAX, f64::MAX);
        let mut buffer = [0x80; PACKET + MAX_OVERHEAD];
        let mut index = 1;
        let mut stream = StreamState::default();
        for _ in 0..ROUNDS {
            sealing = sealing.min(round(&mut index, |index| {
                seal(&sender, &mut buffer, index).map(|_| ())
            })?);
            both = both.min(round(&mut index, |index| {
                let len = seal(&sender, &mut buffer, index)?;
                receiver
                    .open_rtp(&mut stream, &mut buffer[..len], HEADER)
                    .map(|_| ())
            })?);
        }
        println!(
            "{profile:?}: seal {sealing:.0} ns, open {:.0} ns",
            both - sealing
        );
    }
    Ok(())
}

fn seal(sender: &Sender, buffer: &mut [u8], index: u64) -> Result<usize, SrtpError> {
    buffer[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    sender.seal_rtp(black_box(buffer), HEADER, PACKET, index)
}

/// Nanoseconds per packet.
fn round(
    index: &mut u64,
    mut packet: impl FnMut(u64) -> Result<(), SrtpError>,
) -> Result<f64, SrtpError> {
    let begin = Instant::now();
    for _ in 0..PACKETS {
        packet(*index)?;
        *index += 1;
    }
    Ok(begin.elapsed().as_nanos() as f64 / PACKETS as f64)
}
