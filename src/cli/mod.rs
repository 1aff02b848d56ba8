//! The command line: options to engine values, the final error, the exit code.
//!
//! The only room that reads the environment, the home directory and the terminal, and the only
//! one that prints outside a reporter.

mod aftermath;
mod arguments;
mod certificate;
mod config;
mod deploy;
mod doctor;
mod documentation;
mod execution;
mod exporter;
mod extra_vars;
mod fact_cache;
mod files;
mod fleet;
mod http;
mod inventory;
mod job;
mod listing;
mod lock;
mod metrics;
mod notices;
mod outcomes;
mod play;
mod preflight;
mod preparation;
mod programs;
mod recover;
mod rejection;
mod required_secrets;
mod rollback;
mod run;
mod run_options;
mod runners;
mod schema;
mod screen;
mod secrets;
mod setting;
mod signer;
mod state;
mod status;
mod surroundings;
mod terminal;
mod vault;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Parser;

use crate::config::{Config, Surroundings};
use crate::error::{
    EXIT_ERROR, EXIT_OK, EXIT_PARSE_ERROR, EXIT_SETTINGS, Error, ErrorKind, Result,
};
use crate::report::{Painter, Palette, diagnostic, github};
use crate::source::Mark;
use arguments::{Backstay, Command, OutputFormat};
use preparation::{Preparation, Purpose};

/// Runs the command line and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(answer) => return answer_of(&answer),
    };
    let heading = heading(started_as(&arguments));
    match dispatch(command, heading) {
        Ok(code) => code,
        Err(errors) => fail(&errors, heading),
    }
}

/// Returns what stands before an error: Ansible's word under the names of Ansible's commands.
fn heading(name: &str) -> &'static str {
    if name.starts_with("ansible") {
        "[ERROR]"
    } else {
        diagnostic::HEADING
    }
}

/// Reads the command line under the name the binary was started as.
fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    match started_as(arguments) {
        "ansible-playbook" => arguments::PlayArgs::try_parse_from(arguments).map(Command::Play),
        "ansible" => arguments::RunArgs::try_parse_from(arguments).map(Command::Run),
        "ansible-inventory" => {
            arguments::InventoryArgs::try_parse_from(arguments).map(Command::Inventory)
        }
        "ansible-config" => arguments::ConfigArgs::try_parse_from(arguments).map(Command::Config),
        "ansible-vault" => vault::VaultArgs::try_parse_from(arguments).map(Command::Vault),
        _ => Backstay::try_parse_from(arguments).map(|line| line.command),
    }
}

fn started_as(arguments: &[OsString]) -> &str {
    arguments
        .first()
        .and_then(|name| Path::new(name).file_name())
        .and_then(|name| name.to_str())
        .unwrap_or("backstay")
}

/// Prints clap's answer: help goes to stdout with code 0, a usage error to stderr with code 2.
fn answer_of(answer: &clap::Error) -> u8 {
    // A closed pipe leaves nobody to tell.
    answer.print().ok();
    u8::try_from(answer.exit_code()).unwrap_or(EXIT_ERROR)
}

fn dispatch(command: Command, heading: &str) -> Result<u8, Vec<Error>> {
    let surroundings = surroundings::read().map_err(|error| vec![error])?;
    let is_annotated = is_annotated(&command, &surroundings);
    let checkout = surroundings::checkout(&surroundings);
    perform(command, surroundings, heading).inspect_err(|errors| {
        if is_annotated {
            let lines = errors
                .iter()
                .map(|error| github::of_error(error, &checkout) + "\n");
            // Without a stdout there is nobody to tell.
            write!(io::stdout().lock(), "{}", lines.collect::<String>()).ok();
        }
    })
}

/// Tells whether errors before the run are annotated too.
fn is_annotated(command: &Command, surroundings: &Surroundings) -> bool {
    let in_actions = surroundings.environment.get("GITHUB_ACTIONS");
    let chosen = match command {
        Command::Deploy(args) => args.play.output.output,
        Command::Play(args) => return args.output.output == Some(OutputFormat::Github),
        _ => return false,
    };
    chosen.map_or(in_actions.is_some_and(|value| value == "true"), |format| {
        format == OutputFormat::Github
    })
}

fn perform(command: Command, surroundings: Surroundings, heading: &str) -> Result<u8, Vec<Error>> {
    let named = match &command {
        Command::Config(args) => config::named_file(args, &surroundings)?,
        _ => None,
    };
    let loaded = match &named {
        Some(path) => Config::load_file(path, &surroundings),
        None => Config::load(&surroundings),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(errors) => {
            fail(&errors, heading);
            return Ok(EXIT_SETTINGS);
        }
    };
    match command {
        Command::Config(args) => config::run(
            &args,
            &config,
            &surroundings,
            heading,
            &mut io::stdout().lock(),
        ),
        Command::Vault(args) => Ok(match vault::run(&args, &surroundings, &config) {
            Ok(()) => EXIT_OK,
            Err(error) => {
                fail(std::slice::from_ref(&error), heading);
                vault::exit_code(&error)
            }
        }),
        Command::Inventory(args) => {
            let prepared = Preparation::new(
                surroundings,
                config,
                &args.sources,
                &args.vault,
                Purpose::Look,
            )?;
            tell_warnings(&prepared);
            inventory::run(&args, &prepared, &mut io::stdout().lock()).map(|()| EXIT_OK)
        }
        Command::Run(args) => {
            let sources = &args.hosts.sources;
            let mut prepared =
                Preparation::new(surroundings, config, sources, &args.vault, Purpose::Run)?;
            prepared.check_pattern(&args.pattern)?;
            run::run(&args, &prepared)
        }
        Command::Deploy(args) => {
            let sources = &args.play.hosts.sources;
            let prepared = Preparation::new(
                surroundings,
                config,
                sources,
                &args.play.vault,
                Purpose::Run,
            )?;
            deploy::run(&args, &prepared)
        }
        Command::Doctor(mut args) => {
            let prepared = prepare(surroundings, config, &args.fleet)?;
            doctor::run(&mut args, &prepared)
        }
        Command::Secrets(args) => {
            required_secrets::run(&args, &surroundings).map_err(|error| vec![error])
        }
        Command::Doc(args) => documentation::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Preflight(args) => {
            preflight::run(&args, &surroundings).map_err(|error| vec![error])
        }
        Command::Exporter(args) => exporter::run(&args, &surroundings).map_err(|error| vec![error]),
        Command::Status(args) => {
            let prepared = prepare(surroundings, config, &args.fleet)?;
            status::run(&args, &prepared)
        }
        Command::History(args) => {
            let prepared = prepare(surroundings, config, &args.fleet)?;
            status::history(&args, &prepared)
        }
        Command::Rollback(args) => {
            let prepared = prepare(surroundings, config, &args.fleet)?;
            rollback::run(&args, &prepared)
        }
        Command::Recover(args) => {
            let prepared = prepare(surroundings, config, &args.fleet)?;
            recover::run(&args, &prepared)
        }
        Command::Lock(args) => {
            let prepared = prepare(surroundings, config, args.fleet())?;
            lock::run(&args, &prepared)
        }
        Command::Play(args) => {
            let sources = &args.hosts.sources;
            let purpose = if args.runs_nothing() {
                Purpose::Look
            } else {
                Purpose::Run
            };
            let mut prepared =
                Preparation::new(surroundings, config, sources, &args.vault, purpose)?;
            prepared.check_targets("all")?;
            play::run(&args, &prepared)
        }
    }
}

/// Prepares a command about transactions.
fn prepare(
    surroundings: Surroundings,
    config: Config,
    fleet: &fleet::FleetArgs,
) -> Result<Preparation, Vec<Error>> {
    let prepared = Preparation::new(
        surroundings,
        config,
        &fleet.sources,
        &fleet.vault,
        Purpose::Run,
    )?;
    tell_warnings(&prepared);
    Ok(prepared)
}

/// Prints what the user should know about the settings and the inventory.
fn tell_warnings(prepared: &Preparation) {
    let warnings = prepared.warnings.iter();
    for warning in warnings.filter(|warning| warning.verbosity == 0) {
        tell_warning(prepared, &warning.text, warning.mark.as_ref());
    }
}

fn tell_warning(prepared: &Preparation, text: &str, mark: Option<&Mark>) {
    let text = painted_warning(&prepared.config, text, mark);
    // Without a stderr there is nobody to tell.
    writeln!(io::stderr().lock(), "{}", prepared.redactor.redact(&text)).ok();
}

fn painted_warning(config: &Config, text: &str, mark: Option<&Mark>) -> String {
    let painter = screen::painter(config, io::stderr().is_terminal());
    let colour = Palette::from_config(config).warn;
    let text = diagnostic::render_warning(text, mark);
    painter.paint(&text, &colour)
}

/// Prints the errors that ended the command, each as one story, and picks the exit code.
fn fail(errors: &[Error], heading: &str) -> u8 {
    let painter = Painter::new(io::stderr().is_terminal());
    let stories: Vec<_> = errors
        .iter()
        .map(|error| diagnostic::render(error, heading, painter))
        .collect();
    // Without a stderr there is nobody to tell; the exit code still tells.
    writeln!(io::stderr().lock(), "{}", stories.join("\n\n")).ok();
    errors
        .iter()
        .map(|error| exit_code(error.kind))
        .max()
        .unwrap_or(EXIT_ERROR)
}

/// Returns Ansible's exit code for an error that ended a command.
fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Content => EXIT_PARSE_ERROR,
        _ => EXIT_ERROR,
    }
}

fn cannot_print(error: io::Error) -> Error {
    Error::usage("standard output cannot be written").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// The documents that show command lines.
    const DOCUMENTS: [&str; 18] = [
        include_str!("../../README.md"),
        include_str!("../../action.yml"),
        include_str!("../../.github/workflows/deploy-production.yml"),
        include_str!("../../docs/deploying.md"),
        include_str!("../../docs/events.md"),
        include_str!("../../docs/performance.md"),
        include_str!("../../docs/compatibility.md"),
        include_str!("../../docs/transactions.md"),
        include_str!("../../docs/runners.md"),
        include_str!("../../docs/diagnosis.md"),
        include_str!("../../docs/idempotency.md"),
        include_str!("../../docs/safeguards.md"),
        include_str!("../../docs/runbooks/degraded.md"),
        include_str!("../../docs/runbooks/deploy-failed.md"),
        include_str!("../../docs/runbooks/network-unreachable.md"),
        include_str!("../../docs/runbooks/rollback.md"),
        include_str!("../../docs/runbooks/runner-offline.md"),
        include_str!("../../docs/runbooks/secrets-expired.md"),
    ];

    /// Returns what a document shows as code, line by line.
    fn shown() -> impl Iterator<Item = &'static str> {
        let lines = DOCUMENTS.iter().flat_map(|text| text.lines());
        lines.flat_map(|line| {
            if line.starts_with("    ") {
                let command = line.trim_start();
                let command = command.strip_prefix("run: ").unwrap_or(command);
                vec![command.strip_prefix("exec ").unwrap_or(command)]
            } else {
                line.split('`').skip(1).step_by(2).collect()
            }
        })
    }

    #[test]
    fn every_command_line_of_the_documents_is_one() {
        let mut tried = 0;
        for line in shown() {
            let line = line.replace("cargo run --release --", "backstay");
            // What the shell does with its end is another matter.
            let line = line.split(['|', '>']).next().unwrap_or_default().trim_end();
            if !line.starts_with("backstay ") {
                continue;
            }
            let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            // A lone name of a command need not be told what it works on.
            let is_name = words.len() == 2;
            if is_name {
                words.push("--help".into());
            }
            let refused = parse(&words).err().filter(clap::Error::use_stderr);
            assert!(refused.is_none(), "{line}");
            tried += 1;
        }
        assert!(tried >= 80, "only {tried} command lines were found");
    }

    #[test]
    fn every_option_that_the_documents_name_is_one() {
        fn options(command: &clap::Command, found: &mut BTreeSet<String>) {
            let longs = command.get_arguments().flat_map(|argument| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long().into_iter().chain(aliases)
            });
            found.extend(longs.map(str::to_owned));
            for below in command.get_subcommands() {
                options(below, found);
            }
        }
        // The last one is of the suite on real hosts.
        let mut known = BTreeSet::from(["help", "version", "modules"].map(str::to_owned));
        options(&Backstay::command(), &mut known);
        let mut tried = 0;
        for text in shown() {
            let Some(named) = text.strip_prefix("--") else {
                continue;
            };
            for word in named.split(" --") {
                let name = word.split([' ', '=']).next().unwrap();
                assert!(known.contains(name), "`--{name}`");
                tried += 1;
            }
        }
        assert!(tried >= 30, "only {tried} options were found");
    }
}
