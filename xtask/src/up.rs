//! The command `cargo xtask up`, which builds and starts the whole system from a checkout and leaves it running.

use anyhow::Result;

use crate::compose;
use crate::native;
use crate::say;
use crate::stack::{CAMPAIGN, Runner, Stack};
use crate::state::State;
use crate::up_options::Options;

/// Starts the system and prints how to use it.
pub(crate) fn up(options: &Options, state: &State) -> Result<()> {
    let previous = state.stack()?;
    let runner = runner(options, previous.as_ref());
    if let Some(stack) = previous.filter(|stack| stack.runner != runner) {
        anyhow::bail!(
            "the stack already runs {}: stop it first with `cargo xtask down`",
            stack.runner.adverb()
        );
    }
    state.create()?;
    let _lock = state.lock()?;
    let stack = match runner {
        Runner::Native => native::up(options, state)?,
        Runner::Docker => compose::up(options, state)?,
    };
    say::line(welcome(&stack));
    Ok(())
}

/// As requested; else as before; else in containers if Docker is usable.
fn runner(options: &Options, previous: Option<&Stack>) -> Runner {
    match (options.native, options.docker, previous) {
        (true, _, _) => Runner::Native,
        (_, true, _) => Runner::Docker,
        (_, _, Some(stack)) => stack.runner,
        _ => match compose::usable() {
            Ok(()) => Runner::Docker,
            Err(why) => {
                say::note(format_args!(
                    "Using local processes, not containers: {why}."
                ));
                Runner::Native
            }
        },
    }
}

fn welcome(stack: &Stack) -> String {
    let urls = stack.urls();
    let url = urls.first().map_or("", String::as_str);
    let others = match urls.get(1..) {
        Some(others) if !others.is_empty() => format!(" (and at {})", others.join(", ")),
        _ => String::new(),
    };
    let behind = match (stack.edge, stack.handlers.len()) {
        (None, _) => String::new(),
        (Some(_), 1) => ": HAProxy, in front of one handler".to_owned(),
        (Some(_), handlers) => format!(": HAProxy, in front of {handlers} handlers"),
    };
    format!(
        "
Rushgate is up at {url}{others}{behind}.

Apply for a coupon, see what became of it, see how the campaign stands:

  curl -i {url}/v1/campaigns/{CAMPAIGN}/applications -H 'content-type: application/json' -d '{{\"user_id\":\"42\"}}'
  curl {url}/v1/campaigns/{CAMPAIGN}/applications/42
  curl {url}/v1/campaigns/{CAMPAIGN}

Let ten thousand people rush at a hundred coupons, and count:

  cargo xtask rush

Look around, and take it all down again:

  cargo xtask status
  cargo xtask logs
  cargo xtask down"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_can_be_pasted() {
        let mut stack = Stack::servers().unwrap();
        stack.handlers = vec![
            "0.0.0.0:3000".parse().unwrap(),
            "127.0.0.1:20005".parse().unwrap(),
        ];
        let text = welcome(&stack);
        assert!(
            text.contains("up at http://127.0.0.1:3000 (and at http://127.0.0.1:20005)."),
            "{text}"
        );
        assert!(
            text.contains("curl http://127.0.0.1:3000/v1/campaigns/welcome\n"),
            "{text}"
        );
        assert!(text.contains("-d '{\"user_id\":\"42\"}'"), "{text}");

        stack.edge = Some("127.0.0.1:8080".parse().unwrap());
        let text = welcome(&stack);
        let expected = "up at http://127.0.0.1:8080: HAProxy, in front of 2 handlers.";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_ran_before_decides_unless_asked() {
        let mut stack = Stack::servers().unwrap();
        let unasked = Options::default();
        assert_eq!(runner(&unasked, Some(&stack)), Runner::Native);
        stack.runner = Runner::Docker;
        assert_eq!(runner(&unasked, Some(&stack)), Runner::Docker);
        let native = Options {
            native: true,
            ..Options::default()
        };
        assert_eq!(runner(&native, Some(&stack)), Runner::Native);
    }
}
