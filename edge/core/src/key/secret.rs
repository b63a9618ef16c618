use crate::crypto::Random;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// 32 secret bytes. They wipe themselves, can't be cloned and have no printed form.
///
/// They stay at one place of the heap, so that moving the value leaves no copy behind.
pub struct Secret(Box<Zeroizing<[u8; Self::LENGTH]>>);

impl Secret {
    /// The length of every secret, in bytes.
    pub const LENGTH: usize = 32;

    /// A new random secret.
    pub fn random(random: &mut Random<'_>) -> Self {
        let mut secret = Self::zeros();
        random(secret.0.as_mut_slice());
        secret
    }

    /// A copy of these bytes, if there are 32. Wiping the original is up to the caller.
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let mut secret = Self::zeros();
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes themselves, to be handed to their owner and nobody else.
    pub fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    fn zeros() -> Self {
        Self(Box::new(Zeroizing::new([0; Self::LENGTH])))
    }
}

/// `Zeroizing` inside does it.
impl ZeroizeOnDrop for Secret {}
