//! Whether a container runs: started, stopped, paused, attended, waited for.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Work, id, is};
use crate::machine::Effect;
use crate::modules::Failure;

impl Work<'_> {
    /// Starts, restarts, stops or pauses the container.
    pub(super) fn set_running(
        &mut self,
        container: &mut Json,
        was_running: bool,
    ) -> Result<(), Failure> {
        let is_running = is(Some(container), "Running");
        let wants_running = matches!(self.args.state.as_str(), "started" | "healthy");
        if wants_running && !is_running {
            self.differs("running", true, was_running);
            self.start(container)?;
        } else if wants_running && self.args.restart {
            self.differs("restarted", true, false);
            let id = id(container);
            self.act(json!({"restarted": id, "timeout": self.args.stop_timeout}));
            let wait = self
                .args
                .stop_timeout
                .map(|timeout| format!("?t={timeout}"));
            let path = format!("/containers/{id}/restart{}", wait.unwrap_or_default());
            let name = self.args.name.clone();
            let effect = self
                .daemon
                .undone_by(format!("restart container {name}"), &["restart", &name]);
            self.daemon.post(&path, None, effect)?;
            self.look_again(container)?;
        } else if self.args.state == "stopped" && is_running {
            self.differs("running", false, was_running);
            self.stop(container)?;
            self.look_again(container)?;
        }
        let is_paused = is(Some(container), "Paused");
        let Some(paused) = self.args.paused.filter(|paused| *paused != is_paused) else {
            return Ok(());
        };
        if !wants_running {
            return Ok(());
        }
        self.differs("paused", paused, is_paused);
        self.act(json!({"set_paused": paused}));
        let (verb, back) = if paused {
            ("pause", "unpause")
        } else {
            ("unpause", "pause")
        };
        let name = self.args.name.clone();
        let effect = self
            .daemon
            .undone_by(format!("{verb} container {name}"), &[back, &name]);
        let path = format!("/containers/{}/{verb}", id(container));
        self.daemon.post(&path, None, effect)?;
        self.look_again(container)
    }

    fn start(&mut self, container: &mut Json) -> Result<(), Failure> {
        let id = id(container);
        let name = self.args.name.clone();
        self.act(json!({"started": id}));
        let effect = self
            .daemon
            .undone_by(format!("start container {name}"), &["stop", &name]);
        let path = format!("/containers/{id}/start");
        let started = self.daemon.post(&path, None, effect).map_err(|failure| {
            Failure::new(format!("Error starting container {id}: {}", failure.msg))
        })?;
        if started.is_none() {
            return Ok(());
        }
        if self.args.detach == Some(false) {
            return self.attend(container, &id);
        }
        self.look_again(container)
    }

    /// Waits for the end of an attached command and takes its output.
    fn attend(&mut self, container: &mut Json, id: &str) -> Result<(), Failure> {
        let nothing = Effect::Compensated {
            what: format!("wait for container {}", self.args.name),
            undo: Vec::new(),
        };
        let ended = self
            .daemon
            .post(&format!("/containers/{id}/wait"), None, nothing)?
            .unwrap_or_default();
        let status = ended.get("StatusCode").and_then(Json::as_i64).unwrap_or(0);
        let output = if self.args.auto_remove == Some(true) {
            "Cannot retrieve result as auto_remove is enabled".to_owned()
        } else {
            let path = format!("/containers/{id}/logs?stdout=1&stderr=1");
            let bytes = self.daemon.get_bytes(&path)?;
            let is_tty = self.args.tty == Some(true);
            if is_tty {
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                demultiplexed(&bytes)
            }
        };
        self.look_again(container)?;
        if self.args.cleanup {
            self.remove(&container.clone())?;
        }
        container["Output"] = output.into();
        self.status = Some(status);
        Ok(())
    }

    pub(super) fn wait_for_health(&mut self) -> Result<(), Failure> {
        let id = id(&self.facts);
        let started = Instant::now();
        loop {
            let Some(found) = self.daemon.container(&id)? else {
                return Err(Failure::new(format!(
                    "Encontered vanished container while waiting for container \"{id}\""
                )));
            };
            let health = found
                .get("State")
                .and_then(|state| state.get("Health"))
                .and_then(|health| health.get("Status"))
                .and_then(Json::as_str)
                .unwrap_or("none")
                .to_owned();
            self.facts = found;
            match health.as_str() {
                "healthy" | "none" => return Ok(()),
                "starting" | "unhealthy" => {}
                other => {
                    return Err(Failure::new(format!(
                        "Encontered unexpected state \"{other}\" while waiting for container \
                         \"{id}\""
                    )));
                }
            }
            let limit = self.args.healthy_wait_timeout.unwrap_or_default();
            if limit > 0.0 && started.elapsed().as_secs_f64() > limit {
                return Err(Failure::new(format!(
                    "Timeout of {limit} seconds exceeded while waiting for container \"{id}\""
                )));
            }
            self.daemon.machine.sleep(Duration::from_secs(1))?;
        }
    }
}

/// Takes the frames of standard output and error apart and puts their texts together.
fn demultiplexed(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let end = length.min(tail.len());
        out.extend_from_slice(&tail[..end]);
        rest = &tail[end..];
    }
    String::from_utf8_lossy(&out).into_owned()
}
