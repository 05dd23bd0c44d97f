//! Why a task did not succeed.

use std::{fmt, process::ExitCode};

use crate::tree::Violation;

/// Why a task did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense; exit code 2.
    Usage(String),
    /// A program that the task started failed or could not be started.
    Command { command: String, why: String },
    /// Something on this machine is missing; the text says what to do.
    Missing(String),
    /// Rules were broken; each was printed on its own line.
    Violations { count: usize },
    /// Some steps failed; each reported its own failure.
    Steps(Vec<&'static str>),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Command { .. } | Self::Missing(_) | Self::Violations { .. } | Self::Steps(_) => {
                ExitCode::FAILURE
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Missing(text) => f.write_str(text),
            Self::Command { command, why } => write!(f, "`{command}` {why}"),
            Self::Violations { count } => write!(f, "{count} violation(s)"),
            Self::Steps(names) => write!(f, "failed: {}", names.join(", ")),
        }
    }
}

/// Prints every violation in the order of the files, and fails if there is one.
pub(crate) fn report(mut violations: Vec<Violation>) -> Result<(), Failure> {
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(Failure::Violations { count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_violation_is_a_failure_and_none_is_not() {
        assert!(report(Vec::new()).is_ok());
        let found = vec![Violation::at("a.rs", 1, "bad"), Violation::at("a.rs", 2, "bad")];
        let failure = report(found).expect_err("two violations");
        assert_eq!(failure.to_string(), "2 violation(s)");
    }
}
