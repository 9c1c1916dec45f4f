//! Tests that a program started by `raise-file-limit` may open as many files as the hard limit allows.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_raise-file-limit");

#[test]
fn the_soft_limit_becomes_the_hard_limit() {
    let script =
        r#"ulimit -S -n 256; exec "$0" sh -c 'ulimit -S -n; ulimit -H -n; echo "$1"' sh "a b""#;
    let output = Command::new("sh").args(["-c", script, PROGRAM]).output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let [soft, hard, argument] = output.lines().collect::<Vec<_>>()[..] else {
        panic!("{output:?}");
    };
    assert_eq!(soft, hard);
    assert_ne!(soft, "256");
    assert_eq!(argument, "a b");
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let output = Command::new(PROGRAM).arg("/no/such").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("starting /no/such: "), "{said}");
}
