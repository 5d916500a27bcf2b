//! How a command fails: what it says and the exit code it ends with.

use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// It ran, and the answer is no.
    No(String),
    /// Wrong usage or configuration.
    Usage(String),
    /// No node answered.
    Unreachable(String),
    /// A node refused; the code and what it said.
    Refused {
        code: String,
        detail: String,
    },
    Interrupted,
}

impl Failure {
    /// The exit code that scripts rely on.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused { .. } => 4,
            Self::Interrupted => 130,
        })
    }

    /// The line for people.
    pub fn text(&self) -> String {
        match self {
            Self::No(text) | Self::Usage(text) | Self::Unreachable(text) => text.clone(),
            Self::Refused { code, detail } => format!("refused: {code}: {detail}"),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }
}

/// An error of the machine (a file, a runtime) counts as usage: nothing was asked of a node.
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Usage(e.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Self::No(format!("{e:#}"))
    }
}
