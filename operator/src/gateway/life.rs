//! From the first request to the last: a gateway that is to end says so first, and lets go of what does not end by
//! itself.

use tokio::sync::watch;

/// How far a gateway is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    Leaving,
    Ending,
}

/// The life of one gateway.
#[derive(Debug, Default)]
pub(super) struct Life(watch::Sender<Stage>);

/// Tells when event streams are to end.
#[derive(Clone, Debug)]
pub(super) struct Ending(watch::Receiver<Stage>);

impl Life {
    pub(super) fn leave(&self) {
        self.0.send_replace(Stage::Leaving);
    }

    pub(super) fn end(&self) {
        self.0.send_replace(Stage::Ending);
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.0.borrow() == Stage::Serving
    }

    pub(super) fn ending(&self) -> Ending {
        Ending(self.0.subscribe())
    }
}

impl Ending {
    /// Waits for the end.
    pub(super) async fn wait(&mut self) {
        // An error means that the gateway is gone, which is an end too.
        let _ = self.0.wait_for(|stage| *stage == Stage::Ending).await;
    }
}
