//! Who may come into a room, and as what.

use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{Action, Grant, Role, TokenError, Verifier};

use super::address::Protocol;

/// The rules of one room.
#[derive(Clone, Debug)]
pub struct Access {
    /// Which room of its name.
    pub uid: RoomUid,
    /// Who may send media.
    pub publish: Admission,
    /// Who may watch.
    pub watch: Admission,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Whoever comes.
    Anyone,
    /// Who has a token.
    Token,
}

/// Somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// They showed no token (401).
    #[error("this needs a bearer token: send it in the Authorization header")]
    NoToken,
    /// The one they showed does not do (401, or 403 if it is good for something else).
    #[error("{0}")]
    Token(TokenError),
}

impl Access {
    /// Lets somebody in, or says why not. `now` is in seconds since 1970.
    ///
    /// A token that is shown is checked also where none is needed: it says whether a host or a viewer comes, and one
    /// that is no good is a mistake that its owner wants to know of.
    ///
    /// # Errors
    /// If they may not come in.
    pub fn check(
        &self,
        verifier: &Verifier,
        room: &RoomName,
        protocol: Protocol,
        token: Option<&str>,
        now: u64,
    ) -> Result<Grant, Denied> {
        let (action, admission, role) = match protocol {
            Protocol::Whip => (Action::Publish, self.publish, Role::Host),
            Protocol::Whep => (Action::Watch, self.watch, Role::Viewer),
        };
        let role = match (token, admission) {
            (None, Admission::Anyone) => role,
            (None, Admission::Token) => return Err(Denied::NoToken),
            (Some(token), _) => {
                let claims = verifier.verify(token, now, (room, &self.uid), action);
                claims.map_err(Denied::Token)?.role
            }
        };
        Ok(Grant {
            room: room.clone(),
            uid: self.uid.clone(),
            role,
        })
    }
}

#[cfg(test)]
mod tests {
    use showrunner_protocol::token::{
        RoomGrant, SecretKey, Signer, TrustedIssuer, UidRule, Validity,
    };

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn room() -> RoomName {
        RoomName::new("shop", "sale").unwrap()
    }

    fn uid() -> RoomUid {
        RoomUid::new("1-2-3").unwrap()
    }

    fn key() -> SecretKey {
        SecretKey::hmac(&[7; 32]).unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(vec![TrustedIssuer {
            issuer: "showrunner".to_owned(),
            audience: "rooms".to_owned(),
            keys: vec![key().verifying_key()],
            uid: UidRule::Required,
        }])
    }

    fn access(publish: Admission, watch: Admission) -> Access {
        Access {
            uid: uid(),
            publish,
            watch,
        }
    }

    fn token(role: Role) -> String {
        let grant = RoomGrant {
            subject: "somebody".to_owned(),
            room: room(),
            uid: uid(),
            role,
        };
        let valid = Validity {
            now: NOW,
            from: NOW,
            seconds: 60,
        };
        let signer = Signer::new("showrunner", "rooms", key());
        signer.sign(&grant, valid).unwrap()
    }

    fn role(access: &Access, protocol: Protocol, token: Option<&str>) -> Result<Role, Denied> {
        access
            .check(&verifier(), &room(), protocol, token, NOW)
            .map(|grant| grant.role)
    }

    #[test]
    fn an_open_room_takes_whoever_comes() {
        let access = access(Admission::Anyone, Admission::Anyone);
        assert_eq!(role(&access, Protocol::Whip, None), Ok(Role::Host));
        assert_eq!(role(&access, Protocol::Whep, None), Ok(Role::Viewer));
        let grant = access
            .check(&verifier(), &room(), Protocol::Whep, None, NOW)
            .unwrap();
        assert_eq!((grant.room, grant.uid), (room(), uid()));
    }

    #[test]
    fn a_closed_room_wants_a_token_for_what_is_asked() {
        let access = access(Admission::Token, Admission::Token);
        let not_allowed = Err(Denied::Token(TokenError::NotAllowed));
        for (protocol, shown, expected) in [
            (Protocol::Whip, None, Err(Denied::NoToken)),
            (Protocol::Whep, None, Err(Denied::NoToken)),
            (Protocol::Whip, Some(Role::Host), Ok(Role::Host)),
            (Protocol::Whip, Some(Role::CoHost), Ok(Role::CoHost)),
            (Protocol::Whip, Some(Role::Transcoder), Ok(Role::Transcoder)),
            (Protocol::Whep, Some(Role::Transcoder), Ok(Role::Transcoder)),
            (Protocol::Whip, Some(Role::Viewer), not_allowed),
            (Protocol::Whep, Some(Role::Viewer), Ok(Role::Viewer)),
            (Protocol::Whep, Some(Role::Host), Ok(Role::Host)),
        ] {
            let shown = shown.map(token);
            assert_eq!(
                role(&access, protocol, shown.as_deref()),
                expected,
                "{shown:?}"
            );
        }
    }

    #[test]
    fn a_token_that_is_no_good_is_refused_where_none_is_needed() {
        let access = access(Admission::Token, Admission::Anyone);
        let refused = Err(Denied::Token(TokenError::Malformed));
        assert_eq!(role(&access, Protocol::Whep, Some("x")), refused);
        let late = access.check(
            &verifier(),
            &room(),
            Protocol::Whep,
            Some(&token(Role::Viewer)),
            NOW + 3600,
        );
        assert_eq!(late, Err(Denied::Token(TokenError::Expired)));
    }
}
