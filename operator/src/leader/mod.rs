//! One replica writes, the others stand by: they watch all the same, so that they can go on within a moment.

pub mod lease;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;

use self::lease::{Memory, Record, Verdict};

/// How often a replica that stands by looks at the Lease.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A holder renews this many times within the duration.
const RENEWALS: u32 = 4;
/// A holder stops this long before its time is over: what it has just sent may still be on its way.
const MARGIN: Duration = Duration::from_secs(1);

/// Whether this replica may write, and until when.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// How long it may write from now on; none if it may not.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let until = (*self.0.borrow())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Waits until it may write.
    pub async fn gained(&mut self) {
        while self.time_left().is_none() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until it may not write.
    pub async fn lost(&mut self) {
        while let Some(left) = self.time_left() {
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = self.0.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    me: String,
    duration: Duration,
    memory: Memory,
    must_look: bool,
    until: watch::Sender<Option<Instant>>,
    started: Instant,
}

impl Candidate {
    /// With a client of its own, whose requests end by themselves within a fraction of the duration.
    #[must_use]
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        me: &str,
        duration: Duration,
    ) -> (Candidate, Leadership) {
        let (until, leadership) = watch::channel(None);
        let candidate = Candidate {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            duration,
            memory: Memory::default(),
            must_look: true,
            until,
            started: Instant::now(),
        };
        (candidate, Leadership(leadership))
    }

    /// Takes part until `stop` is done, then lets the Lease go, so that another can take it at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let rest = self.turn().await;
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(rest) => {}
            }
        }
        if self.until.send_replace(None).is_some() {
            let released = self.write(None).await;
            if let Err(error) = released {
                tracing::warn!("the Lease could not be let go: {error}");
            }
        }
    }

    /// One look, and what follows from it. Returns how long to rest.
    async fn turn(&mut self) -> Duration {
        let was_leader = self.is_leader();
        // A holder knows what the Lease says: nobody else writes it while its time lasts.
        let looked = if was_leader && !self.must_look {
            Ok(())
        } else {
            self.look().await
        };
        let verdict = self.memory.verdict(&self.me, self.started.elapsed());
        let done = match (looked, verdict) {
            (Err(error), _) => Err(error),
            (Ok(()), Verdict::Wait) => {
                self.until.send_replace(None);
                return LOOK_EVERY;
            }
            (Ok(()), Verdict::Create | Verdict::Take) => self.hold().await,
        };
        match done {
            Ok(()) if !was_leader => tracing::info!("this replica leads"),
            Ok(()) => {}
            Err(error) => {
                if !self.must_look {
                    tracing::warn!("the Lease can't be renewed or read: {error}");
                }
                // What it says now is anybody's guess.
                self.must_look = true;
                if was_leader && !self.is_leader() {
                    tracing::warn!("this replica does not lead any more");
                }
                return LOOK_EVERY;
            }
        }
        self.duration / RENEWALS
    }

    fn is_leader(&self) -> bool {
        self.until
            .borrow()
            .is_some_and(|until| until > Instant::now())
    }

    async fn look(&mut self) -> Result<(), Failed> {
        let lease = within(self.patience(), self.leases.get_opt(&self.name)).await?;
        self.see(lease);
        self.must_look = false;
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), Failed> {
        let asked = Instant::now();
        self.write(Some(&self.me.clone())).await?;
        let time = self.duration.saturating_sub(MARGIN);
        self.until.send_replace(Some(asked + time));
        Ok(())
    }

    async fn write(&mut self, holder: Option<&str>) -> Result<(), Failed> {
        let now = MicroTime(Timestamp::now());
        let version = self.memory.version().map(str::to_owned);
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams::default();
        let written = if version.is_some() {
            within(
                self.patience(),
                self.leases.replace(&self.name, &params, &lease),
            )
            .await?
        } else {
            within(self.patience(), self.leases.create(&params, &lease)).await?
        };
        self.see(Some(written));
        Ok(())
    }

    fn see(&mut self, lease: Option<Lease>) {
        let record = lease.map(|lease| {
            let spec = lease.spec.unwrap_or_default();
            let seconds = spec
                .lease_duration_seconds
                .and_then(|s| u64::try_from(s).ok());
            Record {
                holder: spec.holder_identity,
                version: lease.metadata.resource_version.unwrap_or_default(),
                duration: seconds.map_or(self.duration, Duration::from_secs),
            }
        });
        self.memory.see(record, self.started.elapsed());
    }

    /// Several requests fit between two renewals that are missed and the end.
    fn patience(&self) -> Duration {
        self.duration / RENEWALS
    }
}

/// A request for the Lease failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Api(#[from] Box<kube::Error>),
    #[error("no answer in time")]
    Silent,
}

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(patience, request).await {
        Ok(answer) => answer.map_err(|error| Failed::Api(Box::new(error))),
        Err(_) => Err(Failed::Silent),
    }
}
