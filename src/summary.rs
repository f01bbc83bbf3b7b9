//! What the service says of a job: plain data that reads every answer it can and writes the wire shape back.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identifier that the server gave to a job.
///
/// An opaque text: nothing is assumed about its form. Every `id` parameter of this crate takes a
/// `JobId`, a `&str` or a `String`.
///
/// ```
/// use atomiverse::JobId;
///
/// let id = JobId::from("9f2c");
/// assert_eq!(id, "9f2c");
/// assert_eq!(id.to_string(), "9f2c");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// The identifier as text.
    ///
    /// ```
    /// assert_eq!(atomiverse::JobId::from("9f2c").as_str(), "9f2c");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for JobId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A map with `JobId` keys can be asked with a `&str`.
impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<String> for JobId {
    fn from(id: String) -> Self {
        JobId(id)
    }
}

impl From<&str> for JobId {
    fn from(id: &str) -> Self {
        JobId(id.to_owned())
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl PartialEq<str> for JobId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for JobId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// One job, in brief: everything that the service's lists say about it, without its results.
///
/// Fields that this version does not know are ignored, and nothing about one job can make a list
/// unreadable short of a field that is missing or of another JSON type than documented.
///
/// ```
/// use atomiverse::{JobState, JobSummary};
///
/// let job: JobSummary = serde_json::from_str(r#"{
///     "job_id": "9f2c", "name": "water", "state": "done", "job_type": "single_point_energy",
///     "created_at": "2026-05-02T14:32:01.123456Z", "billed_core_seconds": 12.5,
///     "molecule_preview": {"formula": "H2", "atoms": [
///         {"element": "H", "position": [0.0, 0.0, -0.37]},
///         {"element": "H", "position": [0.0, 0.0, 0.37]}]}
/// }"#)?;
/// assert_eq!(job.state, JobState::Done);
/// assert_eq!(job.billed_core_seconds, Some(12.5));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WireSummary")]
#[non_exhaustive]
pub struct JobSummary {
    /// The identifier that the server gave to the job.
    pub job_id: JobId,
    /// The user's own name for the job.
    pub name: Option<String>,
    /// Where the job stood when the server answered.
    pub state: JobState,
    /// The kind of computation, such as `single_point_energy` or `opt` (the two that the service's
    /// documentation names). An open list: treat an unknown one as any other.
    pub job_type: String,
    /// When the job was submitted.
    pub created_at: Timestamp,
    /// What the job has cost so far, in core-seconds; `None` where nothing was charged.
    pub billed_core_seconds: Option<f64>,
    /// Formula and atom positions. `None` where the service sent none (a job that starts from a
    /// SMILES text has no atoms) or sent a shape that this version does not know.
    pub molecule_preview: Option<MoleculePreview>,
}

/// What is read; `molecule_preview` may have any shape.
#[derive(Deserialize)]
struct WireSummary {
    job_id: JobId,
    name: Option<String>,
    state: JobState,
    job_type: String,
    created_at: Timestamp,
    billed_core_seconds: Option<f64>,
    molecule_preview: Option<Lenient<MoleculePreview>>,
}

impl From<WireSummary> for JobSummary {
    fn from(wire: WireSummary) -> Self {
        if let Some(Lenient(None)) = wire.molecule_preview {
            log::debug!(
                "job {:?}: its molecule_preview has an unknown shape and is left out",
                wire.job_id.as_str()
            );
        }
        JobSummary {
            job_id: wire.job_id,
            name: wire.name,
            state: wire.state,
            job_type: wire.job_type,
            created_at: wire.created_at,
            billed_core_seconds: wire.billed_core_seconds,
            molecule_preview: wire.molecule_preview.and_then(|preview| preview.0),
        }
    }
}

/// The answer to a submission: only the identifier is certain to be there.
#[derive(Deserialize)]
pub(crate) struct Submitted {
    pub(crate) job_id: JobId,
    name: Option<Lenient<String>>,
    state: Option<Lenient<JobState>>,
    job_type: Option<Lenient<String>>,
    created_at: Option<Lenient<Timestamp>>,
    billed_core_seconds: Option<Lenient<f64>>,
    molecule_preview: Option<Lenient<MoleculePreview>>,
}

/// The job, and its summary where the answer gives its state; what it does not give besides stays empty.
impl From<Submitted> for (JobId, Option<JobSummary>) {
    fn from(answer: Submitted) -> Self {
        fn flat<T>(value: Option<Lenient<T>>) -> Option<T> {
            value.and_then(|Lenient(value)| value)
        }
        let nowhen = || Timestamp { text: String::new(), is_number: false };
        let job_id = answer.job_id;
        let summary = flat(answer.state).map(|state| JobSummary {
            job_id: job_id.clone(),
            name: flat(answer.name),
            state,
            job_type: flat(answer.job_type).unwrap_or_default(),
            created_at: flat(answer.created_at).unwrap_or_else(nowhen),
            billed_core_seconds: flat(answer.billed_core_seconds),
            molecule_preview: flat(answer.molecule_preview),
        });
        (job_id, summary)
    }
}

/// Where a job stands.
///
/// Read in either case (`done` or `DONE`), written in lower case. A state that this version does
/// not know is kept as [`Unknown`](JobState::Unknown) and is not [terminal](JobState::is_terminal).
///
/// ```
/// use atomiverse::JobState;
///
/// let state: JobState = "CANCELLED".parse().unwrap();
/// assert_eq!(state, JobState::Cancelled);
/// assert!(state.is_terminal());
/// assert_eq!(state.to_string(), "cancelled");
/// assert_eq!("paused".parse(), Ok(JobState::Unknown("paused".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Accepted, not started.
    Pending,
    /// Being computed.
    Running,
    /// Finished with a result.
    Done,
    /// Finished without a result.
    Failed,
    /// Stopped before it finished, at the user's request.
    Cancelled,
    /// A state that this version does not know, in the server's words.
    Unknown(String),
}

impl JobState {
    /// Whether the job has come to its end: done, failed or cancelled. Only then can it be deleted.
    ///
    /// ```
    /// use atomiverse::JobState;
    /// assert!(JobState::Failed.is_terminal());
    /// assert!(!JobState::Running.is_terminal());
    /// assert!(!JobState::Unknown("archived".into()).is_terminal());
    /// ```
    pub fn is_terminal(&self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }

    /// The state as the service writes it.
    ///
    /// ```
    /// assert_eq!(atomiverse::JobState::Done.as_str(), "done");
    /// ```
    pub fn as_str(&self) -> &str {
        match self {
            JobState::Pending => "pending",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Unknown(text) => text,
        }
    }
}

impl From<&str> for JobState {
    fn from(text: &str) -> Self {
        use JobState::*;
        [Pending, Running, Done, Failed, Cancelled]
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
            .unwrap_or_else(|| Unknown(text.to_owned()))
    }
}

impl FromStr for JobState {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A moment, kept as the server wrote it.
///
/// The text is never changed nor refused. With the feature `jiff` it converts to a
/// `jiff::Timestamp`; without, the text serves for showing and for comparing days. (The service's
/// documentation does not give the format; the crate assumes RFC 3339, such as
/// `2026-05-02T14:32:01.123456Z`, and UTC where there is no offset.)
///
/// ```
/// use atomiverse::Timestamp;
///
/// let created: Timestamp = serde_json::from_str(r#""2026-05-02T14:32:01Z""#)?;
/// assert!(created.as_str().starts_with("2026-05-02"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timestamp {
    text: String,
    /// The server sent a number: Unix seconds.
    is_number: bool,
}

impl Timestamp {
    /// The server's text; of a number, its digits.
    ///
    /// ```
    /// let created: atomiverse::Timestamp = serde_json::from_str("1777732321")?;
    /// assert_eq!(created.as_str(), "1777732321");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The moment itself, or `None` where the text cannot be read as one.
    ///
    /// A text with no offset is UTC; a number is Unix seconds.
    ///
    /// ```
    /// let created: atomiverse::Timestamp = serde_json::from_str(r#""2026-05-02T14:32:01.5""#)?;
    /// assert_eq!(created.to_jiff(), "2026-05-02T14:32:01.5Z".parse().ok());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[cfg(feature = "jiff")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jiff")))]
    pub fn to_jiff(&self) -> Option<jiff::Timestamp> {
        self.try_into().ok()
    }
}

#[cfg(feature = "jiff")]
#[cfg_attr(docsrs, doc(cfg(feature = "jiff")))]
impl TryFrom<&Timestamp> for jiff::Timestamp {
    type Error = jiff::Error;

    fn try_from(timestamp: &Timestamp) -> Result<Self, Self::Error> {
        let text = timestamp.as_str();
        if timestamp.is_number {
            return match text.parse::<i64>() {
                Ok(seconds) => jiff::Timestamp::from_second(seconds),
                Err(_) => {
                    let seconds = text.parse().unwrap_or(f64::NAN);
                    jiff::SignedDuration::try_from_secs_f64(seconds).and_then(jiff::Timestamp::from_duration)
                }
            };
        }
        text.parse().or_else(|with_offset: jiff::Error| {
            let naive = text.parse::<jiff::civil::DateTime>().map_err(|_| with_offset)?;
            jiff::tz::TimeZone::UTC.to_timestamp(naive)
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_number {
            if let Ok(seconds) = self.text.parse::<i64>() {
                return serializer.serialize_i64(seconds);
            }
            if let Ok(seconds) = self.text.parse::<f64>() {
                return serializer.serialize_f64(seconds);
            }
        }
        serializer.serialize_str(&self.text)
    }
}

/// A molecule for showing: its formula and where its atoms are.
///
/// Read in both shapes that the crate assumes: a list of atoms, or the two lists `symbols` and
/// `positions`; written as a list of atoms.
///
/// ```
/// use atomiverse::MoleculePreview;
///
/// let h2: MoleculePreview = serde_json::from_str(
///     r#"{"formula": "H2", "symbols": ["H", "H"], "positions": [[0, 0, -0.37], [0, 0, 0.37]]}"#)?;
/// assert_eq!(h2.atoms[1].position, [0.0, 0.0, 0.37]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MoleculePreview {
    /// The molecular formula, such as `H2O`.
    pub formula: String,
    /// The atoms, in the server's order.
    pub atoms: Vec<Atom>,
}

impl MoleculePreview {
    /// The molecule in the XYZ format: the number of atoms, the formula, then a line for each atom
    /// with its element and its position in angstrom.
    ///
    /// ```
    /// let h2: atomiverse::MoleculePreview = serde_json::from_str(
    ///     r#"{"formula": "H2", "symbols": ["H", "H"], "positions": [[0, 0, -0.37], [0, 0, 0.37]]}"#)?;
    /// assert_eq!(h2.to_xyz(), "\
    /// 2
    /// H2
    /// H       0.00000000     0.00000000    -0.37000000
    /// H       0.00000000     0.00000000     0.37000000
    /// ");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_xyz(&self) -> String {
        let comment: String = self.formula.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut xyz = format!("{}\n{comment}\n", self.atoms.len());
        for Atom { element, position: [x, y, z] } in &self.atoms {
            // A reader splits lines at blanks: an element that is no word would shift the columns.
            let symbol = element.as_str();
            let is_word = !symbol.is_empty() && symbol.chars().all(char::is_alphanumeric);
            let symbol = if is_word { symbol } else { "X" };
            xyz += &format!("{symbol:<2} {x:>15.8}{y:>15.8}{z:>15.8}\n");
        }
        xyz
    }
}

/// One atom of a [`MoleculePreview`].
///
/// ```
/// let atom: atomiverse::Atom = serde_json::from_str(r#"{"element": "O", "position": [0, 0, 0.117]}"#)?;
/// assert_eq!(atom.element, "O");
/// assert_eq!(atom.position[2], 0.117); // angstrom
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Atom {
    /// The chemical element.
    pub element: Element,
    /// The position `[x, y, z]` in angstrom.
    pub position: [f64; 3],
}

/// A chemical element, by its symbol.
///
/// A symbol outside the periodic table (a dummy atom, say) is kept as it was sent.
///
/// ```
/// use atomiverse::Element;
///
/// let oxygen = Element::from("O");
/// assert_eq!(oxygen.atomic_number(), Some(8));
/// assert_eq!(oxygen.to_string(), "O");
/// assert_eq!(Element::from("Xx").atomic_number(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element(Symbol);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Symbol {
    /// Index into [`SYMBOLS`]: an atom of a known element needs no heap.
    Known(u8),
    Other(Box<str>),
}

#[rustfmt::skip]
const SYMBOLS: [&str; 118] = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
];

impl Element {
    /// The symbol, such as `O`.
    ///
    /// ```
    /// assert_eq!(atomiverse::Element::from("Cl").as_str(), "Cl");
    /// ```
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Symbol::Known(index) => SYMBOLS[usize::from(*index)],
            Symbol::Other(text) => text,
        }
    }

    /// The number of protons, or `None` for a symbol outside the periodic table.
    ///
    /// ```
    /// assert_eq!(atomiverse::Element::from("C").atomic_number(), Some(6));
    /// ```
    pub fn atomic_number(&self) -> Option<u8> {
        match self.0 {
            Symbol::Known(index) => Some(index + 1),
            Symbol::Other(_) => None,
        }
    }
}

/// The place of each symbol in [`SYMBOLS`], plus one, by its letters: looked up for every atom of every page.
const PLACES: [[u8; 27]; 26] = {
    let mut places = [[0; 27]; 26];
    let mut n = 0;
    while n < SYMBOLS.len() {
        if let Some((first, second)) = letters(SYMBOLS[n].as_bytes()) {
            places[first][second] = n as u8 + 1;
        }
        n += 1;
    }
    places
};

/// `C` and `Cl` as indices into [`PLACES`].
const fn letters(symbol: &[u8]) -> Option<(usize, usize)> {
    match *symbol {
        [first @ b'A'..=b'Z'] => Some(((first - b'A') as usize, 0)),
        [first @ b'A'..=b'Z', second @ b'a'..=b'z'] => {
            Some(((first - b'A') as usize, (second - b'a') as usize + 1))
        }
        _ => None,
    }
}

impl From<&str> for Element {
    fn from(text: &str) -> Self {
        let place = letters(text.as_bytes()).map_or(0, |(first, second)| PLACES[first][second]);
        Element(match place.checked_sub(1) {
            Some(index) => Symbol::Known(index),
            None => Symbol::Other(text.into()),
        })
    }
}

impl AsRef<str> for Element {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Element {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Element {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Reads any value: `Some` where it is a `T`, `None` where it is something else.
///
/// serde cannot go back after a mismatch, so that an unknown preview would cost the whole page.
/// Here each level reads on to its own end instead of failing, in one pass and with no copy.
struct Lenient<T>(Option<T>);

/// How a `T` is made of what stands in the input. The defaults say that it cannot be.
trait FromAny: Sized {
    const EXPECTED: &str;

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_number(_: f64) -> Option<Self> {
        None
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        // A program that turns on serde_json's `arbitrary_precision` turns it on for all crates, and
        // then a number of unknown type arrives as a map with this one key.
        const NUMBER: &str = "$serde_json::private::Number";
        let mut number = None;
        while let Some((Lenient::<String>(key), Lenient::<String>(text))) = map.next_entry()? {
            if key.as_deref() == Some(NUMBER) {
                number = text.and_then(|text| text.parse().ok());
            }
        }
        Ok(number.and_then(Self::from_number))
    }
}

impl<'de, T: FromAny> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: FromAny> Visitor<'de> for Any<T> {
            type Value = Option<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_unit<E>(self) -> Result<Option<T>, E> {
                Ok(None)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
                Ok(None)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Option<T>, E> {
                Ok(T::from_number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Option<T>, E> {
                Ok(T::from_number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Option<T>, E> {
                Ok(T::from_number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
                Ok(T::from_text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<T>, A::Error> {
                T::from_seq(seq)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
                T::from_map(map)
            }
        }
        deserializer.deserialize_any(Any(PhantomData)).map(Lenient)
    }
}

impl FromAny for String {
    const EXPECTED: &str = "a text";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromAny for f64 {
    const EXPECTED: &str = "a number";
    fn from_number(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl FromAny for JobState {
    const EXPECTED: &str = "the text of a job state";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl FromAny for Timestamp {
    const EXPECTED: &str = "a timestamp: a text or Unix seconds";
    fn from_text(text: &str) -> Option<Self> {
        Some(Timestamp { text: text.to_owned(), is_number: false })
    }
    fn from_number(seconds: f64) -> Option<Self> {
        // There is no second -0.
        Some(Timestamp { text: (seconds + 0.0).to_string(), is_number: true })
    }
}

impl FromAny for Element {
    const EXPECTED: &str = "the symbol of an element";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl<T: FromAny> FromAny for Vec<T> {
    const EXPECTED: &str = "a list";
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut items = Some(Vec::new());
        while let Some(Lenient(item)) = seq.next_element()? {
            match (&mut items, item) {
                (Some(items), Some(item)) => items.push(item),
                _ => items = None,
            }
        }
        Ok(items)
    }
}

impl FromAny for [f64; 3] {
    const EXPECTED: &str = "a position of three numbers";
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut position = [0.0; 3];
        let mut fits = true;
        for coordinate in &mut position {
            match seq.next_element()? {
                Some(Lenient(Some(number))) => *coordinate = number,
                _ => fits = false,
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            fits = false;
        }
        Ok(fits.then_some(position))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum AtomField {
    Element,
    Position,
    #[serde(other)]
    Other,
}

impl FromAny for Atom {
    const EXPECTED: &str = "an atom: an element and a position";
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut element, mut position) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                AtomField::Element => element = map.next_value::<Lenient<_>>()?.0,
                AtomField::Position => position = map.next_value::<Lenient<_>>()?.0,
                AtomField::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(element.zip(position).map(|(element, position)| Atom { element, position }))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum PreviewField {
    Formula,
    Atoms,
    Symbols,
    Positions,
    #[serde(other)]
    Other,
}

impl FromAny for MoleculePreview {
    const EXPECTED: &str = "a molecule preview: a formula and atoms";
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut formula: Option<String> = None;
        let mut atoms: Option<Vec<Atom>> = None;
        let mut symbols: Option<Vec<Element>> = None;
        let mut positions: Option<Vec<[f64; 3]>> = None;
        while let Some(field) = map.next_key()? {
            match field {
                PreviewField::Formula => formula = map.next_value::<Lenient<_>>()?.0,
                PreviewField::Atoms => atoms = map.next_value::<Lenient<_>>()?.0,
                PreviewField::Symbols => symbols = map.next_value::<Lenient<_>>()?.0,
                PreviewField::Positions => positions = map.next_value::<Lenient<_>>()?.0,
                PreviewField::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let atoms = atoms.or_else(|| {
            let pairs =
                symbols.zip(positions).filter(|(symbols, positions)| symbols.len() == positions.len());
            pairs.map(|(symbols, positions)| {
                let pairs = symbols.into_iter().zip(positions);
                pairs.map(|(element, position)| Atom { element, position }).collect()
            })
        });
        Ok(formula.zip(atoms).map(|(formula, atoms)| MoleculePreview { formula, atoms }))
    }
}

/// The public types are strict where they are read by themselves.
macro_rules! deserialize_strictly {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Lenient(value) = Lenient::deserialize(deserializer)?;
                value.ok_or_else(|| D::Error::custom(format_args!("expected {}", <$type>::EXPECTED)))
            }
        }
    )*};
}

deserialize_strictly!(JobState, Timestamp, Element, Atom, MoleculePreview);
