//! Who is let in by a token, and above all who isn't.

use std::str;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use showrunner_protocol::room::{RoomName, RoomUid};
use showrunner_protocol::token::{
    Action, CREDENTIAL_SECONDS, Caller, ControlKeys, Grant, LEEWAY, MAX_TOKEN, RelayGrant, Role,
    RoomClaims, RoomGrant, SecretKey, Signer, TokenError, TrustedIssuer, UidRule, Validity,
    Verifier, read_jwks,
};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of the chart, 32 bytes+";
const CUSTOMER: &str = "https://id.example";

fn room() -> RoomName {
    RoomName::new("shop", "sale").unwrap()
}

fn uid() -> RoomUid {
    RoomUid::new("u-1").unwrap()
}

fn key() -> SecretKey {
    SecretKey::hmac(SECRET).unwrap()
}

fn trusted(keys: &[&SecretKey]) -> TrustedIssuer {
    TrustedIssuer {
        issuer: "showrunner".into(),
        audience: "rooms".into(),
        keys: keys.iter().map(|key| key.verifying_key()).collect(),
        uid: UidRule::Required,
    }
}

fn verifier() -> Verifier {
    Verifier::new(vec![trusted(&[&key()])])
}

fn grant(role: Role) -> RoomGrant {
    RoomGrant {
        subject: "alice".into(),
        room: room(),
        uid: uid(),
        role,
    }
}

fn hour() -> Validity {
    Validity {
        now: NOW,
        from: NOW,
        seconds: 3600,
    }
}

fn token(key: SecretKey, role: Role) -> String {
    Signer::new("showrunner", "rooms", key)
        .sign(&grant(role), hour())
        .unwrap()
}

fn publish(verifier: &Verifier, token: &str) -> Result<RoomClaims, TokenError> {
    verifier.verify(token, NOW, (&room(), &uid()), Action::Publish)
}

/// A token of any header and claims, with whatever makes its signature.
fn forge(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn claims() -> Value {
    json!({
        "iss": "showrunner", "aud": "rooms", "sub": "alice", "room": "shop/sale", "roomUid": "u-1", "role": "host",
        "iat": NOW, "nbf": NOW, "exp": NOW + 60,
    })
}

/// Our good claims with some changed; null takes one away.
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[test]
fn roles_may_do_what_they_are_for() {
    let verifier = verifier();
    for (role, may_publish) in [
        (Role::Host, true),
        (Role::CoHost, true),
        (Role::Transcoder, true),
        (Role::Viewer, false),
    ] {
        let token = token(key(), role);
        let watching = verifier
            .verify(&token, NOW, (&room(), &uid()), Action::Watch)
            .unwrap();
        assert_eq!((watching.sub.as_str(), watching.role), ("alice", role));
        assert_eq!(watching.expires(), NOW + 3600);
        let publishing = publish(&verifier, &token).map(|claims| claims.role);
        let expected = if may_publish {
            Ok(role)
        } else {
            Err(TokenError::NotAllowed)
        };
        assert_eq!(publishing, expected);
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let long = format!("{}.e30.e30", "a".repeat(MAX_TOKEN));
    for (text, why) in [
        ("", TokenError::Malformed),
        ("alice", TokenError::Malformed),
        ("..", TokenError::Malformed),
        ("e30.e30.e30", TokenError::Malformed),
        ("a.b.c.d.e", TokenError::Malformed),
        (long.as_str(), TokenError::TooLong),
    ] {
        assert_eq!(publish(&verifier(), text).unwrap_err(), why, "{text}");
    }
}

#[test]
fn tokens_are_good_in_their_time_only() {
    let verifier = verifier();
    let later = Validity {
        from: NOW + 1000,
        ..hour()
    };
    let token = Signer::new("showrunner", "rooms", key())
        .sign(&grant(Role::Host), later)
        .unwrap();
    for (now, expected) in [
        (NOW, Err(TokenError::NotYetValid)),
        (NOW + 1000 - LEEWAY, Ok(())),
        (NOW + 4600 + LEEWAY - 1, Ok(())),
        (NOW + 4600 + LEEWAY, Err(TokenError::Expired)),
    ] {
        let answer = verifier.verify(&token, now, (&room(), &uid()), Action::Publish);
        assert_eq!(answer.map(|_| ()), expected, "{now}");
    }
}

#[test]
fn a_token_opens_no_other_room() {
    let verifier = verifier();
    let token = token(key(), Role::Host);
    for other in [("shop", "sale-2"), ("other", "sale"), ("shop", "sal")] {
        let other = RoomName::new(other.0, other.1).unwrap();
        let answer = verifier.verify(&token, NOW, (&other, &uid()), Action::Watch);
        assert_eq!(answer.unwrap_err(), TokenError::OtherRoom);
    }
}

#[test]
fn a_token_does_not_outlive_its_room() {
    let token = token(key(), Role::Host);
    let next = RoomUid::new("u-2").unwrap();
    let answer = verifier().verify(&token, NOW, (&room(), &next), Action::Publish);
    assert_eq!(answer.unwrap_err(), TokenError::RoomEnded);
}

#[test]
fn claims_are_needed_and_must_fit() {
    let header = json!({"alg": "HS256"});
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": ["other", "rooms"]}), Ok(())),
        (
            json!({"exp": NOW as f64 + 60.5, "extra": {"a": [1]}}),
            Ok(()),
        ),
        (json!({"iss": "somebody"}), Err(TokenError::OtherIssuer)),
        (json!({"aud": "other"}), Err(TokenError::OtherAudience)),
        (json!({"aud": []}), Err(TokenError::OtherAudience)),
        (json!({"exp": null}), Err(TokenError::Malformed)),
        (json!({"iss": null}), Err(TokenError::Malformed)),
        (json!({"aud": null}), Err(TokenError::Malformed)),
        (json!({"sub": null}), Err(TokenError::Malformed)),
        (json!({"room": null}), Err(TokenError::Malformed)),
        (json!({"room": "Shop/sale"}), Err(TokenError::Malformed)),
        (json!({"roomUid": null}), Err(TokenError::Malformed)),
        (json!({"role": "admin"}), Err(TokenError::Malformed)),
        (json!({"exp": "2030"}), Err(TokenError::Malformed)),
        (json!({"exp": -1}), Err(TokenError::Malformed)),
    ] {
        let token = forge(&header, &with(changes.clone()), hs256(SECRET));
        assert_eq!(
            publish(&verifier(), &token).map(|_| ()),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn headers_choose_nothing() {
    let good = hs256(SECRET);
    for (header, why) in [
        (json!({"alg": "none"}), TokenError::Malformed),
        (json!({"alg": "None"}), TokenError::Malformed),
        (json!({"alg": ""}), TokenError::Malformed),
        (json!({}), TokenError::Malformed),
        (json!({"alg": "HS384"}), TokenError::UnknownKey),
        (json!({"alg": "RS256"}), TokenError::UnknownKey),
        (json!({"alg": "EdDSA"}), TokenError::UnknownKey),
        (
            json!({"alg": "HS256", "kid": "other"}),
            TokenError::UnknownKey,
        ),
        (
            json!({"alg": "HS256", "crit": ["exp"]}),
            TokenError::Malformed,
        ),
        (json!({"alg": "HS256", "crit": []}), TokenError::Malformed),
    ] {
        let token = forge(&header, &claims(), &good);
        assert_eq!(publish(&verifier(), &token).unwrap_err(), why, "{header}");
        let unsigned = forge(&header, &claims(), |_| Vec::new());
        assert_eq!(
            publish(&verifier(), &unsigned).unwrap_err(),
            why,
            "{header}"
        );
    }
}

#[test]
fn a_key_in_the_header_is_not_believed() {
    let mine = b"a secret that the attacker has made";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(mine)});
    let header = json!({"alg": "HS256", "jwk": jwk, "jku": "https://attacker.example"});
    let token = forge(&header, &claims(), hs256(mine));
    assert_eq!(
        publish(&verifier(), &token).unwrap_err(),
        TokenError::BadSignature
    );
}

/// The keys of a customer, and how they sign.
struct Customer {
    jwks: String,
    verifier: Verifier,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Customer {
    fn new() -> Customer {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = rsa.public_key();
        let point = ec.public_key().as_ref();
        let jwks = json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": encode(public.modulus().big_endian_without_leading_zero()),
             "e": encode(public.exponent().big_endian_without_leading_zero())},
            {"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "d", "x": encode(ed.public_key().as_ref())},
        ]})
        .to_string();
        let verifier = Verifier::new(vec![
            trusted(&[&key()]),
            TrustedIssuer {
                issuer: CUSTOMER.into(),
                audience: "live".into(),
                keys: read_jwks(&jwks).unwrap(),
                uid: UidRule::Optional,
            },
        ]);
        Customer {
            jwks,
            verifier,
            rsa,
            ec,
            ed,
        }
    }

    fn claims() -> Value {
        with(json!({"iss": CUSTOMER, "aud": "live", "roomUid": null}))
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            "ES256" => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            _ => self.ed.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, alg: &str, header: &Value, claims: &Value) -> String {
        forge(header, claims, |message| self.sign(alg, message))
    }
}

#[test]
fn a_customers_own_keys_are_believed_for_its_own_tokens() {
    let customer = Customer::new();
    for alg in ["RS256", "ES256", "EdDSA"] {
        let token = customer.token(alg, &json!({"alg": alg}), &Customer::claims());
        let known = publish(&customer.verifier, &token).unwrap();
        assert_eq!(known.issuer(), CUSTOMER, "{alg}");

        let ours = customer.token(alg, &json!({"alg": alg}), &claims());
        assert_eq!(
            publish(&customer.verifier, &ours).unwrap_err(),
            TokenError::OtherIssuer,
            "{alg}"
        );

        let old = with(json!({"iss": CUSTOMER, "aud": "live", "roomUid": "u-0"}));
        let old = customer.token(alg, &json!({"alg": alg}), &old);
        assert_eq!(
            publish(&customer.verifier, &old).unwrap_err(),
            TokenError::RoomEnded,
            "{alg}"
        );

        let misnamed = customer.token(alg, &json!({"alg": alg, "kid": "x"}), &Customer::claims());
        assert_eq!(
            publish(&customer.verifier, &misnamed).unwrap_err(),
            TokenError::UnknownKey,
            "{alg}"
        );
    }
    for (alg, kid, signed) in [
        ("RS256", "r", "EdDSA"),
        ("ES256", "e", "RS256"),
        ("EdDSA", "d", "ES256"),
    ] {
        let token = customer.token(
            signed,
            &json!({"alg": alg, "kid": kid}),
            &Customer::claims(),
        );
        assert_eq!(
            publish(&customer.verifier, &token).unwrap_err(),
            TokenError::BadSignature,
            "{alg}"
        );
        let crossed = customer.token(
            signed,
            &json!({"alg": signed, "kid": kid}),
            &Customer::claims(),
        );
        assert_eq!(
            publish(&customer.verifier, &crossed).unwrap_err(),
            TokenError::UnknownKey,
            "{alg}"
        );
    }
}

/// A public key is no secret: whoever signs with HS256 and its bytes must not get in.
#[test]
fn public_keys_are_not_taken_for_secrets() {
    let customer = Customer::new();
    let public: [Vec<u8>; 4] = [
        customer.jwks.clone().into_bytes(),
        customer.rsa.public_key().as_ref().to_vec(),
        AsDer::as_der(customer.rsa.public_key())
            .unwrap()
            .as_ref()
            .to_vec(),
        customer.ed.public_key().as_ref().to_vec(),
    ];
    for secret in public {
        for (kid, expected) in [
            ("r", TokenError::UnknownKey),
            ("d", TokenError::UnknownKey),
            ("", TokenError::BadSignature),
        ] {
            let header = match kid {
                "" => json!({"alg": "HS256"}),
                kid => json!({"alg": "HS256", "kid": kid}),
            };
            for claims in [claims(), Customer::claims()] {
                let token = forge(&header, &claims, hs256(&secret));
                assert_eq!(
                    publish(&customer.verifier, &token).unwrap_err(),
                    expected,
                    "{kid}"
                );
            }
        }
    }
}

#[test]
fn keys_rotate_with_overlap() {
    let (old, new) = (key(), SecretKey::hmac(&[9; 32]).unwrap());
    let (made_before, made_after) = (
        token(old.clone(), Role::Host),
        token(new.clone(), Role::Host),
    );
    for (keys, before, after) in [
        (vec![&old], Ok(()), Err(TokenError::UnknownKey)),
        (vec![&old, &new], Ok(()), Ok(())),
        (vec![&new, &old], Ok(()), Ok(())),
        (vec![&new], Err(TokenError::UnknownKey), Ok(())),
    ] {
        let verifier = Verifier::new(vec![trusted(&keys)]);
        assert_eq!(publish(&verifier, &made_before).map(|_| ()), before);
        assert_eq!(publish(&verifier, &made_after).map(|_| ()), after);
    }
}

#[test]
fn ed25519_signs_too() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let key = SecretKey::ed25519(pkcs8.as_ref()).unwrap();
    let verifier = Verifier::new(vec![trusted(&[&key])]);
    assert!(publish(&verifier, &token(key, Role::CoHost)).is_ok());
}

#[test]
fn a_grant_that_makes_no_token_makes_none() {
    let huge = RoomGrant {
        subject: "a".repeat(MAX_TOKEN),
        ..grant(Role::Viewer)
    };
    assert_eq!(
        Signer::new("showrunner", "rooms", key()).sign(&huge, hour()),
        None
    );
}

fn control() -> ControlKeys {
    ControlKeys::parse("the secret that the chart has made\n").unwrap()
}

#[test]
fn credentials_say_who_calls_and_whom_they_bring() {
    let keys = control();
    let claims = keys
        .verify(&keys.sign(Caller::Operator, NOW).unwrap(), NOW)
        .unwrap();
    assert_eq!((claims.caller, claims.grant), (Caller::Operator, None));
    let grant = Grant {
        room: room(),
        uid: uid(),
        role: Role::CoHost,
    };
    let claims = keys
        .verify(&keys.sign_grant(&grant, NOW).unwrap(), NOW)
        .unwrap();
    assert_eq!(
        (claims.caller, claims.grant),
        (Caller::Gateway, Some(grant))
    );
}

#[test]
fn credentials_live_for_a_minute() {
    let keys = control();
    let credential = keys.sign(Caller::Operator, NOW).unwrap();
    let life = u64::from(CREDENTIAL_SECONDS);
    for (now, expected) in [
        (NOW - LEEWAY - 1, Err(TokenError::NotYetValid)),
        (NOW + life + LEEWAY - 1, Ok(())),
        (NOW + life + LEEWAY, Err(TokenError::Expired)),
    ] {
        assert_eq!(keys.verify(&credential, now).map(|_| ()), expected, "{now}");
    }
    let header = json!({"alg": "HS256"});
    let forged = |changes: Value| {
        let mut claims = json!({"iss": "operator", "aud": "showrunner-pod-control", "jti": "1", "iat": NOW, "exp": NOW + 60});
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let token = forge(
            &header,
            &claims,
            hs256(b"the secret that the chart has made"),
        );
        keys.verify(&token, NOW).map(|_| ())
    };
    assert_eq!(forged(json!({})), Ok(()));
    assert_eq!(
        forged(json!({"exp": NOW + 3600})),
        Err(TokenError::LivesTooLong)
    );
    assert_eq!(
        forged(json!({"aud": "rooms"})),
        Err(TokenError::OtherAudience)
    );
    assert_eq!(
        forged(json!({"iss": "somebody"})),
        Err(TokenError::Malformed)
    );
}

#[test]
fn a_pod_can_be_let_take_one_room() {
    let relay = RelayGrant {
        room: room(),
        uid: RoomUid::new("u-1").unwrap(),
    };
    let credential = control().sign_relay(&relay, NOW).unwrap();
    let claims = control().verify(&credential, NOW).unwrap();
    assert_eq!(
        (claims.caller, claims.grant, claims.relay),
        (Caller::Pod, None, Some(relay))
    );
    let late = NOW + u64::from(CREDENTIAL_SECONDS) + LEEWAY;
    assert_eq!(
        control().verify(&credential, late).unwrap_err(),
        TokenError::Expired
    );
}

#[test]
fn room_tokens_are_no_credentials_and_the_other_way_round() {
    let same = SecretKey::hmac(b"the secret that the chart has made").unwrap();
    let room_token = token(same.clone(), Role::Host);
    assert_eq!(
        control().verify(&room_token, NOW).unwrap_err(),
        TokenError::Malformed
    );
    let credential = control().sign(Caller::Operator, NOW).unwrap();
    let verifier = Verifier::new(vec![trusted(&[&same])]);
    assert_eq!(
        publish(&verifier, &credential).unwrap_err(),
        TokenError::Malformed
    );
}

#[test]
fn key_files_rotate_with_overlap() {
    let (old, new) = (
        "the old secret of the control calls",
        "the new secret of the control calls",
    );
    let parse = |lines: &[&str]| ControlKeys::parse(&lines.join("\n")).unwrap();
    let steps = [
        parse(&[old]),
        parse(&[old, new]),
        parse(&[new, old]),
        parse(&[new]),
    ];
    // While a step is rolled out, some have the one before and some have it.
    for pair in steps.windows(2) {
        for (signs, checks) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let credential = signs.sign(Caller::Gateway, NOW).unwrap();
            assert!(checks.verify(&credential, NOW).is_ok());
        }
    }
    let credential = steps[0].sign(Caller::Gateway, NOW).unwrap();
    assert_eq!(
        steps[3].verify(&credential, NOW).unwrap_err(),
        TokenError::UnknownKey
    );
    let five = [old; 5].join("\n");
    for bad in ["", "\n\n", "short", five.as_str()] {
        assert!(ControlKeys::parse(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// Whichever bit is flipped, the token is refused; and nothing panics on what is no UTF-8 any more.
    #[test]
    fn a_flipped_bit_spoils_a_token(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let ed = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let ed = SecretKey::ed25519(ed.to_pkcs8v1().unwrap().as_ref()).unwrap();
        for key in [key(), ed] {
            let verifier = Verifier::new(vec![trusted(&[&key])]);
            let mut bytes = token(key, Role::Host).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(text) = str::from_utf8(&bytes) {
                prop_assert!(publish(&verifier, text).is_err());
            }
        }
        let mut bytes = control().sign(Caller::Operator, NOW).unwrap().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(text) = str::from_utf8(&bytes) {
            prop_assert!(control().verify(text, NOW).is_err());
        }
    }

    /// Any text at all.
    #[test]
    fn nonsense_is_refused(text in "\\PC{0,200}|[A-Za-z0-9_=-]{0,80}(\\.[A-Za-z0-9_=-]{0,80}){0,4}") {
        prop_assert!(publish(&verifier(), &text).is_err());
        prop_assert!(control().verify(&text, NOW).is_err());
        let _ = read_jwks(&text);
    }
}
