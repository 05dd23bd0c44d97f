//! Reads that every store with a list is measured by.

use std::time::Duration;

use baldur_core::{Clock as _, Cursor, Filter, PageSize, Status, SystemClock};

use crate::{
    load,
    ours::{Failure, Ports},
};

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    FirstPage,
    DeepPage,
    FilteredPage,
    Count,
    Facets,
}

impl Read {
    pub(crate) const ALL: [Self; 5] =
        [Self::FirstPage, Self::DeepPage, Self::FilteredPage, Self::Count, Self::Facets];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstPage => "list, page 1 of 50",
            Self::DeepPage => "list, a page of 50 in the middle",
            Self::FilteredPage => "list, page 1 of a domain and status",
            Self::Count => "count of a status",
            Self::Facets => "facets",
        }
    }

    /// Reads so often; `middle` is the position in the middle of the list.
    pub(crate) async fn ours(
        self,
        ports: &Ports,
        times: usize,
        middle: Option<Cursor>,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        for _ in 0..times {
            match self {
                Self::FirstPage => {
                    ports.page(Filter::default(), None, PageSize::default()).await?;
                }
                Self::DeepPage => {
                    ports.page(Filter::default(), middle, PageSize::default()).await?;
                }
                Self::FilteredPage => {
                    let filter = Filter {
                        domain: Some(load::domain(1)),
                        statuses: vec![Status::Pending],
                        ..Filter::default()
                    };
                    ports.page(filter, None, PageSize::default()).await?;
                }
                Self::Count => ports.count().await?,
                Self::Facets => ports.facets().await?,
            }
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }
}

/// The position of the entry in the middle of the list.
pub(crate) async fn middle(ports: &Ports, size: usize) -> Result<Option<Cursor>, Failure> {
    let limit = PageSize::new(PageSize::MAX)?;
    let mut after = None;
    for _ in 0..size / 2 / limit.get() {
        after = ports.page(Filter::default(), after, limit).await?;
    }
    Ok(after)
}
