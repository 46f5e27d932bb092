//! `mixnn completions` and `mixnn man`: what shells and manuals know of the command line, out of the command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, fail};
use crate::run::kept::folder::Pending;
use crate::run::{KeptError, RunError};
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that is to read it. zsh looks for a file _mixnn in the folders of $fpath, fish for
    /// ~/.config/fish/completions/mixnn.fish
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for mixnn and for each of its commands into this folder instead, such as ~/.local/share/man/man1. No page is
    /// written over
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// `mixnn completions`; the exit code.
pub(super) fn completions(args: &CompletionsArgs) -> i32 {
    printed(&script(args.shell))
}

/// `mixnn man`; the exit code.
pub(super) fn man(args: &ManArgs) -> i32 {
    match &args.to {
        Some(folder) => write(folder).map_or_else(|error| fail(&error), |()| 0),
        None => page(Cli::command()).map_or_else(|error| fail(&error), |text| printed(&text)),
    }
}

fn printed(text: &str) -> i32 {
    terminal::print(text).map_or_else(|error| fail(&error.into()), |()| 0)
}

/// What `shell` reads to complete commands and options.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mixnn", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of `command`, in roff.
fn page(command: Command) -> Result<String, RunError> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|error| RunError::Bug(error.to_string()))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The program and all commands below it, as their pages are called: `mixnn`, `mixnn-data`, `mixnn-data-fetch`.
fn commands() -> Vec<Command> {
    // `help` is no command that one would look up.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut commands = vec![program];
    let mut at = 0;
    while at < commands.len() {
        let below: Vec<Command> = commands[at].get_subcommands().cloned().collect();
        commands.extend(below);
        at += 1;
    }
    commands
}

/// Writes all pages into `folder`, or none where one of them is there.
fn write(folder: &Path) -> Result<(), RunError> {
    let unwritten = |source| KeptError::Write { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(unwritten)?;
    let pending = |command: Command| {
        let path = folder.join(Man::new(command.clone()).get_filename());
        Ok((Pending::fresh_for_all(&path, "--to")?, page(command)?))
    };
    let pages = commands().into_iter().map(pending).collect::<Result<Vec<_>, RunError>>()?;
    for (file, text) in pages {
        file.write(text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process;

    use clap::ValueEnum;

    use super::*;

    fn names() -> Vec<String> {
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    /// Each shell that is here reads its script without a word; and no script is another's.
    #[test]
    fn shells_take_their_scripts() {
        let folder = tempfile::tempdir().unwrap();
        for shell in Shell::value_variants() {
            let script = script(*shell);
            assert!(names().iter().all(|name| script.contains(name)), "{shell}");
            assert!(script.contains("start-timeout"), "{shell}");
            let path = folder.path().join(shell.to_string());
            fs::write(&path, script).unwrap();
        }
        let reads = |shell: &str, script: &str| {
            let read = process::Command::new(shell).arg("-n").arg(folder.path().join(script)).output();
            read.ok().map(|read| read.status.success() && read.stderr.is_empty())
        };
        for shell in ["bash", "zsh", "fish"] {
            assert_ne!(reads(shell, shell), Some(false), "{shell}");
        }
        // The control: it does read what it is given.
        assert_ne!(reads("bash", "powershell"), Some(true));
    }

    #[test]
    fn the_page_names_every_command() {
        let page = page(Cli::command()).unwrap().replace("\\-", "-");
        for name in names() {
            assert!(page.contains(&format!("\nmixnn-{name}(1)\n")), "{name}: {page}");
        }
        for words in [".TH mixnn 1", "--quiet", "Exit codes"] {
            assert!(page.contains(words), "no {words:?} in {page}");
        }
    }

    #[test]
    fn every_command_has_a_page_and_none_is_written_over() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("share/man1");
        write(&folder).unwrap();
        let mut due: Vec<String> = names().iter().map(|name| format!("mixnn-{name}.1")).collect();
        let below =
            ["data-fetch", "bench-crypto", "bench-gemm", "bench-slot", "bench-scale", "bench-train", "bench-model"];
        due.extend(below.map(|name| format!("mixnn-{name}.1")));
        due.push("mixnn.1".to_owned());
        due.sort();
        let mut found: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, due);
        let run = fs::read_to_string(folder.join("mixnn-run.1")).unwrap().replace("\\-", "-");
        assert!(run.contains("--strict") && run.contains("MIXNN_START_TIMEOUT"), "{run}");

        fs::remove_file(folder.join("mixnn.1")).unwrap();
        let refused = write(&folder).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("exists"), "{refused}");
        assert!(!folder.join("mixnn.1").exists(), "some pages of a set that was refused");
    }
}
