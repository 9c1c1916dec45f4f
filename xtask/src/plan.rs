//! Decides which stack to run natively: the one of before, changed by the options of `up`.

use std::net::SocketAddr;

use anyhow::Result;
use rushgate_testbed::port;

use crate::service;
use crate::stack::Stack;
use crate::up_options::Options;

/// The stack to run: the previous one, changed by the options.
pub(crate) fn planned(previous: Option<Stack>, options: &Options) -> Result<Stack> {
    let mut stack = match previous {
        Some(stack) => stack,
        None => Stack::servers()?,
    };
    if stack.handlers.is_empty() {
        stack.handlers.push(options.listen_or_default());
    }
    if options.edge && stack.edge.is_none() {
        // It takes the address of the first handler, which moves behind it.
        let behind = service::local(port::for_stack()?);
        stack.edge = Some(std::mem::replace(&mut stack.handlers[0], behind));
    }
    if let Some(listen) = options.listen {
        *stack.edge.as_mut().unwrap_or(&mut stack.handlers[0]) = listen;
    }
    let wanted = |asked: Option<u8>, present: usize| asked.map_or(present.max(1), usize::from);
    let (handlers, bridges, consumers) = (
        wanted(options.handlers, stack.handlers.len()),
        wanted(options.bridges, stack.bridges.len()),
        wanted(options.consumers, stack.consumers.len()),
    );
    let mut more = stack.handlers.iter().map(SocketAddr::port).collect();
    fit(&mut more, handlers)?;
    let listen = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
    let present = stack.handlers.len().min(handlers);
    stack.handlers.truncate(present);
    stack.handlers.extend(more[present..].iter().map(listen));
    fit(&mut stack.bridges, bridges)?;
    fit(&mut stack.consumers, consumers)?;
    Ok(stack)
}

fn fit(ports: &mut Vec<u16>, wanted: usize) -> Result<()> {
    ports.truncate(wanted);
    while ports.len() < wanted {
        ports.push(port::for_stack()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: Option<&str>, copies: Option<u8>) -> Options {
        Options {
            listen: listen.map(|listen| listen.parse().unwrap()),
            handlers: copies,
            bridges: copies,
            consumers: copies,
            ..Options::default()
        }
    }

    #[test]
    fn a_second_up_changes_nothing() {
        let first = planned(None, &options(None, None)).unwrap();
        assert_eq!(first.handlers, ["127.0.0.1:3000".parse().unwrap()]);
        assert_eq!((first.bridges.len(), first.consumers.len()), (1, 1));
        assert_eq!(
            planned(Some(first.clone()), &options(None, None)).unwrap(),
            first
        );
    }

    #[test]
    fn copies_come_and_go_without_moving_the_others() {
        let one = planned(None, &options(None, None)).unwrap();
        let two = planned(Some(one.clone()), &options(None, Some(2))).unwrap();
        assert_eq!(
            (two.handlers.len(), two.bridges.len(), two.consumers.len()),
            (2, 2, 2)
        );
        assert_eq!(two.handlers[0], one.handlers[0]);
        assert_eq!(two.bridges[0], one.bridges[0]);
        assert_eq!(planned(Some(two), &options(None, Some(1))).unwrap(), one);
    }

    #[test]
    fn an_edge_takes_the_address_of_the_first_handler() {
        let edge = Options {
            edge: true,
            ..options(None, Some(2))
        };
        let before = planned(None, &options(None, None)).unwrap();
        let behind = planned(Some(before.clone()), &edge).unwrap();
        assert_eq!(behind.edge, Some(before.handlers[0]));
        assert_eq!(behind.handlers.len(), 2);
        assert!(!behind.handlers.contains(&before.handlers[0]));

        let kept = planned(Some(behind.clone()), &options(None, None)).unwrap();
        assert_eq!(kept, behind);
        let moved = planned(Some(behind.clone()), &options(Some("0.0.0.0:8080"), None)).unwrap();
        assert_eq!(moved.edge, Some("0.0.0.0:8080".parse().unwrap()));
        assert_eq!(moved.handlers, behind.handlers);
        assert_eq!(
            planned(None, &edge).unwrap().edge,
            Some("127.0.0.1:3000".parse().unwrap())
        );
    }

    #[test]
    fn another_address_moves_the_first_handler_only() {
        let two = planned(None, &options(None, Some(2))).unwrap();
        let moved = planned(Some(two.clone()), &options(Some("0.0.0.0:8080"), None)).unwrap();
        assert_eq!(moved.handlers[0], "0.0.0.0:8080".parse().unwrap());
        assert_eq!(moved.handlers[1], two.handlers[1]);
    }
}
