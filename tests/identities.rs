//! Who is who, as users set it up: `mixnn keygen`, trust files, real ranks with an identity each. What a rank or someone
//! between could fake is tested in `src/run/tests/`, where messages can be altered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
#[cfg(feature = "mpi")]
mod launcher;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use binary::{DIGITS, MIXNN, Ran, alone, mixnn};

/// Makes the identity `name` in `folder`; its line for trust files.
fn keygen(folder: &Path, name: &str) -> String {
    mixnn(folder, &["keygen", "--out", name]).well().stdout
}

#[test]
fn keygen_writes_a_private_file_and_prints_its_public_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let line = keygen(folder.path(), "identity");
    let (key, host) = line.trim_end().split_once(' ').unwrap();
    assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{line}");
    assert_eq!(host, fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("mixnn identity 1: private;") && text.ends_with(&format!("\n{line}")));
    // Once more, it would take an identity away from those who know it.
    mixnn(folder.path(), &["keygen", "--out", "identity"]).refused(
        2,
        &["error: identity is there already", "never overwritten", "--out", "mixnn keygen --show identity"],
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // Its line is to be had again, and a line that was lost with it.
    assert_eq!(mixnn(folder.path(), &["keygen", "--show", "identity"]).well().stdout, line);
    assert_ne!(keygen(folder.path(), "other"), line);
    mixnn(folder.path(), &["keygen", "--out", "identity/below"]).refused(3, &["cannot write the identity"]);
}

#[test]
fn an_identity_has_a_place_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let make = |variables: &[(&str, &Path)]| {
        let mut command = alone(Command::new(MIXNN));
        command.env_remove("XDG_CONFIG_HOME").env_remove("HOME").envs(variables.iter().copied());
        Ran::of(&command.arg("keygen").current_dir(folder.path()).output().unwrap())
    };
    let (config, home) = (folder.path().join("config"), folder.path().join("home"));
    make(&[("XDG_CONFIG_HOME", &config), ("HOME", &home)]).well();
    assert!(config.join("mixnn/identity").exists() && !home.exists());
    assert_eq!(fs::metadata(config.join("mixnn")).unwrap().permissions().mode() & 0o7777, 0o700);
    // What is no absolute path is none.
    make(&[("XDG_CONFIG_HOME", Path::new("config")), ("HOME", &home)]).well();
    assert!(home.join(".config/mixnn/identity").exists());
    make(&[]).refused(2, &["XDG_CONFIG_HOME", "HOME", "--out"]);
    make(&[("HOME", Path::new("/dev/null"))]).refused(3, &["cannot write the identity /dev/null/", "--out"]);
}

#[test]
fn an_identity_is_shown_as_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (config, other) = (folder.path().join("config"), folder.path().join("other"));
    let run = |args: &[&str], identity: Option<&Path>| {
        let mut command = alone(Command::new(MIXNN));
        command.env("XDG_CONFIG_HOME", &config).envs(identity.map(|path| ("MIXNN_IDENTITY", path)));
        Ran::of(&command.args(args).current_dir(folder.path()).output().unwrap())
    };
    run(&["keygen", "--show"], None).refused(3, &["cannot read the identity", "config/mixnn/identity"]);
    let (own, others) =
        (run(&["keygen"], None).well().stdout, run(&["keygen", "--out", "other"], None).well().stdout);
    let shown = run(&["keygen", "--show"], None).well();
    assert_eq!((shown.stdout, shown.stderr), (own, String::new()));
    assert_eq!(run(&["keygen", "--show"], Some(&other)).well().stdout, others);
    assert_eq!(run(&["keygen", "--show", "other"], None).well().stdout, others);
    run(&["keygen", "--show", "other", "--out", "x"], None).refused(2, &["cannot be used with"]);
    fs::write(&other, "mine").unwrap();
    run(&["keygen", "--show", "other"], None).refused(2, &["other:1: found something else"]);
}

#[test]
fn check_reads_the_trust_file() {
    let folder = tempfile::tempdir().unwrap();
    let check = || mixnn(folder.path(), &["check", DIGITS, "--set", "trust.ranks=trusted"]);
    check().refused(3, &["cannot read the trust file trusted", "No such file"]);
    let line = keygen(folder.path(), "identity");
    fs::write(folder.path().join("trusted"), format!("# two\n{line}{}\n", &line[1..])).unwrap();
    check().refused(2, &["trusted:3: found the key", "63 characters; expected a key of 64 hexadecimal digits"]);
    fs::write(folder.path().join("trusted"), &line).unwrap();
    fs::set_permissions(folder.path().join("trusted"), fs::Permissions::from_mode(0o666)).unwrap();
    check().refused(3, &["trusted has mode 0666", "chmod go-w trusted"]);
    fs::set_permissions(folder.path().join("trusted"), fs::Permissions::from_mode(0o644)).unwrap();
    const WARNING: &str = "ranks not authenticated: the MPI layer is trusted";
    assert!(!check().well().stdout.contains(WARNING));
    assert!(mixnn(folder.path(), &["check", DIGITS]).well().stdout.contains(WARNING));
    mixnn(folder.path(), &["check", DIGITS, "--set", "trust.ranks="])
        .refused(2, &["`trust.ranks`", "an empty string"]);
    mixnn(folder.path(), &["check", DIGITS, "--set", "trust.rank=x"]).refused(2, &["unknown key `rank` in [trust]"]);
}

/// Threads of one process have nothing to show each other; the job is the same.
#[test]
fn threads_do_without_identities() {
    let folder = tempfile::tempdir().unwrap();
    let ran = mixnn(
        folder.path(),
        &["run", DIGITS, "--local", "7", "--set", "train.epochs=1", "--set", "trust.ranks=none"],
    );
    assert!(ran.well().stderr.contains("ranks not authenticated"));
}

#[cfg(feature = "mpi")]
mod ranks {
    use super::*;
    use crate::binary::Run;
    use crate::launcher::{RANK, launch};

    const SHORT: &str = "--set train.epochs=2";

    /// Seven identities in a folder of their own, `id.0` to `id.6`; the owner's trust file `ranks`, the ranks' `owners`.
    struct Hosts {
        folder: tempfile::TempDir,
        lines: Vec<String>,
    }

    impl Hosts {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let lines: Vec<String> = (0..7).map(|rank| keygen(folder.path(), &format!("id.{rank}"))).collect();
            let hosts = Self { folder, lines };
            hosts.write("ranks", &hosts.lines[1..].concat());
            hosts.write("owners", &hosts.lines[0]);
            hosts
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).to_str().unwrap().to_owned()
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// Runs the digits, each rank with `variables` in its environment; `$R` there is its number.
        fn run(&self, variables: &str, args: &str) -> Ran {
            let script =
                format!("R={RANK}; export {variables}; exec '{MIXNN}' run '{DIGITS}' {SHORT} --out out {args}");
            let ran = launch(self.folder.path(), &["-n", "7", "sh", "-c", &script]);
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
            ran
        }

        fn bits(&self) -> String {
            let bits = Run::read(self.folder.path().join("out")).bits();
            fs::remove_dir_all(self.path("out")).unwrap();
            bits
        }
    }

    const BOTH: &str = "MIXNN_IDENTITY=id.$R MIXNN_TRUST=owners";
    const TRUST: &str = "--set trust.ranks=ranks";

    #[test]
    fn trust_on_both_sides_changes_no_bit_and_takes_the_warning_away() {
        let hosts = Hosts::new();
        let open = hosts.run("NONE=1", "").well();
        assert!(open.stderr.contains("ranks not authenticated: the MPI layer is trusted"), "{}", open.stderr);
        assert!(open.stdout.contains("ranks are not authenticated"), "{}", open.stdout);
        let reference = hosts.bits();
        let known = hosts.run(BOTH, TRUST).well();
        assert!(!(known.stderr + &known.stdout).contains("authenticated"));
        assert_eq!(hosts.bits(), reference);
        // All ranks of one host may share its identity, and it may be named on the command line or be in its place.
        hosts.write("ranks", &hosts.lines[0]);
        hosts.run("NONE=1", &format!("{TRUST} --identity id.0 --trust owners")).well();
        assert_eq!(hosts.bits(), reference);
        let owner =
            ["-n", "1", MIXNN, "run", DIGITS, "--out", "out", "--set", "train.epochs=2", "--identity", "id.0"];
        let others =
            ["--set", "trust.ranks=ranks", ":", "-n", "6", MIXNN, "join", "--identity", "id.0", "--trust", "owners"];
        launch(hosts.folder.path(), &[owner.as_slice(), &others].concat()).well();
        assert_eq!(hosts.bits(), reference);
        fs::create_dir_all(hosts.path("config/mixnn")).unwrap();
        fs::rename(hosts.path("id.0"), hosts.path("config/mixnn/identity")).unwrap();
        fs::rename(hosts.path("owners"), hosts.path("config/mixnn/trust")).unwrap();
        hosts.run("XDG_CONFIG_HOME=$PWD/config", TRUST).well();
        assert_eq!(hosts.bits(), reference);
        hosts.run("XDG_CONFIG_HOME=$PWD/none", TRUST).refused(4, &["is not signed", "mixnn keygen"]);
    }

    /// Accounts of services have no folder of their own, and so no file in it.
    #[test]
    fn a_home_that_is_no_folder_holds_nothing() {
        let hosts = Hosts::new();
        hosts.run("HOME=/dev/null; unset XDG_CONFIG_HOME", "").well();
        let _ = fs::remove_dir_all(hosts.path("out"));
        // One that cannot be looked into may hold an identity.
        std::os::unix::fs::symlink("loop", hosts.path("loop")).unwrap();
        let owner = "if [ $R = 0 ]; then export HOME=$PWD/loop; unset XDG_CONFIG_HOME; fi; NONE=1";
        hosts
            .run(&format!("NONE=1; {owner}"), "")
            .refused(3, &["the identity in its default place", "MIXNN_IDENTITY"]);
    }

    #[test]
    fn a_rank_that_the_owner_does_not_know_is_refused() {
        let hosts = Hosts::new();
        hosts.write("ranks", &[&hosts.lines[1..3], &hosts.lines[4..]].concat().concat());
        let key = &hosts.lines[3][..64];
        hosts.run(BOTH, TRUST).refused(4, &["error: rank 3 shows the identity", key, "which ranks does not list"]);
        // The control: nobody asks.
        fs::remove_dir_all(hosts.path("out")).unwrap();
        hosts.run(BOTH, "").well();
    }

    #[test]
    fn a_rank_on_a_host_that_is_not_its_own_is_refused() {
        let hosts = Hosts::new();
        let moved = hosts.lines[3].replace(&hosts.lines[3][65..], "elsewhere\n");
        hosts.write("ranks", &hosts.lines[1..].concat().replace(&hosts.lines[3], &moved));
        hosts
            .run(BOTH, TRUST)
            .refused(4, &["error: rank 3 runs on host", "with the identity of host elsewhere (ranks)"]);
    }

    #[test]
    fn an_owner_that_a_rank_does_not_know_is_refused() {
        let hosts = Hosts::new();
        hosts.write("owners.3", &hosts.lines[3]);
        let one = "MIXNN_IDENTITY=id.$R; if [ $R = 3 ]; then export MIXNN_TRUST=owners.3; fi";
        hosts.run(one, TRUST).refused(
            4,
            &["rank 3: error: rank 0 shows the identity", &hosts.lines[0][..64], "which owners.3 does not list"],
        );
        // An owner that shows nothing: it says so itself, and a rank that knows whom to serve refuses it.
        fs::remove_dir_all(hosts.path("out")).unwrap();
        let silent = "MIXNN_IDENTITY=id.$R; case $R in 0) unset MIXNN_IDENTITY;; 3) export MIXNN_TRUST=owners;; esac";
        let words = ["the owner has no identity", "rank 3: error: the package from rank 0 is not signed"];
        hosts.run(silent, TRUST).refused(4, &words);
        // All ranks refuse it at once: the first to end the run must not cut off what it has said itself.
        fs::remove_dir_all(hosts.path("out")).unwrap();
        let all = "MIXNN_IDENTITY=id.$R; case $R in 0) unset MIXNN_IDENTITY;; *) export MIXNN_TRUST=owners;; esac";
        hosts.run(all, TRUST).refused(4, &[words[0], "error: the package from rank 0 is not signed"]);
    }

    /// Ranks that refuse say so to the owner, and all end in order: no rank ends the others by force, which a launcher that hears it
    /// from several at once may not survive.
    fn refused_in_order(ran: &Ran, code: i32, words: &[&str]) {
        ran.refused(code, words);
        assert!(!ran.stderr.to_lowercase().contains("mpi_abort"), "{}", ran.stderr);
    }

    #[test]
    fn files_that_cannot_be_used_end_the_run() {
        let hosts = Hosts::new();
        let nobody = hosts.run("MIXNN_IDENTITY=id.$((R + 1))", TRUST);
        refused_in_order(&nobody, 3, &["cannot read the identity id.7"]);
        fs::set_permissions(hosts.path("id.3"), fs::Permissions::from_mode(0o644)).unwrap();
        let _ = fs::remove_dir_all(hosts.path("out"));
        refused_in_order(
            &hosts.run(BOTH, TRUST),
            3,
            &["rank 3: error: the identity id.3 has mode 0644", "chmod 600 id.3"],
        );
        fs::set_permissions(hosts.path("id.3"), fs::Permissions::from_mode(0o600)).unwrap();
        let _ = fs::remove_dir_all(hosts.path("out"));
        hosts.write("owners", "nobody\n");
        refused_in_order(&hosts.run(BOTH, TRUST), 2, &["error: owners:1: found the key \"nobody\""]);
        let _ = fs::remove_dir_all(hosts.path("out"));
        hosts.write("ranks", "");
        let ran = hosts.run("MIXNN_IDENTITY=id.$R", TRUST);
        ran.refused(2, &["error: ranks:1: found no line that names anyone"]);
        assert!(!Path::new(&hosts.path("out")).exists(), "a refused job leaves nothing");
    }
}
