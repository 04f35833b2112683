//! The view as it is shared: watches write it, requests read it or wait for news.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use super::view::View;

/// A view that changes.
#[derive(Debug, Default)]
pub struct LiveView {
    view: RwLock<View>,
    /// Counts changes.
    version: watch::Sender<u64>,
    is_complete: watch::Sender<bool>,
}

impl LiveView {
    /// Looks something up.
    pub fn read<R>(&self, look: impl FnOnce(&View) -> R) -> R {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view and wakes those who wait for it.
    pub fn write(&self, change: impl FnOnce(&mut View)) {
        self.note(change);
        self.version
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Changes the view in what nobody waits for.
    pub fn note(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells of changes from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// From now on the view has all that there is, and requests may come.
    pub fn complete(&self) {
        self.is_complete.send_replace(true);
    }

    /// Whether it was ever complete. It stays so while the API server is away: an old view is better than none.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.is_complete.borrow()
    }
}
