//! What a request asks for, as the API server reads paths: it asks whether somebody may with the same words.

use axum::http::Method;

/// The longest path that is read, in bytes.
const MAX_PATH: usize = 2048;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A path that is of no resource: what there is.
    Path {
        /// It.
        path: String,
        /// The method in lower case.
        verb: &'static str,
    },
    /// A resource.
    Resource(Attributes),
}

/// A resource, and what is to be done with it. What is missing is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// What is to be done.
    pub verb: &'static str,
    /// The API's group.
    pub group: String,
    /// And version.
    pub version: String,
    /// In which namespace.
    pub namespace: String,
    /// Of which kind.
    pub resource: String,
    /// Which.
    pub name: String,
    /// What of it.
    pub subresource: String,
}

impl Request {
    /// Whether it only reads.
    #[must_use]
    pub fn reads(&self) -> bool {
        match self {
            Request::Path { verb, .. } => matches!(*verb, "get" | "head"),
            Request::Resource(attributes) => matches!(attributes.verb, "get" | "list"),
        }
    }
}

/// Reads what is asked for; none if it is no path.
#[must_use]
pub fn read(method: &Method, path: &str) -> Option<Request> {
    if path.len() > MAX_PATH {
        return None;
    }
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decoded)
        .collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => {
            let path = path.to_owned();
            let verb = lower(method);
            return Some(Request::Path { path, verb });
        }
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource] => (*resource, *name, *subresource),
        _ => return None,
    };
    Some(Request::Resource(Attributes {
        verb: verb(method, name),
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }))
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// What is done with a resource by a method.
fn verb(method: &Method, name: &str) -> &'static str {
    match (lower(method), name) {
        ("get" | "head", "") => "list",
        ("get" | "head", _) => "get",
        ("post", _) => "create",
        ("put", _) => "update",
        ("delete", "") => "deletecollection",
        (other, _) => other,
    }
}

/// A part of a path without its percent signs (RFC 3986 §2.1).
pub(super) fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => (digit(*high)? << 4 | digit(*low)?, after),
            (b'%', _) => return None,
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes(method: Method, path: &str) -> [String; 7] {
        match read(&method, path) {
            Some(Request::Resource(all)) => [
                all.verb.to_owned(),
                all.group,
                all.version,
                all.namespace,
                all.resource,
                all.name,
                all.subresource,
            ],
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn resources_are_named_as_the_api_server_names_them() {
        let custom = "/apis/custom.metrics.k8s.io/v1beta2";
        let read =
            |method, path: &str| attributes(method, &format!("{custom}{path}"))[3..].join(" ");
        assert_eq!(
            read(Method::GET, "/namespaces/m/pods/%2A/showrunner_viewers"),
            "m pods * showrunner_viewers"
        );
        assert_eq!(
            read(
                Method::GET,
                "/namespaces/m/medianodes.showrunner.dev/eu/showrunner_viewers"
            ),
            "m medianodes.showrunner.dev eu showrunner_viewers"
        );
        assert_eq!(read(Method::GET, "/namespaces/m/metrics/x"), "m metrics x ");
        assert_eq!(read(Method::GET, "/nodes/n/x"), " nodes n x");
        assert_eq!(read(Method::GET, "/namespaces/m"), " namespaces m ");
        for (method, path, verb) in [
            (Method::GET, "/namespaces/m/pods/a/x", "get"),
            (Method::HEAD, "/namespaces/m/pods/a/x", "get"),
            (Method::GET, "/namespaces/m/pods", "list"),
            (Method::POST, "/namespaces/m/pods", "create"),
            (Method::PUT, "/namespaces/m/pods/a", "update"),
            (Method::PATCH, "/namespaces/m/pods/a", "patch"),
            (Method::DELETE, "/namespaces/m/pods/a", "delete"),
            (Method::DELETE, "/namespaces/m/pods", "deletecollection"),
        ] {
            let found = attributes(method.clone(), &format!("{custom}{path}"));
            assert_eq!(found[0], verb, "{method} {path}");
        }
    }

    #[test]
    fn what_is_of_no_resource_is_a_path() {
        for path in ["/", "/apis", "/apis/g", "/apis/g/v", "/openapi/v2", "/x"] {
            let found = read(&Method::GET, path);
            let path = path.to_owned();
            assert_eq!(found, Some(Request::Path { path, verb: "get" }));
        }
        let post = read(&Method::POST, "/apis").unwrap();
        assert!(!post.reads());
    }

    #[test]
    fn what_is_no_path_is_none() {
        for path in [
            "/apis/g/v/a/%",
            "/apis/g/v/%zz",
            "/apis/g/v/%ff",
            "/apis/g/v/a/b/c/d",
        ] {
            assert_eq!(read(&Method::GET, path), None, "{path}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH));
        assert_eq!(read(&Method::GET, &long), None);
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange(path in "(/[a-z%0-9.*]{0,9}){0,9}") {
            let _ = read(&Method::GET, &path);
        }
    }
}
