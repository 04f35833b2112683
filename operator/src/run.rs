//! Puts an operator together and runs it: watches and polls from the start, controllers while this replica leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, future, stream};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use kube::runtime::controller::{Action as Next, Config as ControllerConfig, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use showrunner_capacity::autoscaling::Hold;
use showrunner_crds::live_room::Phase;
use showrunner_crds::{LiveRoom, MediaNode};
use showrunner_door::Door;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::admin;
use crate::board::Board;
use crate::cluster::events::reports;
use crate::cluster::evictions;
use crate::cluster::names::{MANAGER, label};
use crate::cluster::slim;
use crate::cluster::watch::{Kind, watch};
use crate::cluster::write::{Hand, WriteError};
use crate::config::Config;
use crate::keys::{Keeper, ServingKeys};
use crate::leader::{Candidate, Leadership};
use crate::live_room::fleet::Fleet;
use crate::live_room::reconcile::{Rooms, reference};
use crate::media_node::reconcile::Sites;
use crate::metrics::Metrics;
use crate::metrics_api;
use crate::pods::control::Control;
use crate::pods::poll::poll;
use crate::pods::sight::Sights;
use crate::pods::{PodId, address, is_leaving, is_ready};
use crate::world::World;

/// Sites that are worked on at the same time.
const SITES_AT_A_TIME: u16 = 8;
/// How often pods are searched for rooms that should not be there.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often rooms are placed if nothing is heard: loads change all the time.
const PLACE_EVERY: Duration = Duration::from_secs(1);
/// The least rest between two passes, however much happens, and as a multiple of the time that the last one took.
const PLACE_REST: Duration = Duration::from_millis(20);
const PLACE_REST_TIMES: u32 = 3;
/// How often it is looked whether all pods were asked how they are, and for how long at most.
const ASK_REST: Duration = Duration::from_millis(50);
const ASK_PATIENCE: Duration = Duration::from_secs(4);
/// How often what there is is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// How long open requests for metrics may take when the operator ends.
const GRACE: Duration = Duration::from_millis(500);

/// An operator can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It doesn't find the API server.
    #[error("there is no way to the API server: {0}")]
    Cluster(String),
    /// A port is in use.
    #[error("can't listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// Two metrics have one name.
    #[error("metrics can't be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How long to rest after so many failures in a row.
#[must_use]
pub fn back_off(failures: u32) -> Duration {
    let doubled = Duration::from_millis(250).saturating_mul(2u32.saturating_pow(failures.min(16)));
    doubled.min(Duration::from_secs(60))
}

/// Runs until `stop` is done.
///
/// # Errors
/// If it can't start.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let cluster = |error: &dyn std::fmt::Display| StartError::Cluster(error.to_string());
    let kube = kube::Config::infer().await.map_err(|e| cluster(&e))?;
    let client = Client::try_from(kube.clone()).map_err(|e| cluster(&e))?;
    let lease_client = Client::try_from(impatient(kube, &config)).map_err(|e| cluster(&e))?;
    let listener = TcpListener::bind(config.admin).await;
    let listener = listener.map_err(|e| StartError::Listen(config.admin, e))?;
    let metrics_listener = match config.metrics_api {
        Some(at) => Some(
            TcpListener::bind(at)
                .await
                .map_err(|e| StartError::Listen(at, e))?,
        ),
        None => None,
    };
    let metrics = Metrics::new()?;
    let lease = format!("{}-operator", config.name);
    let (candidate, leadership) = Candidate::new(
        lease_client,
        (&config.namespace, &lease),
        &config.identity,
        config.lease_duration(),
    );
    let hand = Hand::new(client.clone(), leadership.clone(), metrics.clone());
    let board = Arc::new(Board::default());
    let (world, serving, tasks) = build(config, &client, hand, metrics.clone(), &board);
    board.connect(Arc::clone(&world));
    let tasks = tokio::spawn(future::join_all(tasks));
    let admin = Door {
        listener,
        router: admin::router(Arc::clone(&world)),
        tls: None,
        max_connections: MAX_ADMIN_CONNECTIONS,
    };
    let (done, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let metrics_done = Arc::new(Notify::new());
    let metrics_api = metrics_listener.map(|listener| {
        let (world, done) = (Arc::clone(&world), Arc::clone(&metrics_done));
        tokio::spawn(async move {
            metrics_api::run(world, serving, listener, done.notified()).await;
        })
    });
    let admin = tokio::spawn({
        let done = Arc::clone(&done);
        async move { admin.serve(done.notified(), GRACE).await }
    });
    let election = tokio::spawn({
        let released = Arc::clone(&released);
        async move { candidate.run(released.notified()).await }
    });
    tokio::select! {
        () = stop => tracing::info!("the operator ends"),
        () = lead(&world, &board, leadership) => {}
    }
    // Whoever is next may write from here on.
    released.notify_one();
    let _ = election.await;
    tasks.abort();
    done.notify_one();
    metrics_done.notify_one();
    let _ = admin.await;
    if let Some(metrics_api) = metrics_api {
        let _ = metrics_api.await;
    }
    Ok(())
}

/// Requests for the Lease end soon, and are not sent again by anybody but the election.
fn impatient(mut kube: kube::Config, config: &Config) -> kube::Config {
    let patience = config.lease_duration() / 4;
    kube.connect_timeout = Some(patience);
    kube.read_timeout = Some(patience);
    kube.write_timeout = Some(patience);
    kube.default_retry = false;
    kube
}

type Task = BoxFuture<'static, ()>;

/// What is watched and polled, whether this replica leads or not.
fn build(
    config: Config,
    client: &Client,
    hand: Hand,
    metrics: Metrics,
    board: &Arc<Board>,
) -> (Arc<World>, ServingKeys, Vec<Task>) {
    let mut tasks: Vec<Task> = Vec::new();
    let all = watcher::Config::default().any_semantic();
    let ours = all
        .clone()
        .labels(&format!("{}={}", label::COMPONENT, label::MEDIA_POD));
    let made = all
        .clone()
        .labels(&format!("{}={MANAGER}", label::MANAGED_BY));
    macro_rules! watched {
        ($kind:ty, $config:expr, $slim:path, $news:ident) => {{
            let to = Arc::clone(board);
            let api = Api::all(client.clone());
            let (watched, task) =
                watch::<$kind>(api, $config.clone(), $slim, move |news| to.$news(news));
            tasks.push(task.boxed());
            watched
        }};
    }
    let rooms = watched!(LiveRoom, all, slim::room, room);
    let sites = watched!(MediaNode, all, slim::site, site);
    let pods = watched!(Pod, ours, slim::pod, pod);
    let services = watched!(Service, ours, slim::service, service);
    let autoscalers = watched!(HorizontalPodAutoscaler, made, slim::autoscaler, autoscaler);
    let machines = watched!(Node, all, slim::machine, machine);
    let namespaces = watched!(Namespace, all, slim::namespace, namespace);
    let to = Arc::clone(board);
    let (evictions, following) = evictions::follow(client.clone(), move |news| to.eviction(news));
    tasks.push(following.boxed());
    let server_name = metrics_api::server_name(&config.name, &config.namespace);
    let (keeper, keyring, serving, watches) = Keeper::new(
        hand.clone(),
        metrics.clone(),
        (&config.namespace, &config.name),
        config.metrics_api.is_some().then_some(server_name),
    );
    tasks.extend(watches);
    tasks.push(keeper.run().boxed());
    let (reports, writing) = reports(hand.clone(), metrics.clone(), &config.identity);
    tasks.push(writing.boxed());
    let control = Control::new(keyring.clone(), metrics.clone());
    let sights = Arc::new(Sights::default());
    let to = Arc::clone(board);
    let polling = poll(
        pods.clone(),
        control.clone(),
        Arc::clone(&sights),
        move |pod, changes| {
            to.heard(pod, changes);
        },
    );
    tasks.push(polling.boxed());
    let world = Arc::new(World {
        config,
        rooms,
        sites,
        pods,
        machines,
        services,
        autoscalers,
        namespaces,
        evictions,
        sights,
        control,
        keyring,
        fleet: Fleet::default(),
        hand,
        reports,
        metrics,
        untouched: AtomicUsize::new(0),
    });
    tasks.push(count(Arc::clone(&world)).boxed());
    (world, serving, tasks)
}

/// Leads whenever this replica may, for ever.
async fn lead(world: &Arc<World>, board: &Board, mut leadership: Leadership) {
    loop {
        leadership.gained().await;
        world.metrics.leads(true);
        tokio::select! {
            () = control(world, board) => {}
            () = leadership.lost() => {}
        }
        board.rooms.hang_up();
        board.sites.hang_up();
        board.keeper(None);
        world.metrics.leads(false);
        tracing::info!("this replica stands by");
    }
}

async fn control(world: &Arc<World>, board: &Board) {
    world.completed().await;
    let mut keyring = world.keyring.clone();
    if keyring.wait_for(Option::is_some).await.is_err() {
        return;
    }
    all_asked(world).await;
    let rooms = Arc::new(Rooms::new(Arc::clone(world)));
    let sites = Arc::new(Sites::new(Arc::clone(world)));
    let (room_bell, site_bell) = (board.rooms.listen(), board.sites.listen());
    board.keeper(Some(Arc::clone(&rooms)));
    tracing::info!(
        rooms = world.rooms.len(),
        sites = world.sites.len(),
        "the controllers begin"
    );
    let room_controller = controller(&world.rooms, room_bell, world.config.workers).run(
        timed_room,
        |room, _, rooms: Arc<Rooms>| Next::requeue(rooms.back_off(&room)),
        Arc::clone(&rooms),
    );
    let site_controller = controller(&world.sites, site_bell, SITES_AT_A_TIME).run(
        timed_site,
        |site, _, sites: Arc<Sites>| Next::requeue(sites.back_off(&site)),
        Arc::clone(&sites),
    );
    future::join4(
        room_controller.for_each(|_| future::ready(())),
        site_controller.for_each(|_| future::ready(())),
        place(world, board),
        sweep(world, &rooms),
    )
    .await;
}

/// Waits until each pod was asked how it is, so that nothing is said of rooms that nobody has looked for.
async fn all_asked(world: &World) {
    let is_asked = |pod: &Pod| {
        let sight = pod
            .uid()
            .and_then(|uid| world.sights.get(&PodId::of(pod), &uid));
        sight.is_some() || address(pod).is_none()
    };
    let asked = async {
        while !world.pods.all().iter().all(|pod| is_asked(pod)) {
            tokio::time::sleep(ASK_REST).await;
        }
    };
    if tokio::time::timeout(ASK_PATIENCE, asked).await.is_err() {
        tracing::warn!("some media pods were not asked yet how they are");
    }
}

/// A controller of what is watched already, that begins with all there is.
fn controller<K: Kind>(
    watched: &crate::cluster::watch::Watched<K>,
    mut bell: mpsc::UnboundedReceiver<ObjectRef<K>>,
    workers: u16,
) -> Controller<K> {
    let all: Vec<ObjectRef<K>> = watched
        .all()
        .iter()
        .map(|object| ObjectRef::from_obj(&**object))
        .collect();
    let rung = stream::poll_fn(move |context| bell.poll_recv(context));
    Controller::for_shared_stream(stream::pending(), watched.store())
        .with_config(ControllerConfig::default().concurrency(workers))
        .reconcile_on(stream::iter(all).chain(rung))
}

fn timed_room(
    room: Arc<LiveRoom>,
    rooms: Arc<Rooms>,
) -> BoxFuture<'static, Result<Next, WriteError>> {
    async move {
        let began = Instant::now();
        let done = rooms.reconcile(&room).await;
        rooms
            .metrics()
            .reconciled("liveroom", began.elapsed(), done.is_ok());
        complain("LiveRoom", &*room, &done);
        done
    }
    .boxed()
}

fn timed_site(
    site: Arc<MediaNode>,
    sites: Arc<Sites>,
) -> BoxFuture<'static, Result<Next, WriteError>> {
    async move {
        let began = Instant::now();
        let done = sites.reconcile(&site).await;
        sites
            .metrics()
            .reconciled("medianode", began.elapsed(), done.is_ok());
        complain("MediaNode", &*site, &done);
        done
    }
    .boxed()
}

fn complain<K: Kind>(kind: &str, object: &K, done: &Result<Next, WriteError>) {
    let meta = object.meta();
    let (namespace, name) = (
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    match done {
        Ok(_) | Err(WriteError::NotLeader) => {}
        // Somebody wrote it at the same time: it is looked at anew.
        Err(error) if error.is_conflict() => {
            tracing::debug!("{kind} {namespace}/{name} was not as it was")
        }
        Err(error) => tracing::warn!("{kind} {namespace}/{name} will be tried again: {error}"),
    }
}

/// Finds places for all rooms, again and again, and has those looked at for which something is to be done.
async fn place(world: &Arc<World>, board: &Board) {
    loop {
        let began = Instant::now();
        let passing = Arc::clone(world);
        let pass = tokio::task::spawn_blocking(move || passing.fleet.pass(&passing));
        let found = pass.await;
        let took = began.elapsed();
        world.metrics.reconciled("placement", took, found.is_ok());
        match found {
            Ok(rooms) => rooms
                .iter()
                .for_each(|name| board.rooms.ring(reference(name))),
            Err(error) => tracing::error!("a pass of placement broke off: {error}"),
        }
        tokio::time::sleep(PLACE_REST.max(took * PLACE_REST_TIMES)).await;
        // Either is a reason for the next pass.
        let _ = tokio::time::timeout(PLACE_EVERY, world.fleet.due()).await;
    }
}

/// Takes rooms off pods where they should not be.
async fn sweep(world: &World, rooms: &Rooms) {
    let mut ticks =
        tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    loop {
        ticks.tick().await;
        for pod in world.pods.all() {
            rooms.end_strays(&PodId::of(&pod)).await;
        }
    }
}

/// Counts for the metrics.
async fn count(world: Arc<World>) {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    loop {
        ticks.tick().await;
        let mut phases = [
            ("pending", Phase::Pending, 0),
            ("scheduled", Phase::Scheduled, 0),
            ("ready", Phase::Ready, 0),
            ("live", Phase::Live, 0),
            ("ended", Phase::Ended, 0),
        ];
        let (mut viewers, mut untouched) = (0, 0);
        for room in world.rooms.all() {
            let status = room.status.as_ref();
            viewers += status.map_or(0, |status| u64::from(status.viewers));
            let phase = status.and_then(|status| status.phase);
            untouched += usize::from(phase.is_none());
            let phase = phase.unwrap_or(Phase::Pending);
            for (_, of, count) in &mut phases {
                *count += usize::from(*of == phase);
            }
        }
        world
            .metrics
            .rooms(&phases.map(|(name, _, count)| (name, count)), viewers);
        world.untouched.store(untouched, Ordering::Relaxed);
        let pods = world.pods.all();
        let leaving = pods.iter().filter(|pod| is_leaving(pod)).count();
        let ready = pods
            .iter()
            .filter(|pod| is_ready(pod) && !is_leaving(pod))
            .count();
        let unready = pods.len() - leaving - ready;
        world
            .metrics
            .pods(&[("ready", ready), ("unready", unready), ("leaving", leaving)]);
        count_sites(&world);
        world
            .metrics
            .unreadable(world.rooms.unreadable(), world.sites.unreadable());
    }
}

fn count_sites(world: &World) {
    let mut held = Hold::ALL.map(|hold| (hold.name(), 0));
    let (mut desired, mut fullest) = (0, 0);
    for site in world.sites.all() {
        desired += u64::from(site.spec.replicas);
        let status = site.status.as_ref();
        let Some(scaling) = status.and_then(|status| status.autoscaling.as_ref()) else {
            continue;
        };
        fullest = fullest.max(scaling.load_percent.unwrap_or(0));
        for (name, count) in &mut held {
            *count += usize::from(scaling.hold.as_deref() == Some(*name));
        }
    }
    world.metrics.sites(desired, fullest, &held);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_up_to_a_minute() {
        let seconds: Vec<f32> = [1, 2, 3, 7, 8, 100]
            .map(|failures| back_off(failures).as_secs_f32())
            .into();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 32.0, 60.0, 60.0]);
    }
}
