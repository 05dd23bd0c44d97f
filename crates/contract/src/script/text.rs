//! Texts of a history: short to write, long if need be.

use std::{borrow::Cow, fmt, str::FromStr};

use baldur_core::Json;

use crate::build::parsed;

/// A piece of text, repeated. Its debug form is Rust.
#[derive(Clone)]
pub(crate) struct Text {
    piece: Cow<'static, str>,
    times: usize,
}

/// This text.
pub(crate) fn text(piece: impl Into<Cow<'static, str>>) -> Text {
    Text { piece: piece.into(), times: 1 }
}

impl Text {
    /// The text so many times over.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub(crate) fn whole(&self) -> String {
        self.piece.repeat(self.times)
    }

    /// The text as a name, a key or the like; those who make histories see to it that it is one.
    pub(crate) fn parsed<T: FromStr<Err: fmt::Debug>>(&self) -> T {
        parsed(&self.whole())
    }

    /// The text as JSON if it is that, else a JSON string of it.
    pub(crate) fn json(&self) -> Json {
        let whole = self.whole();
        Json::parse(&whole).unwrap_or_else(|_| Json::string(&whole))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text({:?})", self.piece)?;
        if self.times == 1 { Ok(()) } else { write!(f, ".times({})", self.times) }
    }
}
