//! Plain data of the service. These types read responses in as many forms as they can, and write the format of the
//! service. They import nothing else of this crate.

mod batch;
mod job;
mod lenient;
mod molecule;
mod page;
mod timestamp;

pub use batch::{BatchEntry, BatchSubmission, PartialBatch, SubmissionStatus};
pub(crate) use job::Submitted;
pub use job::{JobId, JobState, JobSummary};
pub(crate) use lenient::fields;
pub use molecule::{Atom, Element, MoleculePreview};
pub use page::JobsPage;
pub(crate) use page::ReceivedPage;
pub use timestamp::Timestamp;

/// Implements what the string types have in common. `Display` supports padding, as that of `str` does.
macro_rules! like_a_str {
    ($($type:ty),*) => {$(
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}

like_a_str!(Element, JobId, JobState, SubmissionStatus, Timestamp);
