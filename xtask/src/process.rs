//! Starting other programs, always in the workspace's root and never with our standard input.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies inside the workspace").to_path_buf()
}

/// The same cargo that runs this task.
pub(crate) fn cargo() -> Command {
    program(env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")))
}

pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs `command` under a header; its output goes to the terminal. The header goes to standard error, so that what
/// the command prints for programs stays clean.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<(), Failure> {
    let shown = show(command);
    eprintln!("\n=== {title}\n    {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let why = match status.code() {
                Some(code) => format!("failed with exit code {code}"),
                None => format!("was ended: {status}"),
            };
            Err(Failure::Command { command: shown, why })
        }
        Err(error) => {
            Err(Failure::Command { command: shown, why: format!("did not start: {error}") })
        }
    }
}

/// Whether `command` starts and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let variables = command.get_envs().filter_map(|(key, value)| {
        Some(format!("{}={}", key.display(), quoted(&value?.to_string_lossy())))
    });
    let words = std::iter::once(name).chain(command.get_args());
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$&|();<>*".contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_exit_code() {
        let failure = run("fails", program("sh").args(["-c", "exit 3"])).expect_err("exit 3");
        assert_eq!(failure.to_string(), "`sh -c 'exit 3'` failed with exit code 3");
    }

    #[test]
    fn a_missing_program_is_a_failure_too() {
        let failure = run("fails", &mut program("baldur-no-such-program")).expect_err("missing");
        assert!(failure.to_string().contains("did not start"), "{failure}");
        assert!(!succeeds(&mut program("baldur-no-such-program")));
    }

    #[test]
    fn a_command_is_shown_with_its_variables() {
        let shown = show(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps"]));
        assert_eq!(shown, "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }
}
