//! The Secret with the token of a room's host. The operator may write Secrets of rooms but not read them: it writes each
//! anew from time to time, so that the token never ends before the room does and a Secret that somebody deleted comes
//! back.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use showrunner_crds::LiveRoom;
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{AUDIENCE, ISSUER, Role, RoomGrant, SecretKey, Signer, Validity};

use crate::cluster::names::{MANAGER, label};

/// A Secret is not written more often than this.
const LEAST: Duration = Duration::from_secs(60);
/// Secrets written each second, if there are many rooms.
const PER_SECOND: u32 = 3;

/// How long a Secret stays as it is, if there are so many rooms.
#[must_use]
pub fn interval(rooms: usize) -> Duration {
    let rooms = u32::try_from(rooms).unwrap_or(u32::MAX);
    (Duration::from_secs(1) * rooms / PER_SECOND).max(LEAST)
}

/// When the Secret of a room is written for the first time by an operator that finds it written already: some time
/// within the interval, so that ten thousand aren't written at once.
#[must_use]
pub fn first_turn(uid: &RoomUid, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    interval * part / 1000
}

/// How long a token is good, in seconds: the wanted time, but not less than it takes until the Secret is written again
/// and somebody reads it.
#[must_use]
pub fn life(wanted: u32, interval: Duration) -> u32 {
    let least = interval.as_secs().saturating_mul(3);
    wanted.max(u32::try_from(least).unwrap_or(u32::MAX))
}

/// The name of the Secret.
#[must_use]
pub fn secret_name(room: &str) -> String {
    format!("{room}-host-token")
}

/// The Secret, with a new token; none if the system has no randomness.
#[must_use]
pub fn secret(
    room: &LiveRoom,
    (name, uid): (&RoomName, &RoomUid),
    key: &SecretKey,
    (now, seconds): (u64, u32),
    publish_url: &str,
) -> Option<Secret> {
    let grant = RoomGrant {
        subject: "host".to_owned(),
        room: name.clone(),
        uid: uid.clone(),
        role: Role::Host,
    };
    let valid = Validity {
        now,
        from: now,
        seconds,
    };
    let token = Signer::new(ISSUER, AUDIENCE, key.clone()).sign(&grant, valid)?;
    let labels = [
        (label::NAME, label::SHOWRUNNER),
        (label::MANAGED_BY, MANAGER),
    ];
    let data = [("token", token), ("publish-url", publish_url.to_owned())];
    Some(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&room.name_any())),
            namespace: room.namespace(),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            owner_references: room.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(
            data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
                .into(),
        ),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_rooms_there_are_few_secrets_are_written() {
        for (rooms, seconds) in [(0, 60), (10, 60), (180, 60), (10_000, 3333)] {
            assert_eq!(interval(rooms).as_secs(), seconds);
        }
        let interval = interval(10_000);
        let early = (0..10_000)
            .map(|room| first_turn(&RoomUid::new(&room.to_string()).unwrap(), interval))
            .filter(|turn| *turn < interval / 10)
            .count();
        assert!(
            (500..1500).contains(&early),
            "{early} in a tenth of the time"
        );
    }

    #[test]
    fn tokens_outlive_the_time_until_the_next() {
        assert_eq!(life(3600, Duration::from_secs(60)), 3600);
        assert_eq!(life(3600, Duration::from_secs(3333)), 9999);
    }
}
