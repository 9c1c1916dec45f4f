//! `cargo xtask`: brings the whole system up, proves it, takes it down.

mod bench;
mod chance;
mod chaos;
mod compose;
mod database;
mod down;
mod env_file;
mod handler;
mod kafka;
mod load;
mod logs;
mod native;
mod packages;
mod pipeline;
mod process;
mod pypi;
mod redis;
mod run;
mod rush;
mod say;
mod secret_file;
mod servers;
mod service;
mod stack;
mod state;
mod status;
mod test;
mod toolchain;
mod up;
mod version;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::stack::Runner;
use crate::state::State;

/// Brings Rushgate up, proves it, takes it down.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    /// Bring everything up and leave it serving; what runs already is kept
    Up(up::Options),
    /// Take everything down; no process and no file is left
    Down,
    /// Say which services run
    Status,
    /// Show what the services have written
    Logs {
        /// redis, kafka, database, bridge, consumer, handler; all of them if left out
        service: Option<String>,
        /// Go on showing what is added
        #[arg(long, short)]
        follow: bool,
    },
    /// End a service as it ends by itself, and start it again, newly built
    Restart {
        /// As in `status`; `bridge` stands for every bridge
        service: String,
    },
    /// End a service at once, as a crash would (kill -9); `up` or `restart` starts it again
    Kill {
        /// As in `status`; `bridge` stands for every bridge
        service: String,
    },
    /// Let a crowd rush at a new campaign, and count what came of it (--help for its options)
    #[command(disable_help_flag = true)]
    Rush {
        /// Arguments of the rush
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a k6 scenario of load/ on a new campaign
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
    /// Break everything that can break, again and again, under load, and check that nothing is lost
    Chaos(chaos::Options),
    /// Measure every hop beside what its own machinery can do, on servers of its own
    Bench(bench::Options),
    /// Simulate what more of everything does, with the costs that `bench` has measured, and write bench/SCALE.md anew
    Simulate,
    /// Run every check and every test, on servers of their own
    Test {
        /// Arguments of `cargo test`, after `--`
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
        Xtask::Simulate => return bench::simulate(),
        Xtask::Test { arguments } => return test::test(&arguments),
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
            up::up(&up::Options::default(), state)
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
