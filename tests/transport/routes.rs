//! Ways to a host: jump hosts and proxy commands, and what is told when the way is blocked or
//! breaks.

use backstay::transport::{Secret, Stage};
use tokio::net::TcpListener;

use super::server::Rules;
use super::*;

fn rules(key: &PrivateKey) -> Rules {
    Rules {
        keys: vec![key.public_key().clone()],
        ..Rules::default()
    }
}

async fn unused_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_chain_of_jump_hosts_leads_to_the_host() {
    let key = new_key();
    let (first, second, target) = tokio::join!(
        Server::start(rules(&key)),
        Server::start(rules(&key)),
        Server::start(rules(&key))
    );
    let home = Home::new()
        .knows(&[&first, &second, &target])
        .key("id_ed25519", &key);
    let endpoint = Endpoint {
        ssh_common_args: format!(
            "-J one@127.0.0.1:{},two@127.0.0.1:{}",
            first.port, second.port
        ),
        ..endpoint(&target)
    };
    let connection = home.connect(&endpoint).await.unwrap();
    assert_eq!(run(&connection, "echo there").await.0, "there\n");
    assert_eq!(first.attempts(), ["one key"]);
    assert_eq!(second.attempts(), ["two key"]);
    assert_eq!(target.attempts(), ["deploy key"]);
    connection.close().await;
}

#[tokio::test]
async fn much_goes_both_ways_at_once_through_jump_hosts() {
    const MUCH: usize = 32 << 20;
    let key = new_key();
    let (jump, target) = tokio::join!(Server::start(rules(&key)), Server::start(rules(&key)));
    let home = Home::new().knows(&[&jump, &target]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        ssh_common_args: format!("-J 127.0.0.1:{0},127.0.0.1:{0}", jump.port),
        ..endpoint(&target)
    };
    let connection = home.connect(&endpoint).await.unwrap();
    let mut channel = connection.exec("echo").await.unwrap();
    let mut stdin = channel.stdin;
    let writing = tokio::spawn(async move {
        stdin.write_all(&vec![7; MUCH]).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    channel.stdout.read_to_end(&mut back).await.unwrap();
    writing.await.unwrap();
    assert_eq!(back.len(), MUCH);
}

#[tokio::test]
async fn an_unknown_jump_host_is_refused_and_named() {
    let key = new_key();
    let (jump, target) = tokio::join!(Server::start(rules(&key)), Server::start(rules(&key)));
    let home = Home::new().knows(&[&target]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        ssh_common_args: format!("-J 127.0.0.1:{}", jump.port),
        ..endpoint(&target)
    };
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        format!(
            "at the jump host `127.0.0.1`: the host key of `127.0.0.1:{}` is not known: it shows \
             the ssh-ed25519 key {}",
            jump.port,
            fingerprint(&jump.host_key)
        )
    );
    assert!(jump.attempts().is_empty());
}

#[tokio::test]
async fn a_jump_host_that_cannot_reach_the_host_says_so() {
    let key = new_key();
    let jump = Server::start(rules(&key)).await;
    let home = Home::new().knows(&[&jump]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        port: Some(unused_port().await),
        ssh_common_args: format!("-J 127.0.0.1:{}", jump.port),
        ..endpoint(&jump)
    };
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        format!(
            "`127.0.0.1:$PORT` cannot be reached: the jump host `127.0.0.1:{}` cannot reach it: \
             connect failed",
            jump.port
        )
    );
}

#[tokio::test]
async fn a_proxy_command_carries_the_connection() {
    let key = new_key();
    let server = Server::start(rules(&key)).await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        ssh_common_args: "-o ProxyCommand='bash -c \"exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3\"'"
            .into(),
        ..endpoint(&server)
    };
    let connection = home.connect(&endpoint).await.unwrap();
    assert_eq!(run(&connection, "echo there").await.0, "there\n");
}

#[tokio::test]
async fn a_failing_proxy_command_tells_its_status_and_words() {
    let home = Home::new();
    let endpoint = Endpoint {
        ssh_common_args: "-o ProxyCommand='sh -c \"echo no way to %h >&2; exit 3\"'".into(),
        ..Endpoint::ssh("web1")
    };
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "the proxy command `exec sh -c \"echo no way to web1 >&2; exit 3\"` failed: it ended with \
         status 3, saying `no way to web1`"
    );
}

#[tokio::test]
async fn a_port_nobody_listens_on_refuses() {
    let home = Home::new();
    let endpoint = Endpoint {
        address: "127.0.0.1".into(),
        port: Some(unused_port().await),
        ..Endpoint::ssh("web1")
    };
    let (message, help) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "`127.0.0.1:$PORT` refused the connection: nothing listens there"
    );
    assert_eq!(
        help,
        "check that sshd runs there and that `ansible_port` is its port"
    );
}

#[tokio::test]
async fn a_server_that_never_speaks_times_out_in_the_key_exchange() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = Endpoint {
        address: "127.0.0.1".into(),
        port: Some(listener.local_addr().unwrap().port()),
        timeout: Duration::from_millis(50),
        ..Endpoint::ssh("web1")
    };
    assert_eq!(
        Home::new().failure(&endpoint).await,
        Failure::Timeout {
            stage: Stage::Handshake,
            after: Duration::from_millis(50),
        }
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_told_before_anything_else() {
    let failure = Home::new()
        .failure(&Endpoint::ssh("no-such-host.invalid"))
        .await;
    let Failure::Resolve { name, .. } = failure else {
        panic!("{failure:?}");
    };
    assert_eq!(name, "no-such-host.invalid");
}

#[tokio::test]
async fn a_server_that_is_not_ssh_is_told_apart() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let endpoint = Endpoint {
        address: "127.0.0.1".into(),
        port: Some(port),
        ..Endpoint::ssh("web1")
    };
    let failure = Home::new().failure(&endpoint).await;
    answering.await.unwrap();
    assert!(
        matches!(
            failure,
            Failure::Closed {
                stage: Stage::Handshake,
                ..
            }
        ),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_server_that_dies_under_a_command_ends_it_with_an_error() {
    let key = new_key();
    let server = Server::start(rules(&key)).await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let port = server.port;
    let connection = home.connect(&endpoint(&server)).await.unwrap();
    let mut channel = connection.exec("cat").await.unwrap();
    assert!(connection.is_open());
    drop(server);
    let error = channel.exit.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`127.0.0.1:{port}` closed the connection while a command was running")
    );
    let mut rest = Vec::new();
    assert_eq!(channel.stdout.read_to_end(&mut rest).await.unwrap(), 0);
    for _ in 0..2 {
        assert!(channel.stdin.write_all(&[0; 1024]).await.is_err());
    }
    channel.stdin.shutdown().await.unwrap();
    assert!(!connection.is_open());
    assert!(connection.exec("true").await.is_err());
}

#[tokio::test]
async fn a_writer_that_waits_for_room_hears_of_the_end() {
    let key = new_key();
    let server = Server::start(Rules {
        deaf: true,
        ..rules(&key)
    })
    .await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let connection = home.connect(&endpoint(&server)).await.unwrap();
    let mut channel = connection.exec("cat").await.unwrap();
    let writing = tokio::spawn(async move {
        let chunk = vec![0; 64 << 10];
        loop {
            if let Err(error) = channel.stdin.write_all(&chunk).await {
                return error.kind();
            }
        }
    });
    drop(server);
    assert_eq!(writing.await.unwrap(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_server_that_runs_no_commands_or_gives_no_terminal_says_so() {
    let key = new_key();
    let (mute, plain) = tokio::join!(
        Server::start(Rules {
            no_commands: true,
            ..rules(&key)
        }),
        Server::start(rules(&key))
    );
    let home = Home::new().knows(&[&mute, &plain]).key("id_ed25519", &key);
    let connection = home.connect(&endpoint(&mute)).await.unwrap();
    let error = connection
        .exec("true")
        .await
        .unwrap()
        .exit
        .await
        .unwrap_err();
    assert_eq!(
        error.failure,
        Failure::Channel {
            detail: "the server refuses to run commands for this user".into()
        }
    );
    let connection = home.connect(&endpoint(&plain)).await.unwrap();
    let error = connection
        .exec_in_terminal("true")
        .await
        .unwrap()
        .exit
        .await
        .unwrap_err();
    assert_eq!(
        error.failure,
        Failure::Channel {
            detail: "the server gives no terminal".into()
        }
    );
}

#[tokio::test]
async fn options_that_cannot_be_followed_are_errors_and_others_warnings() {
    let key = new_key();
    let server = Server::start(rules(&key)).await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let mut endpoint = Endpoint {
        ssh_args: "-C -o ControlMaster=auto -o ControlPersist=60s -o HostbasedAuthentication=yes"
            .into(),
        ..endpoint(&server)
    };
    let connection = home.connect(&endpoint).await.unwrap();
    assert_eq!(
        connection.warnings(),
        ["the ssh option `HostbasedAuthentication` is not supported and has no effect"]
    );
    assert_eq!(run(&connection, "echo compressed").await.0, "compressed\n");
    endpoint.ssh_args = "-o StrictHostKeyCheking=no".into();
    let (message, _) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "the ssh option `StrictHostKeyCheking` cannot be followed: there is no such option; did \
         you mean `StrictHostKeyChecking`?"
    );
}

#[tokio::test]
async fn algorithms_without_a_common_one_are_listed() {
    let key = new_key();
    let server = Server::start(rules(&key)).await;
    let home = Home::new().knows(&[&server]).key("id_ed25519", &key);
    let endpoint = Endpoint {
        password: Some(Secret::new("x")),
        ssh_args: "-o HostKeyAlgorithms=rsa-sha2-256".into(),
        ..endpoint(&server)
    };
    let (message, help) = home.story(&endpoint).await;
    assert_eq!(
        message,
        "no common host key algorithm with `127.0.0.1:$PORT`: ours are rsa-sha2-256; theirs are \
         ssh-ed25519"
    );
    assert_eq!(
        help,
        "add one of theirs with `-o HostKeyAlgorithms=+NAME` in `ansible_ssh_common_args`"
    );
}
