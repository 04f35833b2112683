//! A TCP stream in pieces of any size: frames come out the same however it was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_transport::framing::{MAX_FRAME, Reader};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, stream) = input;
    let whole = read(stream, 8 << 10);
    let cut = read(stream, usize::from(step) + 1);
    if let (Some(whole), Some(cut)) = (whole, cut) {
        assert_eq!(whole, cut);
    }
});

/// All frames, or none if the reader refused the stream.
fn read(stream: &[u8], step: usize) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader::default();
    let mut frame = [0; MAX_FRAME];
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        reader.push(piece).ok()?;
        while let Some(len) = reader.next_frame(&mut frame) {
            frames.push(frame[..len].to_vec());
        }
    }
    Some(frames)
}
