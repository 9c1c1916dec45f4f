//! The command `cargo xtask`, which starts, tests and stops the whole system.

mod bench;
mod binaries;
mod build;
mod chaos;
mod compose;
mod database;
mod down;
mod edge;
mod env_file;
mod handler;
mod images;
mod kafka;
mod lines;
mod load;
mod logs;
mod matrix;
mod native;
mod packages;
mod page;
mod pipeline;
mod plan;
mod progress;
mod pypi;
mod redis;
mod run;
mod rush;
mod say;
mod servers;
mod service;
mod sid;
mod spring;
mod stack;
mod stages;
mod state;
mod status;
mod suites;
mod test;
mod timed;
mod toolchain;
mod up;
mod up_options;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::stack::Runner;
use crate::state::State;

/// Start Rushgate, test it, stop it
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    /// Start everything and leave it running; services that already run are kept
    Up(up_options::Options),
    /// Stop everything and remove its files
    Down,
    /// Show which services run
    Status,
    /// Show the logs of the services
    Logs {
        /// redis, kafka, database, bridge, consumer, handler or edge; default: all
        service: Option<String>,
        /// Keep showing new lines
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a service gracefully, build it, and start it again
    Restart {
        /// A name from `status`; `bridge` means every bridge
        service: String,
    },
    /// Kill a service at once (kill -9), as in a crash; `up` or `restart` starts it again
    Kill {
        /// A name from `status`; `bridge` means every bridge
        service: String,
    },
    /// Send a rush of applicants to a new campaign, and check the result (--help shows its options)
    #[command(disable_help_flag = true)]
    Rush {
        /// Arguments of the rush
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a k6 script from load/ on a new campaign, then audit the campaign
    Load(load::Options),
    /// Run one of Kafka's command line tools on the stack's broker
    #[command(disable_help_flag = true)]
    Kafka {
        /// console-consumer, console-producer, topics, consumer-groups, configs or get-offsets
        tool: String,
        /// Arguments of the tool
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Inject faults of every kind under load, and check that nothing is lost
    Chaos(chaos::Options),
    /// Benchmark every hop beside the limits of its own machinery, on servers of its own
    Bench(bench::Options),
    /// Count the lines of code of the product and of the workshop
    ///
    /// One rule for both: lines of Rust, Lua, SQL, JavaScript, HTML and CSS that are neither blank nor only a comment.
    /// Lines of tests are those in directories `tests`, in files `tests.rs`, and of items with `#[cfg(test)]`.
    Lines,
    /// Write the hashes of the files in web/ into their directory's name and into the page, after a change of them
    Page,
    /// Run all checks and tests, on servers of their own
    Test {
        /// Only what needs no server: format, lints, unit and property tests, manifests, docs, and a small model
        #[arg(long, conflicts_with = "arguments")]
        fast: bool,
        /// The containers: build them, start them with Docker, and break them
        #[arg(long, conflicts_with_all = ["fast", "arguments"])]
        images: bool,
        /// Only what needs a server, on each server that is supported, or on those whose name contains SERVER, such as
        /// mysql; newer ones come from Debian sid
        #[arg(long, value_name = "SERVER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
        #[arg(conflicts_with_all = ["fast", "images"])]
        matrix: Option<String>,
        /// Arguments for `cargo test`, after `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    run::raise_open_files_limit();
    match dispatch(Xtask::parse()) {
        Ok(code) => code,
        Err(error) => {
            say::note(format_args!("error: {error}"));
            for cause in error.chain().skip(1) {
                say::note(format_args!("  because: {cause}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Xtask) -> Result<ExitCode> {
    let state = State::at(workspace::root().join(".rushgate"));
    match command {
        Xtask::Up(options) => up::up(&options, &state)?,
        Xtask::Down => down::down(&state)?,
        Xtask::Status => return status::status(&state),
        Xtask::Logs { service, follow } => logs::logs(service.as_deref(), follow, &state)?,
        Xtask::Restart { service } => restart(&service, &state)?,
        Xtask::Kill { service } => kill(&service, &state)?,
        Xtask::Rush { arguments } => return rush::rush(&arguments, &state),
        Xtask::Load(options) => return load::load(&options, &state),
        Xtask::Kafka { tool, arguments } => return kafka_tool(&tool, &arguments, &state),
        Xtask::Chaos(options) => return chaos::chaos(&options),
        Xtask::Bench(options) => return bench::bench(&options),
        Xtask::Lines => lines::lines()?,
        Xtask::Page => page::page()?,
        Xtask::Test { fast: true, .. } => return test::fast(),
        Xtask::Test { images: true, .. } => return images::test(),
        Xtask::Test {
            matrix: Some(server),
            arguments,
            ..
        } => return matrix::test(&server, &arguments),
        Xtask::Test { arguments, .. } => return test::test(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn restart(service: &str, state: &State) -> Result<()> {
    match state.running_stack()?.runner {
        Runner::Docker => run::successfully(&mut compose::compose([
            "restart",
            compose::service_name(service),
        ])),
        Runner::Native => {
            native::end(service, true, state)?;
            up::up(&up_options::Options::default(), state)
        }
    }
}

fn kill(service: &str, state: &State) -> Result<()> {
    match state.running_stack()?.runner {
        Runner::Docker => run::successfully(&mut compose::compose([
            "kill",
            compose::service_name(service),
        ])),
        Runner::Native => {
            let killed = native::end(service, false, state)?;
            say::line(format_args!("Killed {}.", killed.join(", ")));
            Ok(())
        }
    }
}

fn kafka_tool(tool: &str, arguments: &[String], state: &State) -> Result<ExitCode> {
    let stack = state.running_stack()?;
    let mut command = match stack.runner {
        Runner::Native => kafka::tool(tool, &stack, state)?,
        Runner::Docker => {
            kafka::class_of(tool)?;
            let script = format!("/opt/kafka/bin/kafka-{tool}.sh");
            compose::compose([
                "exec",
                "kafka",
                script.as_str(),
                "--bootstrap-server",
                "kafka:19092",
            ])
        }
    };
    Ok(run::exit_code(run::to_its_end(command.args(arguments))?))
}
