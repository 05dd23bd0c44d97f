//! Why a service could not be started or driven.

use std::{error::Error, fmt, io, path::Path};

/// Why a service could not be started or driven. Holds no password.
#[derive(Debug)]
pub enum ServiceError {
    /// Something on this machine is missing; the text says what to do.
    Missing(String),
    /// An option, or a variable of the environment, makes no sense; the text says what is allowed.
    Unusable(String),
    /// The operating system refused something.
    Io {
        /// What was tried.
        doing: String,
        /// What it said.
        source: io::Error,
    },
    /// A program ended or did not become ready; its own words follow.
    Failed {
        /// What was tried.
        doing: String,
        /// The end of what the program wrote.
        log: String,
    },
    /// A call came at the wrong time, such as a second start.
    State(&'static str),
}

impl ServiceError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// `program` failed while `doing`; the last lines of `log` tell why.
    pub(crate) fn failed(doing: impl Into<String>, log: &Path) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        Self::Failed { doing: doing.into(), log: tail(&String::from_utf8_lossy(&text)) }
    }
}

/// The last lines, as many as a person reads.
pub(crate) fn tail(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(text) | Self::Unusable(text) => f.write_str(text),
            Self::Io { doing, .. } => write!(f, "could not {doing}"),
            Self::Failed { doing, log } if log.is_empty() => {
                write!(f, "could not {doing}; it wrote nothing")
            }
            Self::Failed { doing, log } => write!(f, "could not {doing}; it wrote:\n{log}"),
            Self::State(text) => f.write_str(text),
        }
    }
}

impl Error for ServiceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Missing(_) | Self::Unusable(_) | Self::Failed { .. } | Self::State(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        let lines: Vec<String> = (1..=100).map(|n| format!("line {n}")).collect();
        assert_eq!(tail(&lines.join("\n")), lines[80..].join("\n"));
        assert_eq!(tail(""), "");
    }
}
