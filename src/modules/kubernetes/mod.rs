//! The modules of Kubernetes: a cluster's API, asked with the target's `kubectl`.
//!
//! `kubectl` reads the configuration and logs in; what is asked of the API is said by path, as
//! Ansible's own library does, so that no version of `kubectl` decides what a kind is.

mod hidden;
mod info;
mod kubectl;
mod ready;

pub(super) use info::{K8sInfoArgs, run_info};
