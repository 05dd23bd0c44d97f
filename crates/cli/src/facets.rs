//! `baldur facets`: how many entries there are, by what.

use baldur::{
    FacetScope, Facets, Status,
    name::{Domain, FailureType, ServiceName},
};
use baldur_http::forms::Counts;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Color};

use crate::{args::Globals, exit::Failure, out::Output, session::Session, table, text};

/// Options of `facets`.
#[derive(Debug, Args)]
pub(crate) struct FacetsArgs {
    /// Of entries in this status; repeat it for several.
    #[arg(long, value_name = "STATUS")]
    status: Vec<Status>,
    /// Of entries in this domain.
    #[arg(long)]
    domain: Option<Domain>,
    /// Of entries of this failure type.
    #[arg(long, value_name = "TYPE")]
    failure_type: Option<FailureType>,
    /// Of entries because of this dependency.
    #[arg(long, value_name = "SERVICE", value_parser = crate::text::service)]
    dependency: Option<ServiceName>,
}

/// Counts.
pub(crate) async fn run(args: FacetsArgs, globals: &Globals, out: &Output) -> Result<(), Failure> {
    let session = Session::open(globals).await?;
    let FacetsArgs { status, domain, failure_type, dependency } = args;
    let scope = FacetScope { statuses: status, domain, failure_type, dependency };
    let result = match session.baldur.entries().facets(scope).await {
        Ok(facets) => tell(out, &facets),
        Err(error) => Err(error.into()),
    };
    session.close(result).await
}

fn tell(out: &Output, facets: &Facets) -> Result<(), Failure> {
    let Facets { by_status, by_domain, by_failure_type, by_dependency } = facets;
    if out.is_json() {
        return out.json(&Counts::of(facets));
    }
    let mut table = table::table(out, &[("BY", 12), ("VALUE", 20), ("ENTRIES", 7)], true);
    for (status, count) in by_status {
        table.add_row([
            table::cell(out, "status", Color::DarkGrey),
            table::status(out, *status),
            Cell::new(text::number(*count)).set_alignment(CellAlignment::Right),
        ]);
    }
    for (by, counts) in
        [("domain", by_domain), ("failure type", by_failure_type), ("dependency", by_dependency)]
    {
        let mut largest_first: Vec<(&String, &u64)> = counts.iter().collect();
        largest_first.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
        for (value, count) in largest_first {
            table.add_row([
                table::cell(out, by, Color::DarkGrey),
                Cell::new(text::plain(value)),
                Cell::new(text::number(*count)).set_alignment(CellAlignment::Right),
            ]);
        }
    }
    out.lines(&table::render(&mut table))
}
