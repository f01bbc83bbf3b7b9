//! Tests TLS with servers whose certificates come from an authority of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use atomiverse::{Client, ClientBuilder};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::job;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

pub fn authority() -> Authority {
    authority_named("a test's own authority")
}

fn authority_named(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

/// Returns the settings of a server for this host.
pub fn server_config(authority: &Authority, host: &str, expired: bool) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    if expired {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// Starts a server for this host on 127.0.0.1. The name of the job in its responses is the number of the connection.
pub fn server(authority: &Authority, host: &str, expired: bool) -> SocketAddr {
    let config = server_config(authority, host, expired);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let body = job("a").replace(r#""name":null"#, &format!(r#""name":"connection {n}""#));
            thread::spawn(move || serve(BufReader::new(StreamOwned::new(connection, stream)), &body));
        }
    });
    address
}

fn serve(mut stream: BufReader<StreamOwned<ServerConnection, TcpStream>>, body: &str) {
    let (mut line, mut is_damaged) = (String::new(), false);
    // A client that does not trust the server closes the connection during the handshake.
    while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
        is_damaged |= line.starts_with("DELETE");
        if line == "\r\n" && is_damaged {
            stream.get_mut().sock.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap();
            return;
        }
        if line == "\r\n" {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        line.clear();
    }
}

pub fn builder(address: SocketAddr) -> ClientBuilder {
    Client::builder().api_key("av_key").base_url(format!("https://{address}")).proxy_from_env(false)
}

#[test]
fn a_server_of_an_authority_that_was_set_is_trusted() {
    let authority = authority();
    let address = server(&authority, "127.0.0.1", false);
    let client = builder(address).root_certificates(authority.pem.as_bytes()).build().unwrap();
    for _ in 0..3 {
        assert_eq!(
            client.get_job("a").unwrap().name.unwrap(),
            "connection 0",
            "all calls use one connection"
        );
    }
    let both = [authority_named("another").pem, authority.pem].concat();
    let both = builder(address).root_certificates(both).build().unwrap();
    assert_eq!(both.get_job("a").unwrap().name.unwrap(), "connection 1");
}

/// Fails unless the first attempt ends with a TLS error, before the key was sent.
fn assert_refused(builder: ClientBuilder) {
    let error = builder.build().unwrap().get_job("a").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no secure connection"), "{text}");
    assert_eq!(error.attempts(), 1, "{text}");
    let error = error.status();
    assert_eq!(error, None);
}

#[test]
fn a_server_of_an_unknown_authority_is_refused() {
    let address = server(&authority(), "127.0.0.1", false);
    assert_refused(builder(address));
    assert_refused(builder(address).root_certificates(authority().pem));
}

#[test]
fn a_server_with_another_host_name_is_refused() {
    let authority = authority();
    let address = server(&authority, "atomiverse.example", false);
    assert_refused(builder(address).root_certificates(authority.pem));
}

#[test]
fn a_server_whose_certificate_has_expired_is_refused() {
    let authority = authority();
    let address = server(&authority, "127.0.0.1", true);
    assert_refused(builder(address).root_certificates(authority.pem));
}

#[test]
fn a_change_on_an_untrusted_server_was_not_sent() {
    let address = server(&authority(), "127.0.0.1", false);
    let client = builder(address).build().unwrap();
    let errors =
        [client.submit_job(&serde_json::json!({})).unwrap_err(), client.rename_job("a", "b").unwrap_err()];
    for error in errors {
        assert!(!error.may_have_been_processed(), "{error}");
    }
}

#[test]
fn a_change_whose_response_is_not_encrypted_may_have_been_made() {
    let authority = authority();
    let address = server(&authority, "127.0.0.1", false);
    let client = builder(address).root_certificates(authority.pem).build().unwrap();
    let error = client.delete_job("a").unwrap_err();
    assert!(error.may_have_been_processed(), "{error}");
}

#[test]
fn a_server_with_a_certificate_that_it_made_itself_gets_advice() {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let itself = Authority { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) };
    let address = server(&itself, "127.0.0.1", false);
    let error = builder(address).build().unwrap().get_job("a").unwrap_err().to_string();
    assert!(error.contains("root_certificates"), "{error}");
}

#[test]
fn invalid_root_certificates_are_refused_when_the_client_is_built() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    for pem in ["", "nonsense", &key, "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"] {
        let error = Client::builder().api_key("av_key").root_certificates(pem).build().unwrap_err();
        assert!(error.to_string().contains("root_certificates"), "{error}");
    }
}

#[cfg(feature = "platform-verifier")]
#[test]
fn the_operating_system_decides_if_it_is_asked_to() {
    let authority = authority();
    let address = server(&authority, "127.0.0.1", false);
    assert_refused(builder(address).platform_certificates(true));
    let both = builder(address).platform_certificates(true).root_certificates(authority.pem);
    assert!(both.build().unwrap_err().to_string().contains("not both"));
}
