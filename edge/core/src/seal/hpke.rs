//! HPKE in base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180, 7).

use std::convert::Infallible;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::crypto::Random;
use crate::key::Secret;

type PrivateHalf = <DhP256HkdfSha256 as Kem>::PrivateKey;
type PublicHalf = <DhP256HkdfSha256 as Kem>::PublicKey;
type Encapsulated = <DhP256HkdfSha256 as Kem>::EncappedKey;

/// Bytes of an encapsulated key: an uncompressed point.
const ENCAPSULATED_LENGTH: usize = 65;

/// `DeriveKeyPair` (RFC 9180, 7.1.3). Nothing if 256 candidates in a row are no key.
pub(super) fn derive_key(material: &[u8; 32]) -> Option<SecretKey> {
    let (key, _) = DhP256HkdfSha256::derive_keypair(material);
    let mut bytes = Zeroizing::new([0; 32]);
    key.write_exact(bytes.as_mut_slice());
    SecretKey::from_slice(bytes.as_slice()).ok()
}

/// `SealBase` (RFC 9180, 6.1) of a key, with nothing as its associated data: the encapsulated key
/// and the ciphertext.
pub(super) fn wrap(
    key: &Secret,
    recipient: &PublicKey,
    info: &[u8],
    random: &mut Random<'_>,
) -> Result<Vec<u8>, HpkeError> {
    let recipient = PublicHalf::from_bytes(recipient.to_sec1_point(false).as_bytes())?;
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeS::Base,
            &recipient,
            info,
            key.expose(),
            b"",
            &mut Rng(random),
        )?;
    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// `OpenBase` (RFC 9180, 6.1) of what [`wrap`] made.
pub(super) fn unwrap(wrapped: &[u8], recipient: &SecretKey, info: &[u8]) -> Option<Secret> {
    let (encapsulated, ciphertext) = wrapped.split_at_checked(ENCAPSULATED_LENGTH)?;
    let key = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private_half(recipient).ok()?,
        &Encapsulated::from_bytes(encapsulated).ok()?,
        info,
        ciphertext,
        b"",
    );
    Secret::copy_of(&Zeroizing::new(key.ok()?))
}

fn private_half(key: &SecretKey) -> Result<PrivateHalf, HpkeError> {
    PrivateHalf::from_bytes(&Zeroizing::new(<[u8; 32]>::from(key.to_bytes()))[..])
}

/// The platform's randomness as `hpke` wants it: it never falls back to another source.
struct Rng<'a, 'b>(&'a mut Random<'b>);

impl TryRng for Rng<'_, '_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_, '_> {}
