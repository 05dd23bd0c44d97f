//! Reading: lists, single entries, counts.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{Request, Response, StatusCode},
};
use baldur_core::{
    Cursor, EntryId, FacetScope, Filter, ListOrder, ListQuery, PageSize, Status, Timestamp,
    name::{LabelName, LabelValue, ShortText},
};
use serde::Serialize;

use super::{json, text_of};
use crate::{
    forms::{self, Counts, SummaryAnswer},
    keys::{Caller, Role},
    params::{Param, Params},
    problem::{self, Problem},
    state::ApiState,
};

const FACETS: [Param; 4] = [
    Param::Many("status"),
    Param::Once("domain"),
    Param::Once("failure_type"),
    Param::Once("dependency"),
];

const LIST: [Param; 17] = [
    FACETS[0],
    FACETS[1],
    FACETS[2],
    FACETS[3],
    Param::Once("origin"),
    Param::Once("entity"),
    Param::Once("user"),
    Param::Once("order_key"),
    Param::Once("dedup_key"),
    Param::Once("idempotency_key"),
    Param::Once("fingerprint"),
    Param::Many("label"),
    Param::Once("since"),
    Param::Once("until"),
    Param::Once("order"),
    Param::Once("limit"),
    Param::Once("after"),
];

/// A page, as programs read it.
#[derive(Serialize)]
struct PageAnswer<'a> {
    items: Vec<SummaryAnswer<'a>>,
    next: Option<String>,
}

/// One page of entries.
pub(super) async fn list(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    caller.must(Role::Read)?;
    let params = Params::read(request.uri().query(), &LIST)?;
    let query = query(&params, state.parts().env.clock.now())?;
    let order = query.order;
    let page = state.in_time(state.parts().entries.list(query)).await?;
    let items = page.items.iter().map(|item| SummaryAnswer::of(item, order)).collect();
    let next = page.next.map(|next| next.to_string());
    json(StatusCode::OK, &PageAnswer { items, next })
}

fn query(params: &Params, now: Timestamp) -> Result<ListQuery, Problem> {
    let order = params.one("order", |text| match text {
        "newest" => Ok(ListOrder::NewestFirst),
        "oldest" => Ok(ListOrder::OldestFirst),
        _ => Err("it must be newest or oldest"),
    })?;
    let limit = params.one("limit", |text| {
        let items = text.parse().map_err(|_| ());
        items
            .and_then(|items| PageSize::new(items).map_err(|_| ()))
            .map_err(|()| "it must be 1 to 1000")
    })?;
    Ok(ListQuery {
        filter: filter(params, now)?,
        order: order.unwrap_or_default(),
        limit: limit.unwrap_or_default(),
        after: params.one("after", str::parse::<Cursor>)?,
    })
}

fn filter(params: &Params, now: Timestamp) -> Result<Filter, Problem> {
    let entity = params.one("entity", |text| {
        let (kind, id) = forms::pair(text, ':').ok_or("write TYPE:ID, such as order:4711")?;
        let short = |text| ShortText::parse(text).map_err(|_| "both parts must be short texts");
        Ok::<_, &str>((short(kind)?, short(id)?))
    })?;
    let (entity_type, entity_id) = entity.unzip();
    let labels = params.all("label", |text| {
        let (name, value) = forms::pair(text, '=').ok_or("write NAME=VALUE, such as tenant=a")?;
        let name = LabelName::parse(name).map_err(|_| "that is no name of a label")?;
        let value = LabelValue::parse(value).map_err(|_| "that is no value of a label")?;
        Ok::<_, &str>((name, value))
    })?;
    let point = |text: &str| {
        forms::point(text, now)
            .ok_or("write RFC 3339, such as 2026-01-31T12:00:00Z, or how long ago, such as 2h")
    };
    let FacetScope { statuses, domain, failure_type, dependency } = scope(params)?;
    Ok(Filter {
        statuses,
        domain,
        failure_type,
        dependency,
        origin_service: params.one("origin", forms::service)?,
        entity_type,
        entity_id,
        user_id: params.one("user", str::parse)?,
        idempotency_key: params.one("idempotency_key", str::parse)?,
        dedup_key: params.one("dedup_key", str::parse)?,
        order_key: params.one("order_key", str::parse)?,
        fingerprint: params.one("fingerprint", str::parse)?,
        labels,
        created_from: params.one("since", point)?,
        created_until: params.one("until", point)?,
    })
}

fn scope(params: &Params) -> Result<FacetScope, Problem> {
    Ok(FacetScope {
        statuses: params.all("status", |text| {
            let known = || Status::ALL.map(Status::as_str).join(", ");
            text.parse().map_err(|_| format!("it must be one of {}", known()))
        })?,
        domain: params.one("domain", str::parse)?,
        failure_type: params.one("failure_type", str::parse)?,
        dependency: params.one("dependency", forms::service)?,
    })
}

/// One entry, whole, with its evidence.
pub(super) async fn show(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    caller.must(Role::Read)?;
    Params::read(request.uri().query(), &[])?;
    let id: Option<EntryId> = id.ok().and_then(|Path(id)| id.parse().ok());
    let id = id.ok_or_else(|| problem::BAD_ID.because("ids are UUIDs"))?;
    let entries = &state.parts().entries;
    let entry = state.in_time(entries.get(id)).await?;
    let entry = entry.ok_or_else(|| {
        problem::NOT_FOUND.because("no entry has this id; a capture that merged has another one")
    })?;
    let trail = state.in_time(entries.trail(id)).await?;
    Ok(text_of(StatusCode::OK, "application/json", forms::record(&entry, &trail)))
}

/// How many entries there are, by what.
pub(super) async fn facets(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    caller.must(Role::Read)?;
    let scope = scope(&Params::read(request.uri().query(), &FACETS)?)?;
    let facets = state.in_time(state.parts().entries.facets(scope)).await?;
    json(StatusCode::OK, &Counts::of(&facets))
}
