//! Query parameters, read strictly: what is unknown, repeated or empty is refused, and what is allowed is said.

use std::fmt::Display;

use crate::problem::{self, Problem};

/// The parameters of a request, decoded, by their names.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(&'static str, String)>,
}

/// A parameter that a route takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Param {
    /// At most once.
    Once(&'static str),
    /// As often as one likes.
    Many(&'static str),
}

impl Param {
    const fn name(self) -> &'static str {
        match self {
            Self::Once(name) | Self::Many(name) => name,
        }
    }
}

/// The most values of one parameter.
const MOST: usize = 32;

impl Params {
    /// Reads a query string of a route that takes these.
    pub(crate) fn read(query: Option<&str>, known: &[Param]) -> Result<Self, Problem> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name).unwrap_or_default();
            let param = known.iter().find(|param| param.name() == name);
            let param = *param.ok_or_else(|| unknown(known))?;
            let name = param.name();
            let value =
                decode(value).ok_or_else(|| bad(name, &"it must be percent-encoded UTF-8"))?;
            if value.is_empty() {
                return Err(bad(name, &"it is empty; leave it out, or give a value"));
            }
            let given = pairs.iter().filter(|(other, _)| *other == name).count();
            match param {
                Param::Once(_) if given > 0 => {
                    return Err(bad(name, &"it is there twice; give it once"));
                }
                Param::Many(_) if given >= MOST => {
                    return Err(bad(name, &format_args!("give it at most {MOST} times")));
                }
                Param::Once(_) | Param::Many(_) => pairs.push((name, value)),
            }
        }
        Ok(Self { pairs })
    }

    /// All values of a parameter.
    pub(crate) fn all<T, E: Display>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Problem> {
        let values = self.pairs.iter().filter(|(other, _)| *other == name);
        values.map(|(_, value)| parse(value).map_err(|error| bad(name, &error))).collect()
    }

    /// The one value of a parameter.
    pub(crate) fn one<T, E: Display>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        Ok(self.all(name, parse)?.into_iter().next())
    }
}

/// A parameter that can't be used. The value is not repeated.
fn bad(name: &str, problem: &dyn Display) -> Problem {
    problem::BAD_QUERY.because(format!("`{name}`: {problem}"))
}

fn unknown(known: &[Param]) -> Problem {
    let names: Vec<&str> = known.iter().map(|param| param.name()).collect();
    problem::BAD_QUERY.because(match names.as_slice() {
        [] => "this path takes no parameters".to_owned(),
        names => format!("there is no such parameter; known are {}", names.join(", ")),
    })
}

/// Takes `+` for a blank, and `%41` for `A`. Nothing for what is no UTF-8, or no such code.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Param; 2] = [Param::Once("limit"), Param::Many("status")];

    fn read(query: &str) -> Result<Params, Problem> {
        Params::read(Some(query), &KNOWN)
    }

    #[test]
    fn values_are_decoded_and_parsed() {
        let params = read("status=a%26b&limit=7&status=c+d").expect("allowed");
        let texts = params.all("status", |text| Ok::<_, &str>(text.to_owned()));
        assert_eq!(texts.expect("texts"), ["a&b", "c d"]);
        assert_eq!(params.one("limit", str::parse::<u32>).expect("a number"), Some(7));
        assert!(Params::read(None, &KNOWN).is_ok() && read("").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_and_not_repeated() {
        for (query, words) in [
            ("secret=1", "known are limit, status"),
            ("limit=1&limit=2", "there twice"),
            ("limit=", "empty"),
            ("limit", "empty"),
            ("limit=%zz", "percent-encoded"),
            ("limit=%ff", "percent-encoded"),
            ("limit=%4", "percent-encoded"),
            (&"status=a&".repeat(33), "at most 32 times"),
        ] {
            let problem = read(query).expect_err(query);
            assert!(problem.detail().contains(words), "{query}: {problem:?}");
            assert!(!problem.detail().contains("secret"), "{problem:?}");
        }
        let none = Params::read(Some("a=1"), &[]).expect_err("none known");
        assert_eq!(none.detail(), "this path takes no parameters");
    }
}
