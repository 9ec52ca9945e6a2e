//! Bytes as hex in JSON (`#[serde(with = "hex_text")]`).

use serde::{Deserialize as _, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(
    bytes: &impl AsRef<[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

pub(crate) fn deserialize<'de, D, B>(deserializer: D) -> Result<B, D::Error>
where
    D: Deserializer<'de>,
    B: TryFrom<Vec<u8>>,
{
    let text = String::deserialize(deserializer)?;
    let bytes = hex::decode(text).map_err(de::Error::custom)?;
    let length = bytes.len();
    B::try_from(bytes).map_err(|_| de::Error::custom(format!("{length} bytes are not right")))
}
