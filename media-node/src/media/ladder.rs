//! What the layers are called that transcoders add to a host's picture.
//!
//! The names of all layers of a room must differ: viewers choose by them, and other pods ask for them. What a transcoder
//! calls its layers is put behind a prefix that the node gives it, which no host's layer can begin with: there is no dot
//! in a RID (RFC 8851 §10). So the name alone says on any shard and pod whose a layer is.

use std::sync::Arc;

/// The most layers that a room's transcoders add to it together.
pub const MAX_RUNGS: usize = 4;

const MARK: &str = "t.";

/// What the names of a transcoder's layers begin with; `place` tells it from the room's others.
#[must_use]
pub fn prefix(place: usize) -> Arc<str> {
    format!("{MARK}{place}").into()
}

/// The name of the layer that a transcoder calls `rid`; its only one has none.
#[must_use]
pub fn name(prefix: &str, rid: &str) -> Arc<str> {
    match rid {
        "" => prefix.into(),
        rid => format!("{prefix}.{rid}").into(),
    }
}

/// What the transcoder with this prefix calls the layer of this name; none if it is not one of its own.
#[must_use]
pub fn own<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    match name.strip_prefix(prefix)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

/// Whether a layer is a transcoder's.
#[must_use]
pub fn is_rung(name: &str) -> bool {
    name.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_a_layer_is_and_what_it_is_called_there() {
        let (one, eleven) = (prefix(1), prefix(11));
        for rid in ["", "q", "t-1"] {
            let name = name(&one, rid);
            assert!(is_rung(&name) && !is_rung(rid), "{name}");
            assert_eq!(own(&one, &name), Some(rid));
            assert_eq!(own(&eleven, &name), None);
        }
        assert_eq!(own(&one, &name(&eleven, "q")), None);
        assert_eq!(own(&one, "q"), None);
    }
}
