//! The molecule of a job, for display.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::lenient::{FromScalar, deserialize_scalar};

/// A molecule for display: its formula and the positions of its atoms.
///
/// # Examples
///
/// ```
/// use atomiverse::MoleculePreview;
///
/// let h2: MoleculePreview = serde_json::from_str(
///     r#"{"formula": "H2", "atoms": [
///     {"element": "H", "position": [0, 0, -0.37]}, {"element": "H", "position": [0, 0, 0.37]}]}"#)?;
/// assert_eq!(h2.atoms[1].position, [0.0, 0.0, 0.37]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MoleculePreview {
    /// The molecular formula, such as `H2O`.
    pub formula: String,
    /// The atoms, in the server's order.
    pub atoms: Vec<Atom>,
}

impl MoleculePreview {
    /// Creates a preview.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::{Atom, MoleculePreview};
    ///
    /// let h2 = MoleculePreview::new(
    ///     "H2",
    ///     [Atom::new("H", [0.0, 0.0, -0.37]), Atom::new("H", [0.0, 0.0, 0.37])],
    /// );
    /// assert_eq!(h2.atoms.len(), 2);
    /// ```
    pub fn new(formula: impl Into<String>, atoms: impl IntoIterator<Item = Atom>) -> Self {
        MoleculePreview { formula: formula.into(), atoms: atoms.into_iter().collect() }
    }

    /// Returns the molecule in the XYZ format: the number of atoms, the formula, and one line for each atom with its
    /// element and its position in angstrom.
    ///
    /// An element that is not a word, and would shift the columns, is written as `X`.
    ///
    /// # Examples
    ///
    /// ```
    /// let h2: atomiverse::MoleculePreview = serde_json::from_str(
    ///     r#"{"formula": "H2", "atoms": [
    ///     {"element": "H", "position": [0, 0, -0.37]}, {"element": "H", "position": [0, 0, 0.37]}]}"#)?;
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
            // Readers split lines at whitespace: an element that is not a word would shift the columns.
            let symbol = element.as_str();
            let is_word = !symbol.is_empty() && symbol.chars().all(char::is_alphanumeric);
            let symbol = if is_word { symbol } else { "X" };
            xyz += &format!("{symbol:<2} {x:>15.8} {y:>14.8} {z:>14.8}\n");
        }
        xyz
    }
}

/// One atom of a [`MoleculePreview`].
///
/// # Examples
///
/// ```
/// let atom: atomiverse::Atom = serde_json::from_str(r#"{"element": "O", "position": [0, 0, 0.117]}"#)?;
/// assert_eq!(atom.element, "O");
/// assert_eq!(atom.position[2], 0.117); // angstrom
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Atom {
    /// The chemical element.
    pub element: Element,
    /// The position `[x, y, z]` in angstrom.
    pub position: [f64; 3],
}

impl Atom {
    /// Creates an atom from its element and its position `[x, y, z]` in angstrom.
    pub fn new(element: impl Into<Element>, position: [f64; 3]) -> Self {
        Atom { element: element.into(), position }
    }
}

/// A chemical element, identified by its symbol.
///
/// A symbol outside the periodic table, such as that of a dummy atom, is kept unchanged.
///
/// # Examples
///
/// ```
/// use atomiverse::Element;
///
/// let oxygen = Element::from("O");
/// assert_eq!(oxygen.atomic_number(), Some(8));
/// assert_eq!(oxygen.to_string(), "O");
/// assert_eq!(Element::from("Xx").atomic_number(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Element(Cow<'static, str>);

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
    /// Returns the symbol, such as `O`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number of protons, or `None` for a symbol outside the periodic table.
    pub fn atomic_number(&self) -> Option<u8> {
        let index = SYMBOLS.iter().position(|symbol| *symbol == self.0)?;
        u8::try_from(index + 1).ok()
    }
}

impl From<&str> for Element {
    fn from(text: &str) -> Self {
        Element(match SYMBOLS.iter().find(|symbol| **symbol == text) {
            Some(symbol) => Cow::Borrowed(symbol),
            None => Cow::Owned(text.trim().to_owned()),
        })
    }
}

impl FromScalar for Element {
    const EXPECTED: &str = "the symbol of an element";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

deserialize_scalar!(Element);
