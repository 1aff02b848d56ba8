//! `zypper` and `zypper_repository`: packages of SUSE, and where they come from.

mod packages;
mod repository;
mod xml;

pub(super) use packages::{ZypperArgs, run_packages};
pub(super) use repository::{ZypperRepositoryArgs, run_repository};
