//! Which entries are meant.

use baldur::{
    Filter, Status, Timestamp,
    name::{
        DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, OrderKey,
        ServiceName, ShortText,
    },
};
use clap::Args;

use crate::{
    exit::Failure,
    text::{pair, point, service},
};

/// Conditions; all of them must hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which entries")]
pub(crate) struct FilterArgs {
    /// In this status; repeat it for several.
    #[arg(long, value_name = "STATUS")]
    status: Vec<Status>,
    /// In this domain.
    #[arg(long)]
    domain: Option<Domain>,
    /// Of this failure type.
    #[arg(long, value_name = "TYPE")]
    failure_type: Option<FailureType>,
    /// Because of this dependency.
    #[arg(long, value_name = "SERVICE", value_parser = service)]
    dependency: Option<ServiceName>,
    /// Reported by this service.
    #[arg(long, value_name = "SERVICE", value_parser = service)]
    origin: Option<ServiceName>,
    /// About this thing, such as `order:4711`.
    #[arg(long, value_name = "TYPE:ID", value_parser = pair(':'))]
    entity: Option<(String, String)>,
    /// On behalf of this user.
    #[arg(long, value_name = "ID")]
    user: Option<ShortText>,
    /// With this order key.
    #[arg(long, value_name = "KEY")]
    order_key: Option<OrderKey>,
    /// With this dedup key.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<DedupKey>,
    /// With this idempotency key.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    /// With this fingerprint, as a list shows it.
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<ShortText>,
    /// With this label; repeat it for several.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair('='))]
    label: Vec<(String, String)>,
    /// Captured then or later: RFC 3339, or how long ago (`2h`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Captured before then: RFC 3339, or how long ago (`2h`).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl FilterArgs {
    /// The filter that these conditions make at `now`.
    pub(crate) fn filter(self, now: Timestamp) -> Result<Filter, Failure> {
        let Self {
            status,
            domain,
            failure_type,
            dependency,
            origin,
            entity,
            user,
            order_key,
            dedup_key,
            idempotency_key,
            fingerprint,
            label,
            since,
            until,
        } = self;
        let short_text = |text: &str| {
            ShortText::parse(text)
                .map_err(|error| Failure::usage("`--entity` is not usable", &error))
        };
        let (kind, id) = entity.unzip();
        Ok(Filter {
            statuses: status,
            domain,
            failure_type,
            dependency,
            origin_service: origin,
            entity_type: kind.as_deref().map(short_text).transpose()?,
            entity_id: id.as_deref().map(short_text).transpose()?,
            user_id: user,
            idempotency_key,
            dedup_key,
            order_key,
            fingerprint,
            labels: label.iter().map(parse_label).collect::<Result<_, _>>()?,
            created_from: since.map(|text| point("--since", &text, now)).transpose()?,
            created_until: until.map(|text| point("--until", &text, now)).transpose()?,
        })
    }
}

fn parse_label((name, value): &(String, String)) -> Result<(LabelName, LabelValue), Failure> {
    LabelName::parse(name)
        .and_then(|name| Ok((name, LabelValue::parse(value)?)))
        .map_err(|error| Failure::usage("`--label` is not usable", &error))
}
