//! The modules for `MySQL` and `MariaDB`: databases, users, statements, settings, replication.
//!
//! They speak to the server through the target's own `mariadb` or `mysql`, as what undoes a change
//! must be a program in any case: the guardian runs it alone.

mod account;
mod connection;
mod database;
mod dump;
mod hash;
mod info;
mod privileges;
mod query;
mod replication;
mod rows;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod user;
mod variables;

pub(super) use database::{MysqlDbArgs, run_database};
pub(super) use info::{MysqlInfoArgs, run_info};
pub(super) use query::{MysqlQueryArgs, run_query};
pub(super) use replication::{MysqlReplicationArgs, run_replication};
pub(super) use user::{MysqlUserArgs, run_user};
pub(super) use variables::{MysqlVariablesArgs, run_variables};

/// Declares a module's options and those that say where the server is and as whom to log in.
macro_rules! mysql_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
        $($rules:tt)*
    ) => {
        crate::arguments! {
            $(#[doc = $about])*
            pub(crate) struct $name for $module {
                $($fields)*
                login_user: Option<String> {},
                login_password: Option<String> { no_log },
                /// The server; of `localhost` the socket is taken where there is one.
                login_host: String { default: "localhost" },
                login_port: i64 { default: "3306" },
                /// The socket's file.
                login_unix_socket: Option<String> {},
                /// The client's file of options; its section `client` is read.
                config_file: std::path::PathBuf { default: "~/.my.cnf" },
                /// Seconds to wait for a connection.
                connect_timeout: i64 { default: "30" },
                client_cert: Option<std::path::PathBuf> { aliases: ["ssl_cert"] },
                client_key: Option<std::path::PathBuf> { aliases: ["ssl_key"] },
                /// The authority of the server's certificate.
                ca_cert: Option<std::path::PathBuf> { aliases: ["ssl_ca"] },
                /// Whether the server's certificate must be for its name.
                check_hostname: Option<bool> {},
            }
            $($rules)*
        }

        impl $name {
            /// Says where the server is, and who one is there.
            fn login(&self, database: Option<&str>) -> super::connection::Login {
                super::connection::Login {
                    user: self.login_user.clone(),
                    password: self.login_password.clone(),
                    host: self.login_host.clone(),
                    port: self.login_port,
                    socket: self.login_unix_socket.clone(),
                    config_file: self.config_file.clone(),
                    config_overrides: false,
                    connect_timeout: self.connect_timeout,
                    certificate: self.client_cert.clone(),
                    key: self.client_key.clone(),
                    authority: self.ca_cert.clone(),
                    check_hostname: self.check_hostname,
                    database: database.map(str::to_owned),
                }
            }
        }
    };
}
use mysql_arguments;
