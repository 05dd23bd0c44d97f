//! The variables by which `cargo xtask services` tells tests where the servers are.

use std::env;

use secrecy::SecretString;

use crate::ServiceError;

/// The URL of a PostgreSQL for tests, with a user who may do everything on it.
pub const POSTGRES_URL: &str = "BALDUR_TEST_POSTGRES_URL";

/// The data folder of that server. Who wants to stop or kill a server starts one of their own.
pub const POSTGRES_CONTROL: &str = "BALDUR_TEST_POSTGRES_CONTROL";

/// The folder of PostgreSQL's programs (`postgres`, `initdb`); without it, Debian's newest are taken.
pub const POSTGRES_BIN: &str = "BALDUR_POSTGRES_BIN";

/// `1`: a test that misses its server must fail. `cargo xtask test` sets it.
pub const REQUIRE: &str = "BALDUR_TEST_REQUIRE";

/// Whether a test that misses its server must fail rather than be reported as ignored.
/// Unset, empty, `0` and `false` mean no.
#[must_use]
pub fn are_required() -> bool {
    env::var_os(REQUIRE).is_some_and(|it| !matches!(it.to_str(), Some("" | "0" | "false")))
}

/// The PostgreSQL that [`POSTGRES_URL`] names.
///
/// # Errors
///
/// [`ServiceError::Missing`] tells the developer how to get one. A test fails with it; a harness
/// that can report tests as ignored may do so unless [`are_required`].
pub fn postgres_url() -> Result<SecretString, ServiceError> {
    url_in(POSTGRES_URL, env::var_os(POSTGRES_URL).and_then(|it| it.into_string().ok()))
}

fn url_in(name: &str, value: Option<String>) -> Result<SecretString, ServiceError> {
    match value {
        Some(url) if !url.is_empty() => Ok(SecretString::from(url)),
        _ => Err(ServiceError::Missing(format!(
            "this needs a server, and {name} is not set; run it with\n    \
             cargo xtask services -- cargo nextest run -p PACKAGE"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_told_with_the_command_that_starts_one() {
        for value in [None, Some(String::new())] {
            let error = url_in(POSTGRES_URL, value).expect_err("no server");
            let text = error.to_string();
            assert!(text.contains(POSTGRES_URL) && text.contains("cargo xtask services"), "{text}");
        }
        assert!(url_in(POSTGRES_URL, Some("postgres://u@h/d".to_owned())).is_ok());
    }
}
