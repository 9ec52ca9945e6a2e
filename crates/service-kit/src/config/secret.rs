use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A value that must not reach logs or error messages: `Debug` shows a placeholder, and a value of
/// the wrong type is refused without repeating it.
///
/// ```
/// # use pentad_service_kit::config::Secret;
/// let token = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.reveal(), "hunter2");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: the name makes every use easy to find.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own message would quote what it found.
        T::deserialize(deserializer)
            .map(Self)
            .map_err(|_| de::Error::custom("not a secret of the expected type"))
    }
}
