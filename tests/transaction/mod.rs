//! Transactions on one host, with real processes that really die.

mod host;

use backstay::agent::client::{AgentError, OpenError, RequestError};
use backstay::agent::protocol::{Committed, Decision, Vote};
use backstay::machine::Process;
use backstay::transaction::state::State;
use backstay::value::Value;
use host::{Host, LEASE, TOKEN, ended, id, kill, open, open_briefly, refusal, stop};

fn message(reply: &backstay::agent::protocol::Reply) -> &str {
    let message = reply.result.get("msg").and_then(Value::as_str);
    message.unwrap_or_default()
}

fn why<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> String {
    answer.unwrap_err().to_string()
}

#[tokio::test]
async fn a_commit_keeps_the_new_state_as_a_generation_and_frees_the_lock() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let guardian = host.guardian();
    let new = host.digest();
    assert_eq!(
        worker.agent.prepare().await.unwrap(),
        Vote::Yes { changed: true }
    );
    let committed = Committed {
        generation: Some(1),
    };
    assert_eq!(worker.agent.commit(true).await.unwrap(), committed);
    host.assert_ended(&id(1), State::Committed, &new);
    assert_eq!(worker.agent.commit(true).await.unwrap(), committed);
    ended(guardian).await;
    let told = host.told(&id(1));
    assert_eq!((told.generation, told.healthy), (Some(1), true));
}

#[tokio::test]
async fn an_abort_puts_everything_back_and_says_so() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    let guardian = host.guardian();
    let report = worker.agent.abort("a task failed").await.unwrap();
    assert!(report.is_rolled_back());
    host.assert_ended(&id(1), State::RolledBack, &old);
    assert_eq!(host.told(&id(1)).reason.as_deref(), Some("a task failed"));
    ended(guardian).await;
    let late = worker.add_line(&host.path("www/index"), 4, "late").await;
    assert!(message(&late).starts_with("the transaction of this task is not open here any more"));
    assert_eq!(host.digest(), old);
}

#[tokio::test]
async fn a_deploy_that_changes_nothing_leaves_nothing() {
    let host = Host::new();
    let mut worker = host.worker().await;
    worker.agent.open(open(1)).await.unwrap();
    worker.add_line(&host.path("www/index"), 1, "old").await;
    assert_eq!(
        worker.agent.prepare().await.unwrap(),
        Vote::Yes { changed: false }
    );
    let committed = worker.agent.commit(true).await.unwrap();
    assert_eq!(committed, Committed { generation: None });
    assert_eq!(worker.agent.transactions().await.unwrap(), []);
    assert_eq!(host.holder(), None);
}

#[tokio::test]
async fn a_killed_worker_is_undone_by_its_guardian() {
    for is_prepared in [false, true] {
        let host = Host::new();
        let old = host.digest();
        let mut worker = host.deploying(open_briefly(1)).await;
        if is_prepared {
            worker.agent.prepare().await.unwrap();
        }
        let guardian = host.guardian();
        worker.kill();
        ended(guardian).await;
        host.assert_ended(&id(1), State::RolledBack, &old);
        assert_eq!(
            host.told(&id(1)).reason.as_deref(),
            Some("the connection to the controller was lost")
        );
    }
}

#[tokio::test]
async fn a_closed_channel_is_undone_after_the_grace() {
    let host = Host::new();
    let old = host.digest();
    let worker = host.deploying(open_briefly(1)).await;
    let guardian = host.guardian();
    drop(worker.agent);
    ended(guardian).await;
    host.assert_ended(&id(1), State::RolledBack, &old);
}

#[tokio::test]
async fn a_silent_worker_is_killed_and_undone_when_the_lease_is_over() {
    let host = Host::new();
    let old = host.digest();
    let mut open = open(1);
    open.lease = 0.5;
    let worker = host.deploying(open).await;
    let guardian = host.guardian();
    stop(worker.process);
    ended(guardian).await;
    host.assert_ended(&id(1), State::RolledBack, &old);
    assert_eq!(
        host.told(&id(1)).reason.as_deref(),
        Some("no sign of life came from the controller for 0.5 seconds")
    );
    assert!(!worker.process.is_running());
}

#[tokio::test]
async fn heartbeats_keep_a_long_task_alive_beyond_the_lease() {
    let host = Host::new();
    let mut open = open(1);
    open.lease = 1.0;
    let mut worker = host.deploying(open).await;
    let reply = worker.shell(4, "sleep 2.5; echo slept").await;
    assert_eq!(reply.result.get("stdout"), Some(&Value::from("slept")));
    assert!(worker.agent.abort("enough").await.is_ok());
}

#[tokio::test]
async fn without_its_guardian_a_worker_changes_nothing_more_and_has_a_new_one_undo() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    let new = host.digest();
    kill(host.guardian());
    // The worker hears of it by itself; a vote is refused from then on.
    loop {
        match worker.agent.prepare().await.unwrap() {
            Vote::Yes { .. } => tokio::task::yield_now().await,
            Vote::No { why } => {
                assert!(why.starts_with("the transaction has lost its guardian"));
                break;
            }
        }
    }
    let refused = worker.add_line(&host.path("www/index"), 4, "more").await;
    assert!(message(&refused).starts_with("the transaction has lost its guardian"));
    assert_eq!(host.digest(), new);
    let report = worker.agent.abort("a task failed").await.unwrap();
    assert!(report.is_rolled_back());
    host.assert_ended(&id(1), State::RolledBack, &old);
    assert_eq!(host.told(&id(1)).reason.as_deref(), Some("a task failed"));
}

#[tokio::test]
async fn what_died_whole_is_undone_by_the_next_contact() {
    let host = Host::new();
    let old = host.digest();
    let worker = host.deploying(open(1)).await;
    kill(host.guardian());
    worker.kill();
    let mut next = host.worker().await;
    let opened = next.agent.open(open(2)).await.unwrap();
    let settled: Vec<_> = opened
        .recovered
        .iter()
        .map(|one| (one.id.clone(), one.state))
        .collect();
    assert_eq!(settled, [(id(1), State::RolledBack)]);
    assert_eq!(host.digest(), old);
    next.change(&host).await;
    next.agent.abort("enough").await.unwrap();
    host.assert_ended(&id(2), State::RolledBack, &old);
}

#[tokio::test]
async fn a_worker_whose_guardian_died_is_killed_by_who_recovers() {
    let host = Host::new();
    let old = host.digest();
    let worker = host.deploying(open(1)).await;
    // Stopped, it cannot notice; it holds the journal until it is killed.
    stop(worker.process);
    kill(host.guardian());
    let mut next = host.worker().await;
    let list = next.agent.transactions().await.unwrap();
    assert_eq!(list[0].state, State::RolledBack);
    assert!(!worker.process.is_running());
    host.assert_ended(&id(1), State::RolledBack, &old);
}

#[tokio::test]
async fn what_was_prepared_when_everything_died_waits_for_its_decision() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let new = host.digest();
    worker.agent.prepare().await.unwrap();
    kill(host.guardian());
    worker.kill();
    let mut next = host.worker().await;
    assert_eq!(
        next.agent.transactions().await.unwrap()[0].state,
        State::Prepared
    );
    let Err(OpenError::Locked(holder)) = next.agent.open(open(2)).await else {
        panic!("a prepared transaction holds its lock");
    };
    assert_eq!(holder.id, id(1));
    let recovered = next.agent.recover(&id(1), Decision::Commit).await.unwrap();
    assert_eq!(
        (recovered.state, recovered.generation),
        (State::Committed, Some(1))
    );
    host.assert_ended(&id(1), State::Committed, &new);
}

#[tokio::test]
async fn a_fresh_connection_with_the_token_takes_over_and_commits() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let guardian = host.guardian();
    let new = host.digest();
    worker.agent.prepare().await.unwrap();
    let mut fresh = host.worker().await;
    let attached = fresh.agent.attach(&id(1), TOKEN, LEASE).await.unwrap();
    assert_eq!(
        (attached.state, attached.last_seq, attached.done),
        (State::Prepared, Some(3), vec![1, 2, 3])
    );
    let stale = worker.add_line(&host.path("www/index"), 4, "stale").await;
    assert!(message(&stale).starts_with("the transaction of this task is not open here any more"));
    worker.agent.close().await;
    let committed = fresh.agent.commit(true).await.unwrap();
    assert_eq!(committed.generation, Some(1));
    ended(guardian).await;
    host.assert_ended(&id(1), State::Committed, &new);
    let mut again = host.worker().await;
    let attached = again.agent.attach(&id(1), TOKEN, LEASE).await.unwrap();
    assert_eq!(attached.state, State::Committed);
    assert_eq!(again.agent.commit(true).await.unwrap(), committed);
}

#[tokio::test]
async fn a_wrong_token_takes_nothing_over() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let mut stranger = host.worker().await;
    let other = "ffffffffffffffffffffffffffffffff";
    let refused = stranger.agent.attach(&id(1), other, LEASE).await;
    assert_eq!(why(refused), "the token is not this transaction's");
    let unknown = stranger.agent.attach(&id(9), TOKEN, LEASE).await;
    assert_eq!(
        why(unknown),
        format!("this host knows no transaction {}", id(9))
    );
    worker.add_line(&host.path("www/index"), 4, "on").await;
    worker.agent.abort("enough").await.unwrap();
}

#[tokio::test]
async fn a_task_runs_once_although_the_link_was_cut_within_it() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let (started, go) = (host.path("started"), host.path("go"));
    for path in [&started, &go] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
    }
    let text = format!(
        "echo x >>{}; echo up >{}; read _ <{}; echo done",
        host.path("www/count").display(),
        started.display(),
        go.display()
    );
    let began = tokio::task::spawn_blocking(move || std::fs::read_to_string(started).unwrap());
    tokio::select! {
        _ = worker.shell(4, &text) => panic!("the task waits"),
        text = began => assert_eq!(text.unwrap(), "up\n"),
    }
    // Dropping the agent is what a cut link looks like on the host.
    drop(worker.agent);
    let mut fresh = host.worker().await;
    let free = tokio::task::spawn_blocking(move || std::fs::write(go, "\n").unwrap());
    let attached = fresh.agent.attach(&id(1), TOKEN, LEASE).await.unwrap();
    free.await.unwrap();
    assert_eq!(attached.last_seq, Some(4));
    let reply = fresh.shell(4, &text).await;
    let count = std::fs::read_to_string(host.path("www/count")).unwrap();
    assert_eq!((message(&reply), count.as_str()), ("", "x\n"));
    assert_eq!(reply.result.get("stdout"), Some(&Value::from("done")));
    fresh.agent.abort("enough").await.unwrap();
}

#[tokio::test]
async fn the_second_opener_is_told_of_the_first_and_gets_through_after_it() {
    let host = Host::new();
    let mut first = host.deploying(open(1)).await;
    let mut second = host.worker().await;
    let Err(OpenError::Locked(holder)) = second.agent.open(open(2)).await else {
        panic!("the lock is held");
    };
    assert_eq!(
        (holder.id.as_str(), holder.run.who.as_str()),
        (id(1).as_str(), "ann")
    );
    assert_eq!(second.agent.holder("shop").await.unwrap(), Some(*holder));
    let mut other = open(3);
    other.application = "blog".to_owned();
    second.agent.open(other).await.unwrap();
    second.agent.abort("enough").await.unwrap();
    first.agent.abort("enough").await.unwrap();
    second.agent.open(open(2)).await.unwrap();
    second.agent.abort("enough").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_deploys_at_once_all_get_through_one_after_the_other() {
    let host = std::sync::Arc::new(Host::new());
    let mut running = tokio::task::JoinSet::new();
    for number in 1..=20 {
        let host = std::sync::Arc::clone(&host);
        running.spawn(async move {
            let mut worker = host.worker().await;
            loop {
                match worker.agent.open(open(number)).await {
                    Ok(_) => break,
                    Err(OpenError::Locked(holder)) => {
                        // Until the holder is gone there is nothing to try for.
                        if let Some(guardian) = holder.pid.and_then(Process::find) {
                            ended(guardian).await;
                        }
                    }
                    Err(error) => panic!("{}", refusal(Err(error))),
                }
            }
            let line = format!("deploy {number}");
            worker.add_line(&host.path("www/index"), 1, &line).await;
            worker.agent.prepare().await.unwrap();
            let committed = worker.agent.commit(true).await.unwrap();
            worker.agent.close().await;
            committed.generation.unwrap()
        });
    }
    let mut generations = running.join_all().await;
    generations.sort_unstable();
    assert_eq!(generations, (1..=20).collect::<Vec<_>>());
    let text = std::fs::read_to_string(host.path("www/index")).unwrap();
    assert_eq!(text.lines().count(), 21);
}

#[tokio::test]
async fn daemons_of_a_deploy_go_with_its_undo_and_stay_with_its_commit() {
    let host = Host::new();
    let daemon = "setsid sleep 600 >/dev/null 2>&1 & echo $!";
    let mut worker = host.worker().await;
    for (number, is_committed) in [(1, false), (2, true)] {
        worker.agent.open(open(number)).await.unwrap();
        let reply = worker.shell(1, daemon).await;
        let pid = reply.result.get("stdout").unwrap().to_string();
        let daemon = Process::find(pid.parse().unwrap()).unwrap();
        if is_committed {
            worker.agent.prepare().await.unwrap();
            worker.agent.commit(true).await.unwrap();
        } else {
            worker.agent.abort("enough").await.unwrap();
        }
        assert_eq!(daemon.is_running(), is_committed);
        kill(daemon);
    }
}

#[tokio::test]
async fn an_abort_does_not_wait_for_the_task_that_runs() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    let started = host.path("started");
    let text = format!("touch {}; sleep 600", started.display());
    let began = async {
        while !started.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = worker.shell(4, &text) => panic!("the task takes long"),
        () = began => {}
    }
    worker.agent.abort("interrupted").await.unwrap();
    host.assert_ended(&id(1), State::RolledBack, &old);
}

#[tokio::test]
async fn a_savepoint_is_gone_back_to_in_place() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    let new = host.digest();
    worker.agent.savepoint("block").await.unwrap();
    worker
        .add_line(&host.path("www/index"), 4, "in the block")
        .await;
    assert!(
        worker
            .agent
            .roll_back_to("block")
            .await
            .unwrap()
            .is_rolled_back()
    );
    assert_eq!(host.digest(), new);
    worker
        .add_line(&host.path("www/index"), 5, "in its rescue")
        .await;
    let unknown = worker.agent.roll_back_to("nothing").await;
    assert_eq!(why(unknown), "there is no savepoint `nothing`");
    worker.agent.abort("enough").await.unwrap();
    host.assert_ended(&id(1), State::RolledBack, &old);
}

#[tokio::test]
async fn a_broken_lock_undoes_its_holder() {
    let host = Host::new();
    let old = host.digest();
    let worker = host.deploying(open(1)).await;
    let mut other = host.worker().await;
    let recovered = other.agent.break_lock("shop").await.unwrap();
    assert_eq!(recovered.state, State::RolledBack);
    host.assert_ended(&id(1), State::RolledBack, &old);
    assert!(!worker.process.is_running());
    let free = other.agent.break_lock("shop").await;
    assert_eq!(why(free), "nobody holds the lock of `shop` here");
}

#[tokio::test]
async fn a_generation_is_reverted_from_what_it_kept() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    worker.agent.prepare().await.unwrap();
    worker.agent.commit(true).await.unwrap();
    worker.agent.open(open(2)).await.unwrap();
    let report = worker.agent.roll_back_generation(0).await.unwrap();
    assert!(report.is_rolled_back(), "{report:?}");
    assert_eq!(host.digest(), old);
    let unknown = worker.agent.roll_back_generation(7).await;
    assert_eq!(why(unknown), "this host has no generation 7");
    worker.agent.prepare().await.unwrap();
    let committed = worker.agent.commit(true).await.unwrap();
    assert_eq!(committed.generation, Some(2));
    let list = worker.agent.transactions().await.unwrap();
    let listed: Vec<_> = list.iter().map(|one| one.generation).collect();
    assert_eq!(listed, [Some(2), Some(1)]);
}

#[tokio::test]
async fn recover_reverts_what_is_committed_and_aborts_what_is_open() {
    let host = Host::new();
    let old = host.digest();
    let mut worker = host.deploying(open(1)).await;
    worker.agent.prepare().await.unwrap();
    worker.agent.commit(true).await.unwrap();
    let refused = worker.agent.recover(&id(1), Decision::Abort).await;
    assert_eq!(why(refused), "the transaction is committed");
    let recovered = worker
        .agent
        .recover(&id(1), Decision::Revert)
        .await
        .unwrap();
    assert_eq!(recovered.state, State::RolledBack);
    assert_eq!(host.digest(), old);
    let mut open_one = host.deploying(open(2)).await;
    let recovered = worker.agent.recover(&id(2), Decision::Abort).await.unwrap();
    assert_eq!(recovered.state, State::RolledBack);
    assert!(matches!(
        open_one.agent.prepare().await,
        Err(RequestError::Agent(AgentError::Lost { .. }))
    ));
    host.assert_ended(&id(2), State::RolledBack, &old);
}

#[tokio::test]
async fn an_id_that_was_used_opens_nothing() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    worker.agent.abort("enough").await.unwrap();
    assert_eq!(
        refusal(worker.agent.open(open(1)).await),
        format!(
            "this host knows the transaction {} already: rolled back",
            id(1)
        )
    );
}

#[tokio::test]
async fn recovery_at_boot_undoes_what_the_machine_went_down_in() {
    let host = Host::new();
    let old = host.digest();
    let worker = host.deploying(open(1)).await;
    kill(host.guardian());
    worker.kill();
    let status = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstay"))
        .arg("recover-local")
        .arg("--state")
        .arg(host.state())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    host.assert_ended(&id(1), State::RolledBack, &old);
}

#[tokio::test]
async fn others_cannot_look_into_the_state_directory() {
    let host = Host::new();
    let mut worker = host.deploying(open(1)).await;
    let mut pending = vec![host.state()];
    while let Some(path) = pending.pop() {
        use std::os::unix::fs::PermissionsExt;
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", path.display());
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        } else if meta.is_file() {
            let text = std::fs::read(&path).unwrap();
            let has_token = text
                .windows(TOKEN.len())
                .any(|part| part == TOKEN.as_bytes());
            assert!(!has_token, "{} holds the token", path.display());
        }
    }
    worker.agent.abort("enough").await.unwrap();
}
