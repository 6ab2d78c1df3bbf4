//! Values of labels: closed sets.

use std::fmt;

/// A closed set of words, each with what it stands for.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The methods of HTTP. What is none of them is `_OTHER`, so that a caller cannot invent label values.
    HttpMethod {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT.
        Connect = "CONNECT",
        /// TRACE.
        Trace = "TRACE",
        /// Any other.
        Other = "_OTHER",
    }
}

words! {
    /// What a statement does.
    DbOperation {
        /// Reads rows.
        Select = "select",
        /// Writes new rows.
        Insert = "insert",
        /// Changes rows.
        Update = "update",
        /// Removes rows.
        Delete = "delete",
    }
}

words! {
    /// How a poll ended.
    PollResult {
        /// It brought something.
        Success = "success",
        /// It failed.
        Error = "error",
        /// Nothing new.
        Empty = "empty",
    }
}

words! {
    /// What is asked of the Kubernetes API.
    KubeOperation {
        /// Server-side apply.
        Apply = "apply",
        /// Deletion.
        Delete = "delete",
        /// One object.
        Get = "get",
        /// Many objects.
        List = "list",
        /// Changes as they come.
        Watch = "watch",
        /// Creation.
        Create = "create",
        /// Anything else, discovery among it.
        Other = "other",
    }
}

words! {
    /// How an operation ended.
    OpResult {
        /// As it should.
        Success = "success",
        /// Not so.
        Error = "error",
    }
}

words! {
    /// How a claim of a work order ended.
    ClaimResult {
        /// The agent has an order.
        Claimed = "claimed",
        /// There was none for it.
        Empty = "empty",
    }
}

words! {
    /// How a work order ended.
    WorkClass {
        /// It is done.
        Succeeded = "succeeded",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// Its agent was lost after the start.
        Unknown = "unknown",
        /// Its agents were lost before the start.
        AgentLost = "agent_lost",
        /// It took too long.
        Deadline = "deadline",
        /// An image cannot be had.
        Image = "image",
        /// A program ended with an error.
        ExitCode = "exit_code",
        /// A program had more memory than it may.
        OutOfMemory = "out_of_memory",
        /// A quota of the cluster does not allow it.
        Quota = "quota",
        /// The cluster refuses the objects.
        Refused = "refused",
        /// Anything else.
        Other = "other",
    }
}

impl WorkClass {
    /// The class of a failure's reason.
    #[must_use]
    pub fn of_reason(reason: &str) -> Self {
        match reason {
            "agent_lost" => Self::AgentLost,
            "deadline_exceeded" => Self::Deadline,
            "image_pull_failed" => Self::Image,
            "container_failed" | "job_failed" | "crash_loop" => Self::ExitCode,
            "out_of_memory" => Self::OutOfMemory,
            "quota_exceeded" => Self::Quota,
            "invalid" | "forbidden" | "missing_kind" | "not_found" | "admission_denied" | "webhook_denied" => Self::Refused,
            _ => Self::Other,
        }
    }
}

impl From<&http::Method> for HttpMethod {
    fn from(method: &http::Method) -> Self {
        Self::ALL.iter().copied().find(|known| known.as_str() == method.as_str()).unwrap_or(Self::Other)
    }
}

impl DbOperation {
    /// The word in SQL and in span attributes.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}
