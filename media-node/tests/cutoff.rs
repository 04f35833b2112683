//! A node that hears none of its viewers any more, though it goes on sending: it says so, and takes it back.

mod cluster;
mod peer;
mod pods;
mod support;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures_util::future::join_all;
use peer::Peer;
use peer::camera::Camera;
use peer::viewer::WIDE;
use pods::{Authority, Pod};
use support::Harness;
use tokio::sync::{Mutex, MutexGuard};

/// Longer than it takes on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than it takes to find out.
const LONG: Duration = Duration::from_millis(1500);

/// The gauge is the process's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A pod with a host on air, alone for as long as the first is held.
async fn scene() -> (MutexGuard<'static, ()>, Pod, Camera) {
    let alone = ALONE.lock().await;
    let pod = Authority::new().pod().await;
    pod.is_origin(1).await;
    let camera = Camera::start(&pod.harness).await;
    (alone, pod, camera)
}

/// Viewers who say many times a second what they get, for as long as they are waited for.
async fn viewers<const N: usize>(harness: &Harness) -> [Peer; N] {
    let mut viewers = Vec::new();
    for _ in 0..N {
        let mut viewer = Peer::viewer_on(harness, WIDE).await;
        viewer.connect().await;
        viewers.push(viewer);
    }
    viewers.try_into().ok().expect("so many")
}

/// All of them watch for so long.
async fn watch(viewers: &mut [Peer], long: Duration) {
    let until = Instant::now() + long;
    join_all(viewers.iter_mut().map(async |viewer| {
        while Instant::now() < until {
            viewer.next_packet().await;
        }
    }))
    .await;
}

/// All of them answer what comes, for so long.
async fn answer(viewers: &mut [Peer], long: Duration) {
    let until = Instant::now() + long;
    join_all(viewers.iter_mut().map(async |viewer| {
        while Instant::now() < until {
            viewer.step_until(until).await;
        }
    }))
    .await;
}

/// Waits until it is cut off, or is not; how long that took.
async fn until_cut_off(harness: &Harness, is_so: bool) -> Duration {
    let began = Instant::now();
    while harness.node.is_cut_off() != is_so {
        assert!(began.elapsed() < PATIENCE, "never {is_so}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

async fn is_ready(harness: &Harness) -> bool {
    let answer = harness.request("GET", "/readyz").send().await;
    if answer.status != StatusCode::OK {
        answer.is_problem(503, "cut off");
    }
    answer.status == StatusCode::OK
}

fn gauge() -> bool {
    let metrics = media_node::metrics::render();
    assert!(metrics.contains("\nshowrunner_cut_off "), "{metrics}");
    metrics.contains("\nshowrunner_cut_off 1\n")
}

#[tokio::test]
async fn a_pod_that_hears_none_of_three_viewers_is_cut_off_until_it_hears_one() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let mut viewers: [Peer; 3] = viewers(harness).await;
    let story = async {
        watch(&mut viewers, LONG).await;
        assert!(!harness.node.is_cut_off() && is_ready(harness).await);
        let took = until_cut_off(harness, true).await;
        println!("it noticed after {} ms", took.as_millis());
        let status = harness.node.status();
        assert!(status.cut_off && !status.ready && !status.draining);
        assert!(!is_ready(harness).await && gauge());
        // Who comes is still taken in: it may be heard.
        assert_eq!(harness.watch_raw().await.status, StatusCode::CREATED);
        watch(&mut viewers[..1], Duration::from_millis(200)).await;
        until_cut_off(harness, false).await;
        assert!(harness.node.status().ready && is_ready(harness).await && !gauge());
    };
    camera.shoot(story).await;
}

#[tokio::test]
async fn one_that_is_heard_is_enough_and_two_that_are_not_say_nothing() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let mut viewers: [Peer; 4] = viewers(harness).await;
    let story = async {
        watch(&mut viewers, LONG).await;
        let [.., last] = &mut viewers;
        watch(std::slice::from_mut(last), 2 * LONG).await;
        assert!(!harness.node.is_cut_off(), "one is heard");
    };
    camera.shoot(story).await;
    for viewer in &viewers[2..] {
        let left = harness.request("DELETE", &viewer.url).send().await;
        assert_eq!(left.status, StatusCode::OK, "{}", left.body);
    }
    camera.shoot(tokio::time::sleep(2 * LONG)).await;
    assert!(!harness.node.is_cut_off(), "two are not");
}

#[tokio::test]
async fn a_pod_is_cut_off_that_hears_neither_its_host_nor_its_viewers() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let mut viewers: [Peer; 3] = viewers(harness).await;
    camera.shoot(watch(&mut viewers, LONG)).await;
    // What is on the way at that moment is answered in vain.
    let moment = Duration::from_millis(60);
    camera.shoot(tokio::time::sleep(moment)).await;
    until_cut_off(harness, true).await;
}

#[tokio::test]
async fn viewers_who_had_answered_all_are_asked_whether_they_are_there() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let mut viewers: [Peer; 4] = viewers(harness).await;
    camera.shoot(watch(&mut viewers, LONG)).await;
    // Their host has gone: but for that question they have nothing to say.
    answer(&mut viewers, 3 * LONG).await;
    assert!(!harness.node.is_cut_off(), "they answer");
    camera.shoot(watch(&mut viewers, LONG)).await;
    answer(&mut viewers, Duration::from_millis(300)).await;
    until_cut_off(harness, true).await;
}

#[tokio::test]
async fn a_pod_is_cut_off_that_nothing_comes_to_of_those_whom_it_has_let_in() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let story = async {
        for _ in 0..3 {
            assert_eq!(harness.watch_raw().await.status, StatusCode::CREATED);
        }
        until_cut_off(harness, true).await;
    };
    camera.shoot(story).await;
}

#[tokio::test]
async fn who_speaks_seldom_is_not_missed() {
    let (_alone, pod, mut camera) = scene().await;
    let harness = &pod.harness;
    let mut viewers = Vec::new();
    for _ in 0..3 {
        let mut viewer = Peer::viewer(harness, peer::Who::anyone()).await;
        viewer.connect().await;
        viewers.push(viewer);
    }
    camera.shoot(tokio::time::sleep(2 * LONG)).await;
    assert!(!harness.node.is_cut_off());
}

#[tokio::test]
async fn a_node_that_stands_alone_goes_on_taking_people_in() {
    let _alone = ALONE.lock().await;
    let harness = &Harness::new();
    let mut camera = Camera::start(harness).await;
    let mut viewers: [Peer; 3] = viewers(harness).await;
    let story = async {
        watch(&mut viewers, LONG).await;
        until_cut_off(harness, true).await;
        assert!(gauge() && is_ready(harness).await && harness.node.status().ready);
    };
    camera.shoot(story).await;
}
