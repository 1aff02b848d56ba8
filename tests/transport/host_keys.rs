//! Which servers are believed, and what is told of the others.

use backstay::transport::{HostKeyProblem, Secret};
use russh::keys::Certificate;
use russh::keys::ssh_key::certificate::{Builder, CertType};

use super::server::Rules;
use super::*;

fn rules() -> Rules {
    Rules {
        password: Some("hunter2"),
        ..Rules::default()
    }
}

fn with_password(server: &Server) -> Endpoint {
    Endpoint {
        password: Some(Secret::new("hunter2")),
        ..endpoint(server)
    }
}

#[tokio::test]
async fn an_unknown_host_is_refused_before_anything_is_tried() {
    let server = Server::start(rules()).await;
    let home = Home::new();
    let (message, help) = home.story(&with_password(&server)).await;
    assert_eq!(
        message,
        format!(
            "the host key of `127.0.0.1:$PORT` is not known: it shows the ssh-ed25519 key {}",
            fingerprint(&server.host_key)
        )
    );
    assert_eq!(
        help,
        "compare the fingerprint with the host's own, then add it: \
         `ssh-keyscan -p $PORT 127.0.0.1 >> $HOME/.ssh/known_hosts`"
    );
    assert!(server.attempts().is_empty());
}

#[tokio::test]
async fn a_changed_key_is_refused_with_the_line_that_has_the_old_one() {
    let server = Server::start(rules()).await;
    let other = Server::start(rules()).await;
    let old = other.host_key.to_openssh().unwrap();
    let line = format!("# hosts\n[127.0.0.1]:{} {old}\n", server.port);
    let home = Home::new().file("known_hosts", &line);
    let (message, help) = home.story(&with_password(&server)).await;
    assert_eq!(
        message,
        format!(
            "the host key of `127.0.0.1:$PORT` has changed: it shows the ssh-ed25519 key {}, but \
             $HOME/.ssh/known_hosts:2 has another",
            fingerprint(&server.host_key)
        )
    );
    assert_eq!(
        help,
        "if the host was rebuilt, remove its old key: `ssh-keygen -f $HOME/.ssh/known_hosts -R \
         '[127.0.0.1]:$PORT'`; if not, somebody may be in between"
    );
    assert!(server.attempts().is_empty());
}

#[tokio::test]
async fn a_revoked_key_is_refused_even_with_checking_off() {
    let server = Server::start(rules()).await;
    let key = server.host_key.to_openssh().unwrap();
    let lines = format!("{}@revoked * {key}\n", server.known_line());
    let home = Home::new().file("known_hosts", &lines);
    for host_key_checking in [true, false] {
        let endpoint = Endpoint {
            host_key_checking,
            ..with_password(&server)
        };
        let failure = home.failure(&endpoint).await;
        assert_eq!(
            failure,
            Failure::HostKey(HostKeyProblem::Revoked {
                algorithm: "ssh-ed25519".into(),
                fingerprint: fingerprint(&server.host_key),
                file: in_ssh(&home, "known_hosts"),
                line: 2,
            })
        );
    }
    assert!(server.attempts().is_empty());
}

#[tokio::test]
async fn checking_off_accepts_and_learns_a_new_key() {
    let server = Server::start(rules()).await;
    let home = Home::new();
    let endpoint = Endpoint {
        host_key_checking: false,
        ..with_password(&server)
    };
    home.connect(&endpoint).await.unwrap();
    let key = server.host_key.to_openssh().unwrap();
    assert_eq!(
        home.known_hosts(),
        format!("[127.0.0.1]:{} {key}\n", server.port)
    );
    home.connect(&with_password(&server)).await.unwrap();
}

#[tokio::test]
async fn checking_off_sends_no_password_to_a_server_with_a_changed_key() {
    let server = Server::start(rules()).await;
    let other = new_key().public_key().to_openssh().unwrap();
    let line = format!("[127.0.0.1]:{} {other}\n", server.port);
    let home = Home::new().file("known_hosts", &line);
    let endpoint = Endpoint {
        host_key_checking: false,
        ..with_password(&server)
    };
    let (_, help) = home.story(&endpoint).await;
    assert_eq!(help, "not tried: the password, as the host key has changed");
    assert!(server.attempts().is_empty());
    assert_eq!(home.known_hosts(), line);
}

#[tokio::test]
async fn accept_new_learns_a_new_key_hashed_if_wanted_and_refuses_a_changed_one() {
    let server = Server::start(rules()).await;
    let home = Home::new();
    let endpoint = Endpoint {
        ssh_common_args: "-o StrictHostKeyChecking=accept-new -o HashKnownHosts=yes".into(),
        ..with_password(&server)
    };
    home.connect(&endpoint).await.unwrap();
    assert!(
        home.known_hosts().starts_with("|1|"),
        "{}",
        home.known_hosts()
    );
    home.connect(&with_password(&server)).await.unwrap();
    let other = new_key().public_key().to_openssh().unwrap();
    let home = home.file(
        "known_hosts",
        &format!("[127.0.0.1]:{} {other}\n", server.port),
    );
    let failure = home.failure(&endpoint).await;
    assert!(
        matches!(failure, Failure::HostKey(HostKeyProblem::Changed { .. })),
        "{failure:?}"
    );
}

#[tokio::test]
async fn known_hosts_files_and_an_alias_may_be_named() {
    let server = Server::start(rules()).await;
    let key = server.host_key.to_openssh().unwrap();
    let home = Home::new().file("others", &format!("web.example.org {key}\n"));
    let endpoint = Endpoint {
        ssh_common_args: "-o UserKnownHostsFile=~/.ssh/others -o HostKeyAlias=web.example.org"
            .into(),
        ..with_password(&server)
    };
    home.connect(&endpoint).await.unwrap();
}

/// The host certificates of these tests: signed by `authority`, for `name`, until `end`.
fn host_certificate(key: &PrivateKey, authority: &PrivateKey, name: &str, end: u64) -> Certificate {
    let mut rng = russh::keys::key::safe_rng();
    let mut builder = Builder::new_with_random_nonce(&mut rng, key.public_key(), 0, end).unwrap();
    builder.cert_type(CertType::Host).unwrap();
    builder.key_id("host").unwrap();
    builder.valid_principal(name).unwrap();
    builder.sign(authority).unwrap()
}

/// Connects to a server that shows a certificate of `name` until `end`, with `lines` in
/// `known_hosts` (`CA` and `PORT` are put in).
async fn with_certificate(name: &str, end: u64, lines: &str) -> Result<(), Failure> {
    let (key, authority) = (new_key(), new_key());
    let server = Server::start(Rules {
        host_certificate: Some(host_certificate(&key, &authority, name, end)),
        host_key: Some(key),
        ..rules()
    })
    .await;
    let ca = authority.public_key().to_openssh().unwrap();
    let lines = lines
        .replace("CA", &ca)
        .replace("KEY", &server.host_key.to_openssh().unwrap())
        .replace("PORT", &server.port.to_string());
    let home = Home::new().file("known_hosts", &lines);
    let outcome = home.connect(&with_password(&server)).await;
    outcome.map(|_| ()).map_err(|error| error.failure)
}

const FOR_EVER: u64 = u64::MAX;

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_believed() {
    let trusted = "@cert-authority [127.0.0.*]:* CA\n";
    assert_eq!(
        with_certificate("127.0.0.1", FOR_EVER, trusted).await,
        Ok(())
    );
    assert_eq!(with_certificate("127.*", FOR_EVER, trusted).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_for_another_host_or_expired_is_refused() {
    let trusted = "@cert-authority * CA\n";
    for (name, end, flaw) in [
        (
            "10.0.0.1",
            FOR_EVER,
            "it is for 10.0.0.1, not for `127.0.0.1`",
        ),
        ("127.0.0.1", 1_000_000_000, "it has expired"),
    ] {
        let outcome = with_certificate(name, end, trusted).await;
        let Err(Failure::HostKey(HostKeyProblem::Certificate { detail, .. })) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(detail, flaw);
    }
}

#[tokio::test]
async fn a_certificate_of_a_revoked_authority_is_refused() {
    let lines = "@cert-authority * CA\n@revoked * CA\n";
    let outcome = with_certificate("127.0.0.1", FOR_EVER, lines).await;
    assert!(
        matches!(
            outcome,
            Err(Failure::HostKey(HostKeyProblem::Revoked { line: 2, .. }))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_counts_as_its_key() {
    let known = "[127.0.0.1]:PORT KEY\n@cert-authority * ";
    let other = new_key().public_key().to_openssh().unwrap();
    let known = format!("{known}{other}\n");
    assert_eq!(
        with_certificate("127.0.0.1", FOR_EVER, &known).await,
        Ok(())
    );
    let unknown = format!("@cert-authority * {other}\n");
    let outcome = with_certificate("127.0.0.1", FOR_EVER, &unknown).await;
    assert!(
        matches!(
            outcome,
            Err(Failure::HostKey(HostKeyProblem::Unknown { .. }))
        ),
        "{outcome:?}"
    );
}
