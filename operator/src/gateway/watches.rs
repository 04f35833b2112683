//! Watches of the API server, which fill the view.
//!
//! What they said last stays while the server is away: only word that something is gone takes it out of the view, never
//! an error. One resource that can't be read stays as it was, and doesn't disturb the others.

use std::collections::HashSet;
use std::hash::Hash;
use std::marker::PhantomData;
use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use showrunner_crds::LiveRoom;
use showrunner_protocol::RoomName;

use super::address::PodName;
use super::live_view::LiveView;
use super::metrics::Metrics;
use super::observed;
use super::view::View;
use crate::cluster::names::label;
use crate::cluster::watch::Rests;

/// How long one watch lasts. A server that is gone without a word is noticed soon after.
const WATCH_SECONDS: u32 = 60;

/// Keeps the view up to date for ever.
pub async fn follow(client: Client, view: &LiveView, metrics: &Metrics) {
    let rooms = Api::<DeserializeGuard<LiveRoom>>::all(client.clone());
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut rooms = pin!(watcher(rooms, all.clone()).backoff(Rests::default()));
    let pods = Api::<DeserializeGuard<k8s_openapi::api::core::v1::Pod>>::all(client);
    let of_media = all.labels(&format!("{}={}", label::COMPONENT, label::MEDIA_POD));
    let mut pods = pin!(watcher(pods, of_media).backoff(Rests::default()));
    let mut of_rooms = Follower::<LiveRoom>::new();
    let mut of_pods = Follower::<k8s_openapi::api::core::v1::Pod>::new();
    loop {
        tokio::select! {
            Some(news) = rooms.next() => of_rooms.take(view, metrics, news),
            Some(news) = pods.next() => of_pods.take(view, metrics, news),
            // Watches go on for ever.
            else => return,
        }
        if of_rooms.is_listed && of_pods.is_listed {
            view.complete();
        }
    }
}

/// A kind of resource that the view has.
trait Known: Resource<DynamicType = ()> {
    /// Its name in the view.
    type Name: Eq + Hash + Clone;
    /// The kind in plural, for people.
    const KIND: &'static str;

    /// Reads the name.
    fn name(metadata: &ObjectMeta) -> Option<Self::Name>;
    /// Puts it into the view, as far as it is of use there.
    fn put(&self, name: Self::Name, view: &mut View);
    /// Takes it out.
    fn remove(name: &Self::Name, view: &mut View);
    /// Takes out all but these.
    fn retain(names: &HashSet<Self::Name>, view: &mut View);
}

impl Known for LiveRoom {
    type Name = RoomName;
    const KIND: &'static str = "liverooms";

    fn name(metadata: &ObjectMeta) -> Option<RoomName> {
        observed::room_name(metadata)
    }

    fn put(&self, name: RoomName, view: &mut View) {
        match observed::room(self) {
            Some(room) => view.put_room(name, room),
            None => view.remove_room(&name),
        }
    }

    fn remove(name: &RoomName, view: &mut View) {
        view.remove_room(name);
    }

    fn retain(names: &HashSet<RoomName>, view: &mut View) {
        view.retain_rooms(|name| names.contains(name));
    }
}

impl Known for k8s_openapi::api::core::v1::Pod {
    type Name = PodName;
    const KIND: &'static str = "pods";

    fn name(metadata: &ObjectMeta) -> Option<PodName> {
        observed::pod_name(metadata)
    }

    fn put(&self, name: PodName, view: &mut View) {
        match observed::pod(self) {
            Some(pod) => view.put_pod(name, pod),
            None => view.remove_pod(&name),
        }
    }

    fn remove(name: &PodName, view: &mut View) {
        view.remove_pod(name);
    }

    fn retain(names: &HashSet<PodName>, view: &mut View) {
        view.retain_pods(|name| names.contains(name));
    }
}

/// Follows the watch of one kind.
struct Follower<K: Known> {
    /// What a listing under way has named so far.
    named: HashSet<K::Name>,
    /// Whether there was a whole listing once.
    is_listed: bool,
    kind: PhantomData<K>,
}

impl<K: Known> Follower<K> {
    /// That has heard of nothing yet.
    fn new() -> Follower<K> {
        Follower {
            named: HashSet::new(),
            is_listed: false,
            kind: PhantomData,
        }
    }

    /// Takes what the watch says into the view.
    fn take(
        &mut self,
        view: &LiveView,
        metrics: &Metrics,
        news: watcher::Result<Event<DeserializeGuard<K>>>,
    ) {
        match news {
            Ok(Event::Init) => self.named.clear(),
            Ok(Event::InitApply(resource)) => {
                let name = put(view, &resource);
                self.named.extend(name);
            }
            Ok(Event::InitDone) => {
                let named = std::mem::take(&mut self.named);
                view.write(|view| K::retain(&named, view));
                self.is_listed = true;
            }
            Ok(Event::Apply(resource)) => {
                put(view, &resource);
            }
            Ok(Event::Delete(resource)) => {
                if let Some(name) = K::name(resource.meta()) {
                    view.write(|view| K::remove(&name, view));
                }
            }
            Err(error) => {
                metrics.watch_failed(K::KIND);
                tracing::warn!(
                    "the watch of {} failed, what it said before stays: {error}",
                    K::KIND
                );
            }
        }
    }
}

/// Puts a resource into the view and returns its name; one that can't be read stays there as it was.
fn put<K: Known>(view: &LiveView, resource: &DeserializeGuard<K>) -> Option<K::Name> {
    let name = K::name(resource.meta())?;
    match &resource.0 {
        Ok(resource) => view.write(|view| resource.put(name.clone(), view)),
        Err(error) => {
            let full = format!(
                "{}/{}",
                error.metadata.namespace.as_deref().unwrap_or_default(),
                resource.name_any()
            );
            tracing::warn!("one of {} can't be read, {full}: {error}", K::KIND);
        }
    }
    Some(name)
}
