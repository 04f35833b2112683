//! A forwarded packet costs no allocation: counted on the shard's thread of a real node, from the
//! socket that the packet comes in by to the one that it leaves by.

#![allow(unsafe_code)]

mod peer;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use media_node::http::HttpConfig;
use peer::Who;
use peer::show::Show;
use support::Harness;

/// Counts the allocations of threads that are called `shard-…`.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_shard() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is the system allocator's condition.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Asks the kernel, since thread-locals may be gone, or may themselves allocate.
fn is_shard() -> bool {
    let mut name = [0u8; 16];
    // SAFETY: the kernel writes a name of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"shard-")
}

#[tokio::test]
async fn forwarding_allocates_nothing_per_packet() {
    const FRAMES: u32 = 4000;
    // With two shards, the viewer is on another than the host.
    for shards in [1, 2] {
        let harness = Harness::on_shards(shards, HttpConfig::default(), 100);
        let mut show = Show::on(harness, Who::anyone(), Who::anyone()).await;
        assert!(
            ALLOCATIONS.load(Ordering::Relaxed) > 0,
            "the counter counts nothing"
        );
        // Until the layer's history is full and buffers are used again.
        show.carry(2000).await;
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        show.carry(FRAMES).await;
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!(
            "{allocated} allocations while {FRAMES} packets came in and went out by {shards} shards"
        );
        // Reports and status of each second may allocate; packets may not.
        assert!(
            allocated < u64::from(FRAMES) / 10,
            "{allocated} allocations by {shards} shards"
        );
    }
}
