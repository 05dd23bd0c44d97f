//! Stored entries as a whole, for decisions that hand them out or end them.

use baldur_core::{EntryId, FailedOp, name::Namespace};
use sqlx::postgres::PgRow;

use super::session::Session;
use crate::{
    error::StepError,
    rows::{self, Standing, op_columns, op_tables, states_by_id},
    sql::uuids,
};

/// An entry, and where it stands.
pub(super) struct Candidate {
    pub(super) standing: Standing,
    pub(super) op: FailedOp,
}

/// By id, in no order. Reads what is committed: who needs to keep it so has locked the rows before.
pub(crate) const BY_ID: &str = concat!(
    "SELECT ",
    op_columns!(),
    ", s.facet_key, s.order_head FROM ",
    states_by_id!(),
    op_tables!(),
);

impl Candidate {
    /// Reads the columns of [`BY_ID`].
    pub(super) fn read(row: &PgRow, namespace: &Namespace) -> Result<Self, StepError> {
        let (op, mut rest) = rows::op(row, namespace)?;
        let standing = Standing {
            id: op.id,
            domain: op.domain.clone(),
            facet_key: rest.get()?,
            order_key: op.order_key.clone(),
            order_head: rest.get()?,
            state: op.state.clone(),
        };
        Ok(Self { standing, op })
    }

    /// Those of these ids that are there.
    pub(super) async fn load(
        session: &mut Session,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<Vec<Self>, StepError> {
        let (ns, namespace) = (session.ns, session.namespace().clone());
        let rows = sqlx::query(BY_ID).bind(ns).bind(uuids(ids)).fetch_all(session.conn()).await?;
        rows.iter().map(|row| Self::read(row, &namespace)).collect()
    }
}
