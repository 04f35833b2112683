//! Where a show comes from, if no host publishes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;

/// Where a show comes from.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Another server, of which the room is a viewer: nobody publishes in the room then. Without it hosts do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
}

/// A server that a show is pulled from.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    /// Its WHEP endpoint, such as `status.endpoints.watch` of a room in another cluster.
    #[schemars(length(max = 1024))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        r"self.matches('^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[!-~]*)?$')",
        "source.pull.url is none that can be asked: write that of a WHEP endpoint, without user name and password, as in https://live.example.com/whep/shop/sale",
    ),
    Rule::new(
        "!self.contains('#')",
        "source.pull.url has a #: what follows it is for browsers, so leave it out",
    )]))]
    pub url: String,
    /// The token that it wants, as a bearer token: a key of a Secret in the room's namespace. Without it none is shown.
    /// The operator must be allowed to get this Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<KeyReference>,
    /// The authorities (PEM) that its certificate may be of: a key of a ConfigMap in the room's namespace. Without it
    /// they are the public ones. The operator must be allowed to get this ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<KeyReference>,
}

/// A key of an object in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
