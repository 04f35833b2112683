//! Label selectors as they are written in queries: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, with commas
//! between them (the syntax of `labels.Parse` of Kubernetes).

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// The longest that is read, in bytes, and the most parts of it: an HPA's is its site's, of one part.
const MAX_TEXT: usize = 4096;

/// This is no selector.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no label selector")]
pub struct InvalidSelector(String);

/// Reads a selector. An empty one selects all.
///
/// # Errors
/// If it is none.
pub fn parse(text: &str) -> Result<Selector, InvalidSelector> {
    let invalid = || InvalidSelector(text.chars().take(100).collect());
    if text.len() > MAX_TEXT {
        return Err(invalid());
    }
    if text.trim().is_empty() {
        return Ok(Selector::default());
    }
    parts(text)
        .map(|part| expression(part.trim()))
        .collect::<Option<Vec<Expression>>>()
        .map(Selector::from_iter)
        .ok_or_else(invalid)
}

/// What is between commas, but for those in parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut is_within = false;
    text.split(move |c| {
        is_within = (is_within || c == '(') && c != ')';
        c == ',' && !is_within
    })
}

fn expression(part: &str) -> Option<Expression> {
    if let Some(listed) = part.strip_suffix(')') {
        let (head, values) = listed.split_once('(')?;
        let mut words = head.split_whitespace();
        let (key, operator, None) = (words.next()?, words.next()?, words.next()) else {
            return None;
        };
        let key = self::key(key)?;
        let values: Option<BTreeSet<String>> = values.split(',').map(value).collect();
        return match operator {
            "in" => Some(Expression::In(key, values?)),
            "notin" => Some(Expression::NotIn(key, values?)),
            _ => None,
        };
    }
    if let Some((name, than)) = part.split_once("!=") {
        return Some(Expression::NotEqual(key(name)?, value(than)?));
    }
    if let Some((name, than)) = part.split_once('=') {
        let than = than.strip_prefix('=').unwrap_or(than);
        return Some(Expression::Equal(key(name)?, value(than)?));
    }
    match part.strip_prefix('!') {
        Some(name) => Some(Expression::DoesNotExist(key(name)?)),
        None => Some(Expression::Exists(key(part)?)),
    }
}

/// A label's key: a name, perhaps with the domain of whoever gives it meaning before a slash.
fn key(text: &str) -> Option<String> {
    let key = text.trim();
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    let is_one =
        !name.is_empty() && key.len() <= 317 && key.chars().all(|c| is_plain(c) || c == '/');
    is_one.then(|| key.to_owned())
}

fn value(text: &str) -> Option<String> {
    let value = text.trim();
    let is_one = value.len() <= 63 && value.chars().all(is_plain);
    is_one.then(|| value.to_owned())
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::SelectorExt;
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    #[test]
    fn selectors_select_as_kubernetes_does() {
        for (selector, of, is_selected) in [
            ("", "a=1", true),
            ("a=1", "a=1,b=2", true),
            ("a==1", "a=1", true),
            ("a=1,b!=2", "a=1,b=2", false),
            ("a != 1", "b=1", true),
            ("a in (1, 2)", "a=2", true),
            ("a in (1,2),b", "a=2", false),
            ("a notin (1)", "a=2", true),
            ("!a", "b=1", true),
            ("!a", "a=1", false),
            (
                "showrunner.dev/media-node=eu",
                "showrunner.dev/media-node=eu",
                true,
            ),
            ("a=", "a=1", false),
        ] {
            let parsed = parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(of)), is_selected, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "a b",
            "=1",
            ",",
            "a,,b",
            "a in 1",
            "a in (1",
            "a at (1)",
            "a=b=c",
            "a=ä",
            "!",
            "a/=1",
            "a in b (1)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"a,".repeat(MAX_TEXT)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_selected_can_be_written_and_read_again(
            keys in proptest::collection::vec("[a-z]{1,3}(/[a-z]{1,3})?", 1..4),
            values in proptest::collection::btree_set("[a-z0-9]{1,3}", 1..3),
            kind in 0u8..6,
        ) {
            let one = values.first().cloned().unwrap_or_default();
            let expressions = keys.into_iter().map(|key| match kind {
                0 => Expression::In(key, values.clone()),
                1 => Expression::NotIn(key, values.clone()),
                2 => Expression::Equal(key, one.clone()),
                3 => Expression::NotEqual(key, one.clone()),
                4 => Expression::Exists(key),
                _ => Expression::DoesNotExist(key),
            });
            let selector = Selector::from_iter(expressions);
            prop_assert_eq!(parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }
}
