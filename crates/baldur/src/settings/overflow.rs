//! Settings of limits and of merging.

use std::{collections::BTreeMap, num::NonZeroU64};

use baldur_app::capture::{DedupPolicy, DomainLimit, DomainOverflow, OverflowPolicy};
use baldur_core::{
    command::{OnMerge, WhenFull},
    name::Domain,
};
use serde::{Deserialize, Serialize};

use super::SettingsError;

/// How many live entries there may be, and what a capture does that finds no room. 0 is no limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OverflowSettings {
    /// In each domain.
    pub per_domain: u64,
    /// In all domains together.
    pub in_all: u64,
    /// What a capture does that finds no room.
    pub when_full: WhenFullSettings,
    /// Domains with rules of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, DomainOverflowSettings>,
}

/// The rules of one domain. What is absent is as for any other domain.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DomainOverflowSettings {
    /// How many live entries it may have; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What its captures do that find no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFullSettings>,
}

/// What a capture does that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFullSettings {
    /// It is refused.
    Reject,
    /// The oldest entries that nobody works on make room.
    DropOldest,
}

impl WhenFullSettings {
    const fn policy(self) -> WhenFull {
        match self {
            Self::Reject => WhenFull::Reject,
            Self::DropOldest => WhenFull::DropOldest,
        }
    }
}

impl Default for OverflowSettings {
    fn default() -> Self {
        Self {
            per_domain: 0,
            in_all: OverflowPolicy::DEFAULT_IN_ALL.get(),
            when_full: WhenFullSettings::Reject,
            domains: BTreeMap::new(),
        }
    }
}

impl OverflowSettings {
    pub(crate) fn policy(&self) -> Result<OverflowPolicy, SettingsError> {
        let Self { per_domain, in_all, when_full, domains } = self;
        let own = |DomainOverflowSettings { limit, when_full }: &DomainOverflowSettings| {
            let limit = limit.map(|limit| {
                NonZeroU64::new(limit).map_or(DomainLimit::Unlimited, DomainLimit::AtMost)
            });
            DomainOverflow { limit, when_full: when_full.map(WhenFullSettings::policy) }
        };
        Ok(OverflowPolicy {
            per_domain: NonZeroU64::new(*per_domain),
            in_all: NonZeroU64::new(*in_all),
            when_full: when_full.policy(),
            domains: by_domain("overflow.domains", domains, own)?,
        })
    }
}

/// Whose payload an entry keeps when further captures merge into it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DedupSettings {
    /// In each domain.
    pub keep: KeepSettings,
    /// Domains with a rule of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, KeepSettings>,
}

/// Whose payload is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepSettings {
    /// That of the capture that made the entry.
    First,
    /// That of the newest capture, unless somebody works on the entry.
    Last,
}

impl KeepSettings {
    const fn policy(self) -> OnMerge {
        match self {
            Self::First => OnMerge::KeepFirst,
            Self::Last => OnMerge::KeepLast,
        }
    }
}

impl Default for DedupSettings {
    fn default() -> Self {
        Self { keep: KeepSettings::First, domains: BTreeMap::new() }
    }
}

impl DedupSettings {
    pub(crate) fn policy(&self) -> Result<DedupPolicy, SettingsError> {
        let Self { keep, domains } = self;
        let domains = by_domain("dedup.domains", domains, |keep| keep.policy())?;
        Ok(DedupPolicy { keep: keep.policy(), domains })
    }
}

fn by_domain<S, P>(
    section: &str,
    settings: &BTreeMap<String, S>,
    policy: impl Fn(&S) -> P,
) -> Result<BTreeMap<Domain, P>, SettingsError> {
    settings
        .iter()
        .map(|(name, settings)| {
            let unusable = |error: baldur_core::name::NameError| SettingsError::Unusable {
                key: format!("{section}.{name}"),
                problem: error.to_string(),
            };
            Ok((Domain::parse(name).map_err(unusable)?, policy(settings)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn settings(text: &str) -> Settings {
        Settings::parse(text, "baldur.toml", Vec::new()).expect("valid")
    }

    fn domain(name: &str) -> Domain {
        Domain::parse(name).expect("a domain")
    }

    #[test]
    fn the_defaults_are_those_of_the_policies() {
        let settings = settings("");
        assert_eq!(settings.overflow.policy().expect("usable"), OverflowPolicy::default());
        assert_eq!(settings.dedup.policy().expect("usable"), DedupPolicy::default());
    }

    #[test]
    fn limits_are_read_by_domain() {
        let text = "[overflow]\nper_domain = 10\nin_all = 0\nwhen_full = 'drop_oldest'\n\
                    [overflow.domains.payment]\nlimit = 5\nwhen_full = 'reject'\n\
                    [overflow.domains.'stock.eu']\nlimit = 0\n";
        let policy = settings(text).overflow.policy().expect("usable");
        let of = |name| policy.limits(&domain(name)).map(|l| (l.in_domain, l.in_all, l.when_full));
        let at_most = NonZeroU64::new;
        assert_eq!(of("mail"), Some((at_most(10), None, WhenFull::DropOldest)));
        assert_eq!(of("payment"), Some((at_most(5), None, WhenFull::Reject)));
        assert_eq!(of("stock.eu"), None);
    }

    #[test]
    fn whose_payload_is_kept_is_read_by_domain() {
        let text = "[dedup]\nkeep = 'last'\n[dedup.domains]\npayment = 'first'\n";
        let policy = settings(text).dedup.policy().expect("usable");
        assert_eq!(policy.on_merge(&domain("stock")), OnMerge::KeepLast);
        assert_eq!(policy.on_merge(&domain("payment")), OnMerge::KeepFirst);
    }

    #[test]
    fn settings_are_shown_as_they_are_read() {
        let text = "[overflow.domains.payment]\nlimit = 5\n[dedup.domains]\nstock = 'last'\n";
        let shown = settings(text).to_string();
        let again = settings(&shown);
        assert_eq!(again.overflow.policy().ok(), settings(text).overflow.policy().ok());
        assert_eq!(again.dedup.policy().ok(), settings(text).dedup.policy().ok());
    }

    #[test]
    fn what_is_no_limit_is_refused_with_its_place() {
        let refused = |text| {
            Settings::parse(text, "baldur.toml", Vec::new()).expect_err("refused").to_string()
        };
        let text = refused("[overflow]\nwhen_full = 'compress'\n");
        assert!(text.contains("overflow.when_full"), "{text}");
        let text = refused("[overflow]\nin_all = -1\n");
        assert!(text.contains("overflow.in_all"), "{text}");
        let bad = settings("[overflow.domains.'No Domain']\nlimit = 1\n").overflow.policy();
        let text = bad.expect_err("refused").to_string();
        assert!(text.contains("overflow.domains.No Domain"), "{text}");
    }
}
