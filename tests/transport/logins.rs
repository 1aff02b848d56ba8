//! Ways to log in, in the order they are tried, and what is told when none works.

use std::sync::Arc;

use backstay::transport::Secret;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::{Signature, rand_core::CryptoRng};
use russh::keys::{Certificate, EcdsaCurve};
use tokio::net::UnixListener;

use super::server::Rules;
use super::*;

fn rng() -> impl CryptoRng {
    russh::keys::key::safe_rng()
}

/// Returns a user certificate for `key`, signed by `authority`, for `principal`.
fn certificate(key: &PrivateKey, authority: &PrivateKey, principal: &str) -> Certificate {
    let mut builder =
        Builder::new_with_random_nonce(&mut rng(), key.public_key(), 0, u64::MAX).unwrap();
    builder.cert_type(CertType::User).unwrap();
    builder.key_id("test").unwrap();
    builder.valid_principal(principal).unwrap();
    builder.sign(authority).unwrap()
}

#[tokio::test]
async fn a_password_logs_in() {
    let server = Server::start(Rules {
        password: Some("hunter2"),
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let endpoint = Endpoint {
        password: Some(Secret::new("hunter2")),
        ..endpoint(&server)
    };
    let connection = home.connect(&endpoint).await.unwrap();
    let (output, status) = run(&connection, "echo hello").await;
    assert_eq!((output.as_str(), status), ("hello\n", ExitStatus::Code(0)));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_told() {
    let server = Server::start(Rules {
        password: Some("hunter2"),
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let endpoint = Endpoint {
        password: Some(Secret::new("wrong")),
        ..endpoint(&server)
    };
    let (message, help) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "`127.0.0.1:$PORT` refused the login of `deploy`: tried password; the server offers \
         nothing else"
    );
    assert_eq!(help, "check `ansible_user` and the password");
    assert_eq!(server.attempts(), ["deploy password"]);
}

#[tokio::test]
async fn without_anything_to_try_the_server_says_what_it_takes() {
    let server = Server::start(Rules {
        password: Some("hunter2"),
        keys: vec![new_key().public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let (message, _) = home.story(&endpoint(&server)).await;
    assert_eq!(
        message,
        "`127.0.0.1:$PORT` refused the login of `deploy`: tried nothing; the server offers \
         publickey, password"
    );
}

#[tokio::test]
async fn keyboard_interactive_is_answered_with_the_password() {
    let server = Server::start(Rules {
        answer: Some("hunter2"),
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let mut endpoint = Endpoint {
        password: Some(Secret::new("hunter2")),
        ..endpoint(&server)
    };
    home.connect(&endpoint).await.unwrap();
    endpoint.password = Some(Secret::new("wrong"));
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "`127.0.0.1:$PORT` refused the login of `deploy`: tried keyboard-interactive; the server \
         offers keyboard-interactive"
    );
}

#[tokio::test]
async fn keys_of_every_type_log_in() {
    let curve = EcdsaCurve::NistP256;
    for algorithm in [
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve },
        Algorithm::Rsa { hash: None },
    ] {
        let key = key_of(algorithm.clone());
        let server = Server::start(Rules {
            keys: vec![key.public_key().clone()],
            ..Rules::default()
        })
        .await;
        let home = Home::new().knows(&[&server]).key("deploy_key", &key);
        let endpoint = Endpoint {
            private_key_file: Some("~/.ssh/deploy_key".into()),
            ..endpoint(&server)
        };
        assert!(home.connect(&endpoint).await.is_ok(), "{algorithm}");
    }
}

#[tokio::test]
async fn a_key_given_as_text_logs_in_and_no_other_is_tried() {
    let (own, other) = (new_key(), new_key());
    let server = Server::start(Rules {
        keys: vec![own.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &other);
    let endpoint = Endpoint {
        private_key: Some(Secret::new(
            own.to_openssh(LineEnding::LF).unwrap().as_str(),
        )),
        ..endpoint(&server)
    };
    home.connect(&endpoint).await.unwrap();
    assert_eq!(server.attempts(), ["deploy key"]);
}

#[tokio::test]
async fn an_encrypted_key_needs_its_passphrase() {
    let key = new_key();
    let server = Server::start(Rules {
        keys: vec![key.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let locked = key.encrypt(&mut rng(), "sesame").unwrap();
    let home = Home::new().knows(&[&server]).key("locked", &locked);
    let mut endpoint = Endpoint {
        private_key_file: Some("~/.ssh/locked".into()),
        ..endpoint(&server)
    };
    let (message, help) = home.story(&endpoint).await;
    assert_eq!(message, "the private key `$HOME/.ssh/locked` is encrypted");
    assert_eq!(
        help,
        "load it into ssh-agent, or set `ansible_ssh_private_key_passphrase`"
    );
    endpoint.passphrase = Some(Secret::new("wrong"));
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "the passphrase does not open the private key `$HOME/.ssh/locked`"
    );
    endpoint.passphrase = Some(Secret::new("sesame"));
    assert!(home.connect(&endpoint).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_missing_or_broken_is_named() {
    let server = Server::start(Rules {
        keys: vec![new_key().public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]).file("broken", "no key\n");
    let endpoint = Endpoint {
        ssh_args: "-i ~/.ssh/missing -i ~/.ssh/broken".into(),
        ..endpoint(&server)
    };
    let (_, help) = home.story(&endpoint).await;
    assert_eq!(
        help,
        "not tried: `$HOME/.ssh/missing`, as there is no such file; `$HOME/.ssh/broken`: could \
         not read key"
    );
}

#[tokio::test]
async fn a_certificate_beside_the_key_or_named_logs_in() {
    let authority = new_key();
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa { hash: None }] {
        let key = key_of(algorithm);
        let server = Server::start(Rules {
            authorities: vec![authority.public_key().clone()],
            ..Rules::default()
        })
        .await;
        let certificate = certificate(&key, &authority, "deploy")
            .to_openssh()
            .unwrap();
        let home = Home::new()
            .knows(&[&server])
            .key("mine", &key)
            .file("mine-cert.pub", &certificate)
            .key("other", &key)
            .file("named.pub", &certificate);
        let beside = Endpoint {
            private_key_file: Some("~/.ssh/mine".into()),
            ..endpoint(&server)
        };
        home.connect(&beside).await.unwrap();
        let named = Endpoint {
            private_key_file: Some("~/.ssh/other".into()),
            ssh_args: "-o CertificateFile=~/.ssh/named.pub".into(),
            ..endpoint(&server)
        };
        home.connect(&named).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_refused_and_named() {
    let (key, authority) = (new_key(), new_key());
    let server = Server::start(Rules {
        authorities: vec![authority.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let certificate = certificate(&key, &authority, "root").to_openssh().unwrap();
    let home = Home::new()
        .knows(&[&server])
        .key("mine", &key)
        .file("mine-cert.pub", &certificate);
    let endpoint = Endpoint {
        private_key_file: Some("~/.ssh/mine".into()),
        ..endpoint(&server)
    };
    let Failure::Refusal { tried, .. } = home.failure(&endpoint).await else {
        panic!("not refused");
    };
    let path = in_ssh(&home, "mine");
    assert_eq!(
        tried,
        [
            format!("certificate `{}-cert.pub`", path.display()),
            format!("`{}` {}", path.display(), fingerprint(key.public_key())),
        ]
    );
}

#[tokio::test]
async fn a_server_may_want_a_key_and_then_the_password() {
    let key = new_key();
    let server = Server::start(Rules {
        keys: vec![key.public_key().clone()],
        password: Some("hunter2"),
        both: true,
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        password: Some(Secret::new("hunter2")),
        ..endpoint(&server)
    };
    home.connect(&endpoint).await.unwrap();
    assert_eq!(server.attempts(), ["deploy key", "deploy password"]);
}

#[tokio::test]
async fn too_many_keys_end_the_connection_with_the_servers_words() {
    let server = Server::start(Rules {
        keys: vec![new_key().public_key().clone()],
        attempts: 2,
        ..Rules::default()
    })
    .await;
    let home = Home::new()
        .knows(&[&server])
        .key("a", &new_key())
        .key("b", &new_key())
        .key("c", &new_key());
    let endpoint = Endpoint {
        ssh_args: "-i ~/.ssh/a -i ~/.ssh/b -i ~/.ssh/c".into(),
        ..endpoint(&server)
    };
    let failure = home.failure(&endpoint).await;
    assert!(matches!(failure, Failure::Closed { .. }), "{failure:?}");
}

/// An agent that holds `keys` and signs with them.
fn agent(home: &Home, keys: Vec<PrivateKey>) -> PathBuf {
    let path = home.path("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let keys = Arc::new(keys);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let keys = Arc::clone(&keys);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u32().await {
                    let mut request = vec![0; length as usize];
                    stream.read_exact(&mut request).await.unwrap();
                    let answer = agent_answer(&keys, &request);
                    stream
                        .write_u32(u32::try_from(answer.len()).unwrap())
                        .await
                        .unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    path
}

/// Answers as draft-ietf-sshm-ssh-agent says: identities, signatures, or failure.
fn agent_answer(keys: &[PrivateKey], request: &[u8]) -> Vec<u8> {
    use russh::keys::signature::Signer;
    use russh::keys::ssh_encoding::{Decode, Encode};
    let mut answer = Vec::new();
    match request.split_first() {
        Some((11, _)) => {
            answer.push(12);
            u32::try_from(keys.len())
                .unwrap()
                .encode(&mut answer)
                .unwrap();
            for key in keys {
                key.public_key()
                    .to_bytes()
                    .unwrap()
                    .encode(&mut answer)
                    .unwrap();
                "test key".encode(&mut answer).unwrap();
            }
        }
        Some((13, mut rest)) => {
            let blob = Vec::<u8>::decode(&mut rest).unwrap();
            let data = Vec::<u8>::decode(&mut rest).unwrap();
            let key = keys
                .iter()
                .find(|key| key.public_key().to_bytes().unwrap() == blob);
            let signature: Signature = key.unwrap().try_sign(&data).unwrap();
            answer.push(14);
            signature.encode_prefixed(&mut answer).unwrap();
        }
        _ => answer.push(5),
    }
    answer
}

#[tokio::test]
async fn a_key_in_the_agent_logs_in() {
    let key = new_key();
    let server = Server::start(Rules {
        keys: vec![key.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let context = ConnectContext {
        agent_socket: Some(agent(&home, vec![new_key(), key])),
        ..home.context()
    };
    connect(&endpoint(&server), &context).await.unwrap();
    assert_eq!(server.attempts(), ["deploy key", "deploy key"]);
}

#[tokio::test]
async fn identities_only_offers_the_agents_key_for_the_named_file_alone() {
    let (own, other) = (new_key(), new_key());
    let server = Server::start(Rules {
        keys: vec![own.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let locked = own.encrypt(&mut rng(), "sesame").unwrap();
    let home = Home::new().knows(&[&server]).key("own", &locked);
    let context = ConnectContext {
        agent_socket: Some(agent(&home, vec![other, own])),
        ..home.context()
    };
    let endpoint = Endpoint {
        ssh_args: "-o IdentitiesOnly=yes -i ~/.ssh/own".into(),
        ..endpoint(&server)
    };
    connect(&endpoint, &context).await.unwrap();
    assert_eq!(server.attempts(), ["deploy key"]);
}

#[tokio::test]
async fn the_agent_is_forwarded_only_when_that_is_asked_for() {
    let key = new_key();
    let server = Server::start(Rules {
        keys: vec![key.public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let context = ConnectContext {
        agent_socket: Some(agent(&home, vec![key, new_key()])),
        ..home.context()
    };
    for (arguments, answer) in [("", "refused"), ("-A", "2 keys")] {
        let endpoint = Endpoint {
            ssh_args: arguments.into(),
            ..endpoint(&server)
        };
        let connection = connect(&endpoint, &context).await.unwrap();
        assert_eq!(
            run(&connection, "ask the agent").await.0,
            answer,
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_named_when_nothing_else_works() {
    let server = Server::start(Rules {
        keys: vec![new_key().public_key().clone()],
        ..Rules::default()
    })
    .await;
    let home = Home::new().knows(&[&server]);
    let endpoint = Endpoint {
        ssh_args: "-o IdentityAgent=~/no-agent".into(),
        ..endpoint(&server)
    };
    let (_, help) = home.story(&endpoint).await;
    assert_eq!(
        help,
        "not tried: the agent at `$HOME/no-agent`: not reachable"
    );
}
