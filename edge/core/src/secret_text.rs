//! Text that nobody may see: passwords and what else the configuration keeps secret.

use zeroize::Zeroizing;

/// A secret text: it wipes itself and can't be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Keeps this text.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text itself, to be handed to whoever needs it and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
