//! One shape for every error that leaves a service: a gRPC code with `google.rpc` details.

use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` of Pentad.
pub const ERROR_DOMAIN: &str = "pentad";
/// Key of the hint in the metadata of `ErrorInfo`.
const HINT: &str = "hint";

/// An error on its way to a client. Callers choose what to do by code and `reason`, never by text.
///
/// ```
/// use pentad_api::{Failure, status};
/// use tonic::{Code, Status};
/// let status: Status = Failure::new(Code::NotFound, "UNKNOWN_BLOCK", "no block at height 9")
///     .with_hint("the tip is at height 3")
///     .into();
/// assert_eq!(status.code(), Code::NotFound);
/// assert_eq!(status::explain(&status).reason, "UNKNOWN_BLOCK");
/// assert_eq!(status::explain(&status).hint.as_deref(), Some("the tip is at height 3"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    reason: &'static str,
    message: String,
    hint: Option<String>,
    field: Option<String>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// `reason` is SCREAMING_SNAKE_CASE and never changes; `message` says what is wrong.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), hint: None, field: None, retry_after: None }
    }

    /// A request field that is missing or cannot be understood (INVALID_ARGUMENT).
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = field.into();
        let message = format!("{field}: {}", message.into());
        Self { field: Some(field), ..Self::new(Code::InvalidArgument, "INVALID_FIELD", message) }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request field that is at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// When it is worth trying again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let metadata: HashMap<String, String> =
            failure.hint.into_iter().map(|hint| (HINT.to_owned(), hint)).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(failure.reason, ERROR_DOMAIN, metadata);
        if let Some(field) = failure.field {
            details.add_bad_request_violation(field, failure.message.clone());
        }
        if failure.retry_after.is_some() {
            details.set_retry_info(failure.retry_after);
        }
        Status::with_error_details(failure.code, failure.message, details)
    }
}

/// What a client can tell about a failed call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The stable reason; empty when the server gave none.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The request field at fault.
    pub field: Option<String>,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
}

/// Reads the details that a [`Failure`] put into a status.
#[must_use]
pub fn explain(status: &Status) -> Explanation {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
    Explanation {
        reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
        hint: info.and_then(|info| info.metadata.get(HINT).cloned()),
        field: details
            .bad_request()
            .and_then(|bad| bad.field_violations.first())
            .map(|violation| violation.field.clone()),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// The code as the gRPC documents spell it.
#[must_use]
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Why a call got no answer: the innermost reason that the transport gives; "Connection refused"
/// says more than "transport error". What is wrong with TLS, `HandshakeError::among` says better.
#[must_use]
pub fn root_cause(status: &Status) -> String {
    let mut cause = match status.source() {
        Some(cause) => cause,
        None if status.message().is_empty() => return code_name(status.code()).to_owned(),
        None => return status.message().to_owned(),
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_way_through_a_status() {
        let status: Status = Failure::invalid_field("address", "not base58check")
            .with_hint("copy it again")
            .with_retry_after(Duration::from_secs(2))
            .into();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "address: not base58check");
        let explanation = explain(&status);
        assert_eq!(explanation.reason, "INVALID_FIELD");
        assert_eq!(explanation.hint.as_deref(), Some("copy it again"));
        assert_eq!(explanation.field.as_deref(), Some("address"));
        assert_eq!(explanation.retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn foreign_status_has_an_empty_explanation() {
        assert_eq!(explain(&Status::internal("oops")), Explanation::default());
    }
}
