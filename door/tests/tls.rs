//! A door with a certificate, which is renewed while it is open.

use std::fs;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use showrunner_door::{Door, FilesError, Shown, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const NAME: &str = "door.example";

type Certificate = CertifiedKey<KeyPair>;

fn certificate() -> Certificate {
    generate_simple_self_signed([NAME.to_owned()]).unwrap()
}

/// A directory of the test's own, with the two files.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("showrunner-door-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn chain(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    fn put_chain(&self, of: &Certificate) {
        fs::write(self.chain(), of.cert.pem()).unwrap();
    }

    fn put_key(&self, of: &Certificate) {
        fs::write(self.key(), of.signing_key.serialize_pem()).unwrap();
    }

    fn read(&self) -> Result<Tls, FilesError> {
        Tls::from_files(&self.chain(), &self.key())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn open(tls: Tls) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let door = Door {
        listener,
        router: Router::new().route("/", get(async || "come in")),
        tls: Some(tls),
        max_connections: 10,
    };
    tokio::spawn(door.serve(pending(), Duration::ZERO));
    addr
}

/// The certificate that a client is shown, which trusts these, and is answered.
async fn shown(addr: SocketAddr, trusted: &[&Certificate]) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.cert.der().clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).unwrap();
    let stream = TcpStream::connect(addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("come in"), "{answer}");
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_once_it_and_its_key_are_there() {
    let (old, new) = (certificate(), certificate());
    let dir = Dir::new();
    dir.put_chain(&old);
    dir.put_key(&old);
    let tls = dir.read().unwrap();
    let addr = open(tls.clone()).await;
    assert_eq!(shown(addr, &[&old, &new]).await, *old.cert.der());

    dir.put_chain(&new);
    tls.look();
    let still = shown(addr, &[&old, &new]).await;
    assert_eq!(still, *old.cert.der(), "its key isn't there yet");
    fs::write(dir.key(), "-----BEGIN").unwrap();
    tls.look();
    fs::remove_file(dir.key()).unwrap();
    tls.look();
    assert_eq!(shown(addr, &[&old, &new]).await, *old.cert.der());

    dir.put_key(&new);
    tls.look();
    assert_eq!(shown(addr, &[&old, &new]).await, *new.cert.der());
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_noticed_without_being_told() {
    let (old, new) = (certificate(), certificate());
    let dir = Dir::new();
    dir.put_chain(&old);
    dir.put_key(&old);
    let addr = open(dir.read().unwrap()).await;
    dir.put_chain(&new);
    dir.put_key(&new);
    while shown(addr, &[&old, &new]).await != *new.cert.der() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_says_hello_is_shown_out() {
    let dir = Dir::new();
    let certificate = certificate();
    dir.put_chain(&certificate);
    dir.put_key(&certificate);
    let addr = open(dir.read().unwrap()).await;
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(b"\x16\x03\x01").await.unwrap();
    // Closed, be it by FIN or RST.
    assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn files_that_are_of_no_use_are_named() {
    let (one, other) = (certificate(), certificate());
    let dir = Dir::new();
    let why = |dir: &Dir| dir.read().err().unwrap().to_string();
    assert!(why(&dir).contains("tls.crt can't be read"), "{}", why(&dir));
    dir.put_chain(&one);
    assert!(why(&dir).contains("tls.key can't be read"), "{}", why(&dir));
    fs::write(dir.key(), "no key").unwrap();
    assert!(why(&dir).contains("no private key"), "{}", why(&dir));
    dir.put_key(&other);
    assert!(why(&dir).contains("tls.crt with"), "{}", why(&dir));
    dir.put_key(&one);
    fs::write(dir.chain(), one.signing_key.serialize_pem()).unwrap();
    assert!(why(&dir).contains("no certificate"), "{}", why(&dir));
    dir.put_chain(&one);
    assert!(dir.read().is_ok());
}

#[tokio::test]
async fn who_keeps_the_configuration_decides_who_is_believed() {
    let (server, client, stranger) = (certificate(), certificate(), certificate());
    let (keeper, kept) = tokio::sync::watch::channel(None);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let door = Door {
        listener,
        router: Router::new().route(
            "/",
            get(async |shown: Option<axum::Extension<Shown>>| {
                shown.map_or("nobody".to_owned(), |shown| shown.0.0.len().to_string())
            }),
        ),
        tls: Some(Tls::kept(kept)),
        max_connections: 10,
    };
    tokio::spawn(door.serve(pending(), Duration::ZERO));
    let ask = async |by: Option<&Certificate>| {
        let mut roots = RootCertStore::empty();
        roots.add(server.cert.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match by {
            None => builder.with_no_client_auth(),
            Some(by) => {
                let key = PrivateKeyDer::try_from(by.signing_key.serialize_der()).unwrap();
                let chain = vec![by.cert.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(addr).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await?;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        Ok::<String, std::io::Error>(body.to_owned())
    };
    assert!(ask(None).await.is_err(), "there is no configuration yet");

    let mut roots = RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![server.cert.der().clone()], key)
        .unwrap();
    keeper.send_replace(Some(Arc::new(config)));
    assert_eq!(ask(None).await.unwrap(), "nobody");
    let length = client.cert.der().len().to_string();
    assert_eq!(ask(Some(&client)).await.unwrap(), length);
    assert!(ask(Some(&stranger)).await.is_err());
}
