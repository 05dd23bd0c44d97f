//! Reading settings: a file, then the environment on top of it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::{
    Settings,
    node::{Node, NodeError, Origin, Problem, Value},
};

/// What every variable starts with that means a setting.
pub const ENV_PREFIX: &str = "BALDUR__";

/// The largest settings file: 1 MiB.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// How deep sections nest at most: `handlers.<domain>.headers.<name>`.
const MAX_DEPTH: usize = 4;

/// Why settings were refused. Texts name the key and where it was given, and never repeat a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file can't be read.
    #[error("the settings file {} can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{at}: {problem}")]
    Syntax {
        /// File and line.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such setting.
    #[error("{at}: there is no setting `{key}`; {advice}")]
    Unknown {
        /// File and line, or the variable.
        at: String,
        /// The key as it was given.
        key: String,
        /// The nearest key, or all that exist there.
        advice: String,
    },
    /// The value is not allowed.
    #[error("{at}: `{key}` {problem}")]
    Value {
        /// File and line, or the variable.
        at: String,
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The value, or a combination of values, was refused when it was put to use.
    #[error("the setting `{key}` is not usable: {problem}")]
    Unusable {
        /// The key or its section.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl Settings {
    /// Reads a file, if one is given, and then variables, which win.
    ///
    /// `env` yields pairs of name and value, such as `std::env::vars()`. Only names with [`ENV_PREFIX`] count:
    /// `BALDUR__STORE__URL` is `store.url`. An empty value counts as not given. Lists are separated by commas.
    ///
    /// # Errors
    ///
    /// For a file that can't be read, unknown keys and values that are not allowed.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let text = file.map(read).transpose()?;
        let name = file.map_or_else(String::new, |path| path.display().to_string());
        Self::parse(text.as_deref().unwrap_or_default(), &name, env)
    }

    /// Reads TOML text, which errors call `name`, and then variables, as [`load`](Self::load) does.
    ///
    /// # Errors
    ///
    /// See [`load`](Self::load).
    pub fn parse(
        text: &str,
        name: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut tree = toml_tree(text, name)?;
        for (variable, value) in env {
            merge(&mut tree, &variable, value)?;
        }
        let root = Node { value: Value::Section(tree), origin: Arc::from(name) };
        Self::deserialize(root).map_err(explain)
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::File { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE_BYTES {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {length} bytes; at most {MAX_FILE_BYTES} are read"),
        )));
    }
    fs::read_to_string(path).map_err(failed)
}

fn toml_tree(text: &str, name: &str) -> Result<BTreeMap<String, Node>, SettingsError> {
    let origin = |at: usize| -> Origin {
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        Arc::from(format!("{name}:{line}"))
    };
    let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        at: error.span().map_or_else(|| name.to_owned(), |span| origin(span.start).to_string()),
        problem: error.message().to_owned(),
    })?;
    section(table.into_inner(), &origin)
}

fn section(
    table: DeTable<'_>,
    origin: &dyn Fn(usize) -> Origin,
) -> Result<BTreeMap<String, Node>, SettingsError> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let at = origin(key.span().start);
        let value = value_of(value.into_inner(), key.get_ref(), &at, origin)?;
        entries.insert(key.into_inner().into_owned(), Node { value, origin: at });
    }
    Ok(entries)
}

fn value_of(
    value: DeValue<'_>,
    key: &str,
    at: &Origin,
    origin: &dyn Fn(usize) -> Origin,
) -> Result<Value, SettingsError> {
    let bad = |problem: &str| SettingsError::Value {
        at: at.to_string(),
        key: key.to_owned(),
        problem: problem.to_owned(),
    };
    Ok(match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| bad("is too large a number"))?,
        DeValue::Float(number) => {
            number.as_str().parse().map(Value::Float).map_err(|_| bad("is no usable number"))?
        }
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Datetime(_) => return Err(bad("is a date, which no setting takes")),
        DeValue::Array(items) => {
            let mut list = Vec::new();
            for item in items {
                let value = value_of(item.into_inner(), key, at, origin)?;
                list.push(Node { value, origin: Arc::clone(at) });
            }
            Value::List(list)
        }
        DeValue::Table(table) => Value::Section(section(table, origin)?),
    })
}

fn merge(
    tree: &mut BTreeMap<String, Node>,
    variable: &str,
    value: String,
) -> Result<(), SettingsError> {
    let Some(key) = variable.strip_prefix(ENV_PREFIX) else { return Ok(()) };
    if value.is_empty() {
        return Ok(());
    }
    let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    if path.len() > MAX_DEPTH || path.iter().any(String::is_empty) {
        return Err(SettingsError::Unknown {
            at: variable.to_owned(),
            key: path.join("."),
            advice: "names are separated by two underscores, as in BALDUR__STORE__URL".to_owned(),
        });
    }
    let origin: Origin = Arc::from(variable);
    let mut entries = tree;
    for name in sections {
        let new = || Node { value: Value::Section(BTreeMap::new()), origin: Arc::clone(&origin) };
        let node = entries.entry(name.clone()).or_insert_with(new);
        if !matches!(node.value, Value::Section(_)) {
            *node = new();
        }
        let Value::Section(inner) = &mut node.value else { return Ok(()) };
        entries = inner;
    }
    entries.insert(last.clone(), Node { value: Value::Raw(value), origin });
    Ok(())
}

fn explain(error: NodeError) -> SettingsError {
    let NodeError { key, origin, problem } = error;
    let at = origin.map_or_else(|| "settings".to_owned(), |origin| origin.to_string());
    let name = key.join(".");
    match problem {
        Problem::Bad(problem) => SettingsError::Value { at, key: name, problem },
        Problem::Unknown(known) => {
            let (last, sections) = key.split_last().map_or(("", &[][..]), |(l, s)| (l, s));
            SettingsError::Unknown { at, advice: advice(last, sections, known), key: name }
        }
    }
}

/// The nearest key when one is near, else all of them.
fn advice(given: &str, sections: &[String], known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    match nearest {
        Some((_, name)) => {
            let mut path = sections.to_vec();
            path.push(name.to_owned());
            format!("did you mean `{}`?", path.join("."))
        }
        None => format!("known here: {}", known.join(", ")),
    }
}
