//! Who is let in, by the status that they get. What makes a token good or not is tested with the tokens themselves.

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use showrunner_operator::gateway::access::Admission;
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{AUDIENCE, ISSUER, Role};

use crate::call::Answer;
use crate::support::{
    Cluster, HOST, SDP, TokenKey, VIEWER, WHEP, WHIP, jwks, now, pod_name, room, token, uid,
};

const NO_TOKEN: &str = "Bearer realm=\"showrunner\"";
const INVALID: &str = "Bearer realm=\"showrunner\", error=\"invalid_token\"";
const INSUFFICIENT: &str = "Bearer realm=\"showrunner\", error=\"insufficient_scope\"";

async fn publish(cluster: &Cluster, token: &str) -> Answer {
    let call = cluster.request("POST", WHIP).token(token);
    call.body(SDP, HOST).await
}

fn is_refused(answer: &Answer, status: u16, challenge: &str) {
    answer.is_problem(status, "");
    assert_eq!(answer.header("www-authenticate"), challenge, "{answer:?}");
}

/// A token with any header and claims.
fn forge(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "room": "shop/sale", "roomUid": "u-1",
        "role": "host", "iat": now(), "nbf": now(), "exp": now() + 60,
    })
}

#[tokio::test]
async fn a_host_needs_a_token_for_this_room_and_this() {
    let (cluster, _pod) = Cluster::with_room().await;
    let none = cluster.request("POST", WHIP).body(SDP, HOST).await;
    is_refused(&none, 401, NO_TOKEN);
    let basic = cluster.request("POST", WHIP);
    let basic = basic.header("authorization", "Basic YTpi").body(SDP, HOST);
    is_refused(&basic.await, 401, NO_TOKEN);
    let other_room = RoomName::new("shop", "other").unwrap();
    let other_uid = RoomUid::new("u-0").unwrap();
    let hour_ago = now() - 2 * 3600;
    for (token, status, challenge) in [
        (
            cluster.token_of(&room(), &uid(), Role::Host, hour_ago),
            401,
            INVALID,
        ),
        (
            cluster.token_of(&room(), &uid(), Role::Host, now() + 600),
            401,
            INVALID,
        ),
        (
            cluster.token_of(&other_room, &uid(), Role::Host, now()),
            403,
            INSUFFICIENT,
        ),
        (
            cluster.token_of(&room(), &other_uid, Role::Host, now()),
            403,
            INSUFFICIENT,
        ),
        (cluster.token(Role::Viewer), 403, INSUFFICIENT),
        ("nonsense".to_owned(), 401, INVALID),
        (String::new(), 401, INVALID),
        ("x".repeat(10_000), 401, INVALID),
    ] {
        is_refused(&publish(&cluster, &token).await, status, challenge);
    }
    // Who is let in, and comes too early: there is no host on air yet.
    let transcoder = publish(&cluster, &cluster.token(Role::Transcoder)).await;
    assert_eq!(transcoder.status, StatusCode::CONFLICT, "{transcoder:?}");
    for role in [Role::Host, Role::CoHost] {
        let answer = publish(&cluster, &cluster.token(role)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (cluster, _pod) = Cluster::with_room().await;
    let kid = cluster.key.secret.kid();
    let public = &cluster.key.public;
    // Whatever of the public key might be taken for a secret of HS256.
    let der_prefix: &[u8] = &[
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let der = [der_prefix, public].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(&der)
    );
    let secrets: [Vec<u8>; 5] = [
        public.clone(),
        URL_SAFE_NO_PAD.encode(public).into_bytes(),
        der,
        pem.into_bytes(),
        jwks(&[&cluster.key]).into_bytes(),
    ];
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        for header in [
            json!({"alg": "HS256", "typ": "JWT", "kid": kid}),
            json!({"alg": "HS256", "typ": "JWT"}),
        ] {
            let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
            let forged = forge(&header, &claims(), sign);
            is_refused(&publish(&cluster, &forged).await, 401, INVALID);
        }
    }
    for alg in ["none", "None", "NONE", ""] {
        for signature in [vec![], vec![0; 64]] {
            let header = json!({"alg": alg, "kid": kid});
            let forged = forge(&header, &claims(), |_| signature.clone());
            is_refused(&publish(&cluster, &forged).await, 401, INVALID);
        }
    }
    // Another's key under our key's name, and a good token with its claims changed.
    let stranger = TokenKey::new();
    let theirs = token(
        ISSUER,
        AUDIENCE,
        &stranger,
        (&room(), &uid(), Role::Host),
        now(),
    );
    is_refused(&publish(&cluster, &theirs).await, 401, INVALID);
    let good = cluster.token(Role::Viewer);
    let (header, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let changed = URL_SAFE_NO_PAD.encode(claims().to_string());
    let changed = format!("{header}.{changed}.{signature}");
    is_refused(&publish(&cluster, &changed).await, 401, INVALID);
    let elsewhere = token(
        ISSUER,
        "others",
        &cluster.key,
        (&room(), &uid(), Role::Host),
        now(),
    );
    is_refused(&publish(&cluster, &elsewhere).await, 401, INVALID);
    // Keys that come with the token are not looked at (RFC 8725 §3.10).
    let header = json!({"alg": "EdDSA", "jwk": stranger.jwk(), "jku": "https://evil.example/"});
    let forged = forge(&header, &claims(), |_| vec![0; 64]);
    is_refused(&publish(&cluster, &forged).await, 401, INVALID);
}

#[tokio::test]
async fn a_token_does_not_outlive_its_room() {
    let (cluster, pod) = Cluster::with_room().await;
    let token = cluster.token(Role::Host);
    let describe = cluster.request("GET", WHIP).token(&token).send().await;
    assert_eq!(describe.status, StatusCode::NO_CONTENT, "{describe:?}");
    cluster.put_room(|room| {
        room.origin = Some(pod_name("eu-0"));
        room.has_ended = true;
    });
    publish(&cluster, &token).await.is_problem(404, "over");
    // Another room of the name, on the same pod.
    let next = RoomUid::new("u-2").unwrap();
    pod.assign_as(&next);
    cluster.put_room(|room| {
        room.origin = Some(pod_name("eu-0"));
        room.access.uid = next.clone();
    });
    is_refused(&publish(&cluster, &token).await, 403, INSUFFICIENT);
    let token = cluster.token_of(&room(), &next, Role::Host, now());
    let answer = publish(&cluster, &token).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

#[tokio::test]
async fn viewers_of_a_closed_room_need_one_too_for_all_that_they_do() {
    let (cluster, pod) = Cluster::with_room().await;
    cluster.publish().await;
    pod.connected().await;
    let session = cluster.watch().await.location().to_owned();
    cluster.put_room(|room| {
        room.origin = Some(pod_name("eu-0"));
        room.access.watch = Admission::Token;
    });
    is_refused(&cluster.watch().await, 401, NO_TOKEN);
    for (method, path) in [
        ("GET", WHEP.to_owned()),
        ("GET", session.clone()),
        ("PATCH", session.clone()),
        ("DELETE", session.clone()),
        ("POST", format!("{session}/events")),
        ("GET", format!("{session}/events/0")),
        ("POST", format!("{session}/layer")),
        ("POST", format!("{session}/report")),
    ] {
        let answer = cluster.request(method, &path).send().await;
        is_refused(&answer, 401, NO_TOKEN);
    }
    for role in [Role::Viewer, Role::Transcoder, Role::CoHost, Role::Host] {
        let call = cluster.request("POST", WHEP).token(&cluster.token(role));
        let answer = call.body(SDP, VIEWER).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
}

#[tokio::test]
async fn keys_are_rotated_with_overlap() {
    let (cluster, _pod) = Cluster::with_room().await;
    let next = TokenKey::new();
    let old = cluster.token(Role::Host);
    let new = token(
        ISSUER,
        AUDIENCE,
        &next,
        (&room(), &uid(), Role::Host),
        now(),
    );
    let statuses = async || {
        let (old, new) = (publish(&cluster, &old).await, publish(&cluster, &new).await);
        (old.status.as_u16(), new.status.as_u16())
    };
    assert_eq!(statuses().await, (201, 401));
    for (text, expected) in [
        (jwks(&[&cluster.key, &next]), (201, 201)),
        ("a file that is half written".to_owned(), (201, 201)),
        (jwks(&[&next]), (401, 201)),
    ] {
        cluster.dir.write("jwks.json", text);
        cluster.keys.tokens.look();
        assert_eq!(statuses().await, expected);
    }
}

#[tokio::test]
async fn a_customers_own_tokens_do_without_uid_and_are_bounded_to_their_issuer() {
    let customer = TokenKey::new();
    let keys = jwks(&[&customer]);
    let flags = [
        "--jwks-file={dir}/customer.json",
        "--jwks-issuer=https://id.example",
        "--jwks-audience=shop",
    ];
    let cluster = Cluster::prepared(&flags, |dir| dir.write("customer.json", keys));
    cluster.put_room(|_| {});
    let status = async |token: &str| {
        let answer = cluster.request("GET", WHIP).token(token).send().await;
        answer.status.as_u16()
    };
    let of = |issuer: &str, audience: &str| {
        token(
            issuer,
            audience,
            &customer,
            (&room(), &uid(), Role::Host),
            now(),
        )
    };
    assert_eq!(status(&cluster.token(Role::Host)).await, 204);
    assert_eq!(status(&of("https://id.example", "shop")).await, 204);
    assert_eq!(status(&of("https://id.example", AUDIENCE)).await, 401);
    assert_eq!(status(&of(ISSUER, AUDIENCE)).await, 401);
}
