//! The members of one JSON object, taken out by name; what is left over or repeated can be told.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::query::clip;

/// Most members of an object; real ones have a dozen, a poll's `topics` a hundred.
const MAX_MEMBERS: usize = 512;

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) field: Cow<'static, str>,
    pub(crate) why: Cow<'static, str>,
}

impl Wrong {
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }

    pub(crate) fn missing(field: &'static str) -> Self {
        Self::new(field, "this member is required")
    }
}

/// Members that nobody has taken yet, in the order sent.
#[derive(Debug, Default)]
pub(crate) struct Members<'a> {
    rows: Vec<(Cow<'a, str>, &'a str)>,
    repeated: Option<String>,
}

impl<'a> Members<'a> {
    /// Reads an object; `None` if the bytes are not one JSON object, or one beyond all bounds.
    pub(crate) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Takes the value of `name` as it is spelled.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a str> {
        let at = self.rows.iter().position(|(have, _)| have == name)?;
        Some(self.rows.remove(at).1)
    }

    /// The value of `name` as it is spelled; it is not taken.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a str> {
        let row = self.rows.iter().find(|(have, _)| have == name)?;
        Some(row.1)
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, Wrong> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match serde_json::from_str::<BorrowedText<'a>>(raw) {
            Ok(text) => Ok(Some(text.0)),
            Err(_) => Err(Wrong::new(name, "this member is a string")),
        }
    }

    /// Takes a string that must be there.
    pub(crate) fn need_text(&mut self, name: &'static str) -> Result<Cow<'a, str>, Wrong> {
        self.text(name)?.ok_or_else(|| Wrong::missing(name))
    }

    /// Takes a string that says a `T`.
    pub(crate) fn parsed<T>(&mut self, name: &'static str) -> Result<Option<T>, Wrong>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|why: T::Err| Wrong::new(name, why.to_string()))
    }

    /// Takes a string that says a `T` and must be there.
    pub(crate) fn need_parsed<T>(&mut self, name: &'static str) -> Result<T, Wrong>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.parsed(name)?.ok_or_else(|| Wrong::missing(name))
    }

    /// Takes a whole number without sign, fraction or exponent.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<Option<u64>, Wrong> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let number = Some(raw).filter(|raw| raw.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|raw| raw.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Wrong::new(name, "this member is a whole number")),
        }
    }

    /// Takes `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Wrong> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Wrong::new(name, "this member is true or false")),
        }
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Self>, Wrong> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match Self::read(raw.as_bytes()) {
            Some(members) => Ok(Some(members)),
            None => Err(Wrong::new(name, "this member is an object")),
        }
    }

    /// Takes an array.
    pub(crate) fn array(&mut self, name: &'static str) -> Result<Option<Vec<&'a str>>, Wrong> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match serde_json::from_str::<Vec<&'a RawValue>>(raw) {
            Ok(rows) => Ok(Some(rows.into_iter().map(RawValue::get).collect())),
            Err(_) => Err(Wrong::new(name, "this member is an array")),
        }
    }

    /// Refuses an object, the member `field` of another, that names something twice.
    pub(crate) fn no_repeats(&self, field: &'static str) -> Result<(), Wrong> {
        match &self.repeated {
            Some(name) => Err(Wrong::new(field, format!("`{name}` is repeated"))),
            None => Ok(()),
        }
    }

    /// Refuses what nobody has taken, and what came twice. For servers; clients ignore it.
    pub(crate) fn finish(&self) -> Result<(), Wrong> {
        if let Some(name) = &self.repeated {
            return Err(Wrong::new(clip(name), "repeated member"));
        }
        match self.rows.first() {
            Some((name, _)) => Err(Wrong::new(clip(name), "unknown member")),
            None => Ok(()),
        }
    }

    /// What nobody has taken: names and values as spelled.
    pub(crate) fn into_rows(self) -> Vec<(Cow<'a, str>, &'a str)> {
        self.rows
    }
}

/// Text that is borrowed unless it has escapes.
#[derive(Deserialize)]
pub(crate) struct BorrowedText<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<BorrowedText<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    if members.rows.iter().any(|(have, _)| *have == name.0) {
                        members.repeated.get_or_insert(name.0.into_owned());
                        continue;
                    }
                    if members.rows.len() == MAX_MEMBERS {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    members.rows.push((name.0, value.get()));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_by_name_and_the_rest_is_told() {
        let mut members = Members::read(br#" {"a":"x\u0041","n":7,"b":true,"z":{ }} "#).unwrap();
        assert_eq!(members.text("a").unwrap().as_deref(), Some("xA"));
        assert_eq!(members.number("n").unwrap(), Some(7));
        assert_eq!(members.flag("b").unwrap(), Some(true));
        assert_eq!(members.text("none").unwrap(), None);
        assert_eq!(members.finish().unwrap_err().field, "z");
        assert!(members.object("z").unwrap().is_some());
        assert_eq!(members.finish(), Ok(()));
    }

    #[test]
    fn a_repeated_member_is_told_by_its_name() {
        let mut members = Members::read(br#"{"a":1,"\u0061":2}"#).unwrap();
        assert_eq!(members.number("a").unwrap(), Some(1));
        assert_eq!(
            members.finish().unwrap_err(),
            Wrong::new("a", "repeated member")
        );
    }

    #[test]
    fn only_whole_numbers_are_numbers() {
        for bad in ["1.0", "1e3", "-1", "\"1\"", "null", "18446744073709551616"] {
            let json = format!("{{\"n\":{bad}}}");
            let mut members = Members::read(json.as_bytes()).unwrap();
            assert_eq!(members.number("n").unwrap_err().field, "n", "{bad}");
        }
    }

    #[test]
    fn what_is_no_object_is_none() {
        for bad in ["", "[]", "\"a\"", "{", "{} {}", "{\"a\":}", "nul"] {
            assert!(Members::read(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Members::read(b"{\"a\":\"\xff\"}").is_none());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(60_000), "]".repeat(60_000));
        assert!(Members::read(deep.as_bytes()).is_some());
        let wide: String = (0..600).map(|n| format!(",\"m{n}\":0")).collect();
        assert!(Members::read(format!("{{{}}}", &wide[1..]).as_bytes()).is_none());
    }
}
