//! Handlers that settings describe: HTTP endpoints.

use std::sync::Arc;

use baldur_core::{Clock, name::Domain, port::ReplayHandler};

use crate::{open::OpenError, settings::HandlerSettings};

/// This build can't call any.
#[cfg(not(feature = "http-target"))]
pub(crate) fn target(
    _domain: &Domain,
    _settings: &HandlerSettings,
    _clock: Arc<dyn Clock>,
) -> Result<Arc<dyn ReplayHandler>, OpenError> {
    Err(OpenError::NoHttpTarget)
}

/// The handler of `domain`.
#[cfg(feature = "http-target")]
pub(crate) fn target(
    domain: &Domain,
    settings: &HandlerSettings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn ReplayHandler>, OpenError> {
    Ok(http::target(domain, settings, clock)?)
}

#[cfg(feature = "http-target")]
mod http {
    //! Settings as the HTTP target wants them.

    use std::{str::FromStr, sync::Arc};

    use baldur_core::{Clock, name::Domain, port::ReplayHandler};
    use baldur_http_target::{AllowedHost, CodeSet, HttpTarget, HttpTargetConfig};
    use secrecy::SecretString;

    use crate::settings::{HandlerSettings, SettingsError};

    pub(super) fn target(
        domain: &Domain,
        settings: &HandlerSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ReplayHandler>, SettingsError> {
        let HandlerSettings {
            url,
            allowed_hosts,
            method,
            body,
            headers,
            timeout,
            connect_timeout,
            defer_for,
            max_retry_after,
            success,
            already_done,
            permanent,
            deferred,
        } = settings;
        let key = |name: &str| format!("handlers.{domain}.{name}");
        let url: SecretString = url.clone().ok_or_else(|| SettingsError::Unusable {
            key: key("url"),
            problem: "it is missing".to_owned(),
        })?;
        let hosts = allowed_hosts
            .iter()
            .map(|host| word::<AllowedHost>(&key("allowed_hosts"), host))
            .collect::<Result<Vec<_>, _>>()?;
        let mut config = HttpTargetConfig::new(url, hosts);
        config.headers.clone_from(headers);
        set(&mut config.method, &key("method"), method.as_ref())?;
        set(&mut config.body, &key("body"), body.as_ref())?;
        config.timeout = timeout.unwrap_or(config.timeout);
        config.connect_timeout = *connect_timeout;
        config.defer_for = defer_for.unwrap_or(config.defer_for);
        config.max_retry_after = max_retry_after.unwrap_or(config.max_retry_after);
        let sets: [(&mut CodeSet, &str, &Option<String>); 4] = [
            (&mut config.success, "success", success),
            (&mut config.already_done, "already_done", already_done),
            (&mut config.permanent, "permanent", permanent),
            (&mut config.deferred, "deferred", deferred),
        ];
        for (codes, name, given) in sets {
            set(codes, &key(name), given.as_ref())?;
        }
        let target = HttpTarget::new(config, clock).map_err(|error| SettingsError::Unusable {
            key: format!("handlers.{domain}"),
            problem: error.to_string(),
        })?;
        Ok(Arc::new(target))
    }

    fn set<T>(place: &mut T, key: &str, given: Option<&String>) -> Result<(), SettingsError>
    where
        T: FromStr<Err: ToString>,
    {
        if let Some(text) = given {
            *place = word(key, text)?;
        }
        Ok(())
    }

    fn word<T: FromStr<Err: ToString>>(key: &str, text: &str) -> Result<T, SettingsError> {
        text.parse().map_err(|error: T::Err| SettingsError::Unusable {
            key: key.to_owned(),
            problem: error.to_string(),
        })
    }
}
