//! A tree of settings that remembers where each value came from, and hands itself to serde.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};

/// Where a value came from, for people: `baldur.toml:12`, `BALDUR__STORE__URL`.
pub(super) type Origin = Arc<str>;

/// A value and where it came from.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as its source wrote it.
#[derive(Clone)]
pub(super) enum Value {
    /// From the environment: text that may stand for any kind of value.
    Raw(String),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A section.
    Section(BTreeMap<String, Node>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Raw(_) | Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Section(_) => "a section",
        }
    }
}

/// What is wrong with a value, and where. Never repeats a value that serde saw: it may be a secret.
#[derive(Debug)]
pub(super) struct NodeError {
    /// The key, outermost name first.
    pub(super) key: Vec<String>,
    /// Where the value came from; `None` until a section knows.
    pub(super) origin: Option<Origin>,
    /// What is wrong.
    pub(super) problem: Problem,
}

/// What can be wrong with a value.
#[derive(Debug)]
pub(super) enum Problem {
    /// No such key; these exist.
    Unknown(&'static [&'static str]),
    /// The value is not allowed.
    Bad(String),
}

impl NodeError {
    fn at(mut self, key: &str, origin: &Origin) -> Self {
        self.key.insert(0, key.to_owned());
        self.origin.get_or_insert_with(|| Arc::clone(origin));
        self
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Unknown(_) => f.write_str("unknown key"),
            Problem::Bad(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for NodeError {}

impl de::Error for NodeError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { key: Vec::new(), origin: None, problem: Problem::Bad(problem.to_string()) }
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self { key: Vec::new(), origin: None, problem: Problem::Unknown(expected) }
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {}", plain(&expected.to_string())))
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {}", plain(&expected.to_string())))
    }
}

/// Rust's words for kinds of values, in plain ones.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        other => other,
    }
}

fn number<T: FromStr>(text: &str, kind: &str) -> Result<T, NodeError> {
    text.trim().parse().map_err(|_| NodeError::custom(format_args!("must be {}", plain(kind))))
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:ty),* $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
                match &self.value {
                    Value::Raw(text) => visitor.$visit(number::<$kind>(text, stringify!($kind))?),
                    Value::Text(_)
                    | Value::Integer(_)
                    | Value::Float(_)
                    | Value::Bool(_)
                    | Value::List(_)
                    | Value::Section(_) => self.deserialize_any(visitor),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Node {
    type Error = NodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.value {
            Value::Raw(text) | Value::Text(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Bool(yes) => visitor.visit_bool(yes),
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Section(entries) => {
                visitor.visit_map(Entries { rest: entries.into_iter(), next: None })
            }
        }
    }

    numbers! {
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i64 visit_i64 i64,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.value {
            Value::Raw(text) => match text.trim() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => Err(NodeError::custom("must be true or false")),
            },
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::List(_)
            | Value::Section(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        let Self { value, origin } = self;
        let Value::Raw(text) = value else {
            return Self { value, origin }.deserialize_any(visitor);
        };
        let items: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Self { value: Value::Raw(item.to_owned()), origin: Arc::clone(&origin) })
            .collect();
        visitor.visit_seq(Items(items.into_iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        match self.value {
            Value::Raw(text) | Value::Text(text) if variants.contains(&text.as_str()) => {
                visitor.visit_enum(Word(text))
            }
            Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::List(_)
            | Value::Section(_) => {
                Err(NodeError::custom(format_args!("must be one of {}", variants.join(", "))))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        let kind = self.value.kind();
        match self.value {
            Value::Section(_) => self.deserialize_any(visitor),
            Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::List(_) => {
                Err(NodeError::custom(format_args!("must be a section of keys, not {kind}")))
            }
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u128 f32 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// The keys of a section.
struct Entries {
    rest: std::collections::btree_map::IntoIter<String, Node>,
    next: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = NodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NodeError> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        let name: de::value::StrDeserializer<'_, NodeError> = key.as_str().into_deserializer();
        let read = seed.deserialize(name).map_err(|error| error.at(&key, &node.origin))?;
        self.next = Some((key, node));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NodeError> {
        let Some((key, node)) = self.next.take() else {
            return Err(NodeError::custom("a value was asked for before its key"));
        };
        let origin = Arc::clone(&node.origin);
        seed.deserialize(node).map_err(|error| error.at(&key, &origin))
    }
}

/// The items of a list.
struct Items(std::vec::IntoIter<Node>);

impl<'de> SeqAccess<'de> for Items {
    type Error = NodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NodeError> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

/// A word that stands for one of several.
struct Word(String);

impl<'de> EnumAccess<'de> for Word {
    type Error = NodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), NodeError> {
        let word: de::value::StrDeserializer<'_, NodeError> = self.0.as_str().into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = NodeError;

    fn unit_variant(self) -> Result<(), NodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, NodeError> {
        Err(NodeError::custom("must be a single word"))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, NodeError> {
        Err(NodeError::custom("must be a single word"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NodeError> {
        Err(NodeError::custom("must be a single word"))
    }
}
