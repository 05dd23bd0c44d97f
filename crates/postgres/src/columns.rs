//! Reading rows, column by column in the order of the select list.

use std::fmt::Display;

use baldur_core::{EntryId, Timestamp, name::NameError};
use sqlx::types::Uuid;
use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow};

use crate::error::{CorruptRow, StepError};

/// Walks over the columns of a row.
pub(crate) struct Columns<'r> {
    row: &'r PgRow,
    table: &'static str,
    next: usize,
}

impl<'r> Columns<'r> {
    /// Starts at the first column. `table` is for errors.
    pub(crate) fn of(row: &'r PgRow, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    /// The next column as it is.
    pub(crate) fn get<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> Result<T, StepError> {
        let index = self.next;
        self.next += 1;
        Ok(self.row.try_get(index)?)
    }

    /// The next column, a `bigint`, as a number without a sign.
    pub(crate) fn unsigned<T: TryFrom<i64>>(&mut self, name: &'static str) -> Result<T, StepError> {
        let value: i64 = self.get()?;
        T::try_from(value).map_err(|_| self.corrupt(name).into())
    }

    /// The next column, an `integer`, as a number without a sign.
    pub(crate) fn small<T: TryFrom<i32>>(&mut self, name: &'static str) -> Result<T, StepError> {
        let value: i32 = self.get()?;
        T::try_from(value).map_err(|_| self.corrupt(name).into())
    }

    /// The next column as a point in time.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Timestamp, StepError> {
        let micros: i64 = self.get()?;
        Timestamp::from_micros(micros).map_err(|_| self.corrupt(name).into())
    }

    /// The next column as a point in time, if there is one.
    pub(crate) fn time_opt(&mut self, name: &'static str) -> Result<Option<Timestamp>, StepError> {
        let micros: Option<i64> = self.get()?;
        let at = micros.map(Timestamp::from_micros).transpose();
        at.map_err(|_| self.corrupt(name).into())
    }

    /// The next column as an id.
    pub(crate) fn id(&mut self) -> Result<EntryId, StepError> {
        let id: Uuid = self.get()?;
        Ok(EntryId::from_bytes(id.into_bytes()))
    }

    /// The next column as an id, if there is one.
    pub(crate) fn id_opt(&mut self) -> Result<Option<EntryId>, StepError> {
        let id: Option<Uuid> = self.get()?;
        Ok(id.map(|id| EntryId::from_bytes(id.into_bytes())))
    }

    /// The next column as a name.
    pub(crate) fn name<T>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<T, NameError>,
    ) -> Result<T, StepError> {
        let text: &str = self.get()?;
        parse(text).map_err(|_| self.corrupt(name).into())
    }

    /// The next column as a name, if there is one.
    pub(crate) fn name_opt<T>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<T, NameError>,
    ) -> Result<Option<T>, StepError> {
        let text: Option<&str> = self.get()?;
        text.map(parse).transpose().map_err(|_| self.corrupt(name).into())
    }

    /// The next column as a word of a closed list, if there is one.
    pub(crate) fn word_opt<T>(
        &mut self,
        name: &'static str,
        from_name: fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StepError> {
        let text: Option<&str> = self.get()?;
        text.map(|text| from_name(text).ok_or_else(|| self.corrupt(name).into())).transpose()
    }

    /// The error for a column of this row.
    pub(crate) fn corrupt(&self, column: &'static str) -> CorruptRow {
        // Most select lists begin with the id.
        let row = self.row.try_get::<Uuid, _>(0);
        let row = row.map_or_else(|_| "?".to_owned(), |key| key.to_string());
        CorruptRow { table: self.table, column, row }
    }

    /// Reads the next column with a parser of its own.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, StepError> {
        let text: &str = self.get()?;
        parse(text).map_err(|_| self.corrupt(name).into())
    }
}
