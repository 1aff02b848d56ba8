//! The modules for `PostgreSQL`: databases, roles, privileges, schemas, extensions, statements.
//!
//! They speak to the server through the target's own `psql`, which every server comes with.

mod connection;
mod database;
mod extension;
mod membership;
mod privileges;
mod query;
mod role;
mod rows;
mod schema;
mod statements;
#[cfg(test)]
mod testing;

pub(super) use database::{PostgresqlDbArgs, run_database};
pub(super) use extension::{PostgresqlExtArgs, run_extension};
pub(super) use membership::{PostgresqlMembershipArgs, run_membership};
pub(super) use privileges::{PostgresqlPrivsArgs, run_privileges};
pub(super) use query::{PostgresqlQueryArgs, PostgresqlScriptArgs, run_query, run_script};
pub(super) use role::{PostgresqlUserArgs, run_role};
pub(super) use schema::{PostgresqlSchemaArgs, run_schema};

/// Declares a module's options and those that say where the server is and as whom to log in.
macro_rules! postgresql_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
        $($rules:tt)*
    ) => {
        crate::arguments! {
            $(#[doc = $about])*
            pub(crate) struct $name for $module {
                $($fields)*
                /// Whom to log in as.
                login_user: Option<String> { default: "postgres", aliases: ["login"] },
                login_password: Option<String> { no_log },
                /// The server; the socket by default.
                login_host: Option<String> { aliases: ["host"] },
                /// The directory of the socket.
                login_unix_socket: Option<String> { aliases: ["unix_socket"] },
                login_port: i64 { default: "5432", aliases: ["port"] },
                ssl_mode: String {
                    default: "prefer",
                    choices: ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
                    aliases: ["sslmode"],
                },
                /// The authority of the server's certificate.
                ca_cert: Option<String> { aliases: ["ssl_rootcert"] },
                ssl_cert: Option<std::path::PathBuf> {},
                ssl_key: Option<std::path::PathBuf> {},
                /// More parameters of the connection.
                connect_params: Option<crate::value::Map> {},
                /// The role to work as.
                session_role: Option<String> {},
                /// Accept names that look like an attack.
                trust_input: bool { default: "true" },
            }
            $($rules)*
        }

        impl $name {
            /// Prepares to talk to the server about `database`.
            fn server<'m>(
                &self,
                machine: &'m mut crate::machine::Machine,
                database: &str,
            ) -> Result<super::connection::Server<'m>, crate::modules::Failure> {
                super::connection::Server::new(machine, super::connection::Login {
                    database: database.to_owned(),
                    user: self.login_user.clone(),
                    password: self.login_password.clone(),
                    host: super::connection::host(
                        self.login_host.as_deref(),
                        self.login_unix_socket.as_deref(),
                    ),
                    port: self.login_port,
                    ssl_mode: self.ssl_mode.clone(),
                    ca_cert: self.ca_cert.clone(),
                    ssl_cert: self.ssl_cert.clone(),
                    ssl_key: self.ssl_key.clone(),
                    more: self.connect_params.clone(),
                    role: self.session_role.clone(),
                })
            }
        }
    };
}
use postgresql_arguments;
