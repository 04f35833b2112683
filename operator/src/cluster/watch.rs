//! Watches: the objects of one kind as they last were, and news of them.
//!
//! An object that can't be read is left out and said so in the log; it stops nothing else. While the API server is
//! away all stays as it was.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_api};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// How long one request of a watch lasts, in seconds: a connection that broke without a word is noticed by then.
const WATCH_SECONDS: u32 = 60;
const SHORTEST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A kind that can be watched here.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Kind
    for K
{
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum News<'a, K> {
    /// It is new, or not as it was.
    Changed(&'a K),
    /// It is gone.
    Gone(&'a K),
    /// The watch began, or began anew: anything may have changed.
    All,
}

/// The objects of a kind.
#[derive(Debug)]
pub struct Watched<K: Kind> {
    store: Store<K>,
    unreadable: Arc<Mutex<BTreeSet<Key>>>,
    is_complete: watch::Receiver<bool>,
}

type Key = (String, String);

impl<K: Kind> Clone for Watched<K> {
    fn clone(&self) -> Watched<K> {
        Watched {
            store: self.store.clone(),
            unreadable: Arc::clone(&self.unreadable),
            is_complete: self.is_complete.clone(),
        }
    }
}

impl<K: Kind> Watched<K> {
    /// One of them; without namespace for kinds that have none.
    #[must_use]
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        let reference = ObjectRef::new(name);
        self.store.get(&match namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Whether there is one of this name that can't be read.
    #[must_use]
    pub fn is_unreadable(&self, namespace: &str, name: &str) -> bool {
        let unreadable = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unreadable.contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// How many can't be read.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether all were read at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.is_complete.borrow()
    }

    /// Waits until all were read once.
    pub async fn completed(&self) {
        let mut is_complete = self.is_complete.clone();
        if is_complete.wait_for(|is| *is).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// For a controller.
    #[must_use]
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }
}

/// Begins to watch. What is returned second must run; it tells the news after the store has it. `slim` takes off what
/// nobody here needs: ten thousand objects are kept in memory.
pub fn watch<K: Kind>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    slim: fn(&mut K),
    tell: impl Fn(News<'_, K>) + Send + 'static,
) -> (Watched<K>, impl Future<Output = ()> + Send) {
    let writer = Writer::new(());
    let (is_complete, complete) = watch::channel(false);
    let watched = Watched {
        store: writer.as_reader(),
        unreadable: Arc::default(),
        is_complete: complete,
    };
    let keeper = Keeper {
        writer,
        watched: watched.clone(),
        found: BTreeSet::new(),
        slim,
        is_complete,
    };
    (watched, keeper.run(api, config, tell))
}

/// Rests between attempts while the API server is away. It is to be noticed within a second when it is back: what
/// happened meanwhile is not seen before.
#[derive(Debug, Default)]
pub struct Rests(u32);

impl Iterator for Rests {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let rest = SHORTEST_REST.saturating_mul(2u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        Some(rest.min(LONGEST_REST))
    }
}

impl Backoff for Rests {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

struct Keeper<K: Kind> {
    writer: Writer<K>,
    watched: Watched<K>,
    /// The unreadable among those that a new watch begins with.
    found: BTreeSet<Key>,
    slim: fn(&mut K),
    is_complete: watch::Sender<bool>,
}

impl<K: Kind> Keeper<K> {
    async fn run(
        mut self,
        api: Api<DeserializeGuard<K>>,
        config: watcher::Config,
        tell: impl Fn(News<'_, K>) + Send + 'static,
    ) {
        let config = config.timeout(WATCH_SECONDS);
        let events = watch_api(api, config).backoff(Rests::default());
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &tell),
                Err(error) => {
                    tracing::warn!("{} can't be watched now: {error}", K::kind(&()));
                }
            }
        }
    }

    fn take(&mut self, event: Event<DeserializeGuard<K>>, tell: &impl Fn(News<'_, K>)) {
        match event {
            Event::Init => {
                self.found.clear();
                self.writer.apply_watcher_event(&Event::Init);
            }
            Event::InitApply(object) => {
                let key = key(&object);
                match object.0 {
                    Ok(object) => {
                        let object = self.slimmed(object);
                        self.writer.apply_watcher_event(&Event::InitApply(object));
                    }
                    Err(error) => {
                        complain::<K>(&key, &error.error);
                        // What could be read of it before stays true.
                        if let Some(known) = self.known(&key) {
                            self.writer.apply_watcher_event(&Event::InitApply(known));
                        }
                        self.found.insert(key);
                    }
                }
            }
            Event::InitDone => {
                *self.unreadable() = std::mem::take(&mut self.found);
                self.writer.apply_watcher_event(&Event::InitDone);
                self.is_complete.send_replace(true);
                tell(News::All);
            }
            Event::Apply(object) => {
                let key = key(&object);
                match object.0 {
                    Ok(object) => {
                        self.unreadable().remove(&key);
                        let event = Event::Apply(self.slimmed(object));
                        self.writer.apply_watcher_event(&event);
                        if let Event::Apply(object) = &event {
                            tell(News::Changed(object));
                        }
                    }
                    Err(error) => {
                        complain::<K>(&key, &error.error);
                        self.unreadable().insert(key);
                    }
                }
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.unreadable().remove(&key);
                if let Some(object) = object.0.ok().or_else(|| self.known(&key)) {
                    let event = Event::Delete(object);
                    self.writer.apply_watcher_event(&event);
                    if let Event::Delete(object) = &event {
                        tell(News::Gone(object));
                    }
                }
            }
        }
    }

    fn slimmed(&self, mut object: K) -> K {
        object.meta_mut().managed_fields = None;
        (self.slim)(&mut object);
        object
    }

    fn known(&self, (namespace, name): &Key) -> Option<K> {
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        self.watched
            .get(namespace, name)
            .map(|known| (*known).clone())
    }

    fn unreadable(&self) -> std::sync::MutexGuard<'_, BTreeSet<Key>> {
        self.watched
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    let namespace = meta.namespace.clone().unwrap_or_default();
    (namespace, meta.name.clone().unwrap_or_default())
}

fn complain<K: Kind>((namespace, name): &Key, error: &str) {
    tracing::warn!(
        "{} {namespace}/{name} can't be read and is left as it is: {error}",
        K::kind(&())
    );
}

/// The reference of an object, as controllers name it.
#[must_use]
pub fn reference<K: Kind>(object: &K) -> reflector::ObjectRef<K> {
    ObjectRef::from_obj(object)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use showrunner_crds::LiveRoom;

    use super::*;

    fn object(name: &str, spec: Value) -> DeserializeGuard<LiveRoom> {
        let object = json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"name": name, "namespace": "shop", "managedFields": [{"manager": "x"}]},
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    fn good(name: &str) -> DeserializeGuard<LiveRoom> {
        object(name, json!({"title": "good"}))
    }

    fn bad(name: &str) -> DeserializeGuard<LiveRoom> {
        object(name, json!({"title": ["not", "a", "title"]}))
    }

    fn keeper() -> Keeper<LiveRoom> {
        let writer = Writer::new(());
        let (is_complete, complete) = watch::channel(false);
        let watched = Watched {
            store: writer.as_reader(),
            unreadable: Arc::default(),
            is_complete: complete,
        };
        Keeper {
            writer,
            watched,
            found: BTreeSet::new(),
            slim: |_| {},
            is_complete,
        }
    }

    /// What is known of each, after events.
    fn known(keeper: &Keeper<LiveRoom>, name: &str) -> (bool, bool) {
        let watched = &keeper.watched;
        let is_there = watched.get(Some("shop"), name).is_some();
        (is_there, watched.is_unreadable("shop", name))
    }

    #[test]
    fn one_that_cannot_be_read_stops_nothing_and_stays_as_it_was() {
        let mut keeper = keeper();
        let told = Mutex::new(0);
        let tell = |_: News<'_, LiveRoom>| *told.lock().unwrap() += 1;
        for event in [
            Event::Init,
            Event::InitApply(good("a")),
            Event::InitApply(bad("b")),
            Event::InitApply(good("c")),
            Event::InitDone,
        ] {
            keeper.take(event, &tell);
        }
        assert!(keeper.watched.is_complete());
        assert_eq!(known(&keeper, "a"), (true, false));
        assert_eq!(known(&keeper, "b"), (false, true));
        assert_eq!(known(&keeper, "c"), (true, false));
        keeper.take(Event::Apply(bad("a")), &tell);
        assert_eq!(known(&keeper, "a"), (true, true), "as it was");
        keeper.take(Event::Apply(good("b")), &tell);
        assert_eq!(known(&keeper, "b"), (true, false), "mended");
        for event in [Event::Init, Event::InitApply(bad("a")), Event::InitDone] {
            keeper.take(event, &tell);
        }
        assert_eq!(
            known(&keeper, "a"),
            (true, true),
            "as it was, after a new start"
        );
        assert_eq!(known(&keeper, "b"), (false, false), "gone in the meantime");
        keeper.take(Event::Delete(bad("a")), &tell);
        assert_eq!(known(&keeper, "a"), (false, false));
        assert_eq!(*told.lock().unwrap(), 4);
    }

    #[test]
    fn what_nobody_needs_is_not_kept() {
        let mut keeper = keeper();
        for event in [Event::Init, Event::InitDone, Event::Apply(good("a"))] {
            keeper.take(event, &|_| {});
        }
        let kept = keeper.watched.get(Some("shop"), "a").unwrap();
        assert_eq!(kept.metadata.managed_fields, None);
    }

    #[test]
    fn rests_grow_to_a_second() {
        let rests: Vec<f32> = Rests::default()
            .take(3)
            .map(|rest| rest.as_secs_f32())
            .collect();
        assert_eq!(rests, [0.5, 1.0, 1.0]);
    }
}
