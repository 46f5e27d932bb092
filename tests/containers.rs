//! What a container's surroundings do to a run: it may be the first process there.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use binary::{DIGITS, MIXNN, alone};

const LONG: Duration = Duration::from_secs(60);

/// Starts processes of their own kind, the first of which is what it is told to run; `None` where that is not allowed.
fn first(args: &[&str]) -> Option<Command> {
    let unshare = |args: &[&str]| {
        let mut command = alone(Command::new("unshare"));
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]).args(args);
        command
    };
    let allowed = unshare(&["true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    allowed.then(|| unshare(args))
}

#[test]
fn the_first_process_of_a_container_heeds_signals() {
    let folder = tempfile::tempdir().unwrap();
    // A run stops on the first two with a checkpoint.
    for (signal, code) in [("TERM", 75), ("INT", 75), ("HUP", 129)] {
        let out = folder.path().join(signal);
        let set = "train.epochs=1000000";
        let Some(mut command) =
            first(&[MIXNN, "run", DIGITS, "--local", "7", "--set", set, "--out", out.to_str().unwrap()])
        else {
            eprintln!("not tried: no namespaces for this user");
            return;
        };
        let mut outer = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !fs::read_to_string(out.join("metrics.jsonl")).is_ok_and(|lines| lines.contains("}")) {
            assert!(started.elapsed() < LONG, "the run does not get going");
            sleep(Duration::from_millis(50));
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.id())).unwrap();
        let inner = children.trim();
        assert!(Command::new("kill").args([&format!("-{signal}"), inner]).status().unwrap().success());
        let sent = Instant::now();
        let status = loop {
            if let Some(status) = outer.try_wait().unwrap() {
                break status;
            }
            if sent.elapsed() > LONG {
                outer.kill().unwrap();
                outer.wait().unwrap();
                panic!("it runs on after SIG{signal}");
            }
            sleep(Duration::from_millis(50));
        };
        assert_eq!(status.code(), Some(code));
    }
}
