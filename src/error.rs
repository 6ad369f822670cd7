//! One error for the whole program: what kind it is, what happened, and where.
//!
//! A kind exists only where a caller acts on it; all else is message and context. What must hold: an error
//! whose outcome is unknown is [`Kind::OutcomeUnknown`] and nothing else, and no message holds a secret.
//! How an error looks to a client (status, Iceberg type name) is the server's business.

use std::fmt;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request is malformed or names something impossible.
    BadRequest,
    /// Well formed, but against the metadata's own rules; Java clients tell it from a malformed request.
    InvalidArgument,
    /// No credentials, or wrong ones.
    NotAuthorized,
    /// Known caller, too small a role.
    Forbidden,
    /// The namespace does not exist.
    NoSuchNamespace,
    /// The table does not exist.
    NoSuchTable,
    /// The view does not exist.
    NoSuchView,
    /// Something else that was named does not exist: a file, a route, a catalog.
    NotFound,
    /// History that a reader stands on is not there any more: it begins anew elsewhere.
    Gone,
    /// The name is taken.
    AlreadyExists,
    /// A namespace that still holds something cannot be dropped.
    NamespaceNotEmpty,
    /// A true conflict: a requirement does not hold any more. Nothing landed.
    CommitFailed,
    /// Understood, but contradictory (a property both set and removed).
    Unprocessable,
    /// This catalog does not serve the operation.
    Unsupported,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The body is not what the route takes.
    UnsupportedMediaType,
    /// The body is over the limit.
    PayloadTooLarge,
    /// Too many requests at once; certain that nothing landed.
    TooManyRequests,
    /// Try later; certain that nothing landed.
    Unavailable,
    /// The write may have landed or not, and nobody here can tell.
    OutcomeUnknown,
    /// The upstream answered something that is not an answer.
    BadUpstream,
    /// The upstream did not answer a read in time.
    UpstreamTimeout,
    /// A fault of ours.
    Internal,
}

impl Kind {
    /// Whether the same call may be repeated by us at once without risk and with hope.
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::TooManyRequests)
    }
}

/// An error: its kind, its message, and what each layer knew on the way up.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    context: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` in lower case, without a full stop, with what to do when there is something to do.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), context: Vec::new(), source: None }
    }

    /// [`Kind::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// [`Kind::CommitFailed`].
    pub fn commit_failed(message: impl Into<String>) -> Self {
        Self::new(Kind::CommitFailed, message)
    }

    /// [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// What this error is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message alone, as a client may see it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message with what each layer knew, outermost first, but without causes: for whoever may see places.
    pub fn told(&self) -> String {
        let context = self.context.iter().rev().map(|what| format!("{what}: "));
        context.chain([self.message.clone()]).collect()
    }

    /// Adds what the current layer knows (table, location, job); outermost last.
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.context.push(what.into());
        self
    }

    /// Keeps the cause for the log.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in self.context.iter().rev() {
            write!(f, "{what}: ")?;
        }
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}
