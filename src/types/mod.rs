//! Plain data of the service. These types read every response they can and write the wire format back.
//! They import nothing else of this crate.

mod batch;
mod job;
mod lenient;
mod molecule;
mod page;
mod timestamp;

pub(crate) use batch::LARGEST_BATCH;
pub use batch::{BatchEntry, BatchSubmission, PartialBatch, SubmissionStatus};
pub(crate) use job::Submitted;
pub use job::{JobId, JobState, JobSummary};
pub use molecule::{Atom, Element, MoleculePreview};
pub use page::JobsPage;
pub use timestamp::Timestamp;
