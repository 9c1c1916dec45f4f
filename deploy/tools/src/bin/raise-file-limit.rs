//! Raises the soft limit on open files to the hard limit, then becomes the program that the arguments name:
//!
//! ```text
//! raise-file-limit PROGRAM [ARGUMENT…]
//! ```

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: raise-file-limit PROGRAM [ARGUMENT…]");
        return ExitCode::FAILURE;
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("raise-file-limit: the limit on open files stays as it is: {error}");
    }
    // It returns only if the program cannot be started.
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("raise-file-limit: starting {}: {error}", program.display());
    ExitCode::FAILURE
}
