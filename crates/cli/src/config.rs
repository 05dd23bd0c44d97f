//! `baldur config`: the settings that hold.

use crate::{args::Globals, exit::Failure, out::Output, session};

/// Shows them, without secrets.
pub(crate) fn run(globals: &Globals, out: &Output) -> Result<(), Failure> {
    let settings = session::settings(globals, &session::environment()?)?;
    if out.is_json() {
        return out.json(&settings);
    }
    out.line(&settings.to_string())
}
