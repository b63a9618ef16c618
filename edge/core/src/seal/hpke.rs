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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::conformance::hex;
    use hpke::{PskBundle, setup_receiver, setup_sender_with_rng};
    use serde::Deserialize;

    const VECTORS: &str = include_str!("../../../../tests/vectors/hpke-p256-aes256gcm.json");

    /// RFC 9180, A: the vectors of our suite, in all modes.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        mode: u8,
        info: String,
        ikm_r: String,
        ikm_e: String,
        ikm_s: Option<String>,
        sk_rm: String,
        pk_rm: String,
        #[serde(default)]
        psk: String,
        #[serde(default, rename = "psk_id")]
        psk_id: String,
        enc: String,
        encryptions: Vec<Encryption>,
        exports: Vec<Export>,
    }

    #[derive(Deserialize)]
    struct Encryption {
        seq: usize,
        aad: String,
        pt: String,
        ct: String,
    }

    #[derive(Deserialize)]
    struct Export {
        exporter_context: String,
        #[serde(rename = "L")]
        length: usize,
        exported_value: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(VECTORS).unwrap()
    }

    fn derived(material: &str) -> (SecretKey, PublicHalf) {
        let key = derive_key(hex(material).first_chunk().unwrap()).unwrap();
        let public = key.public_key().to_sec1_point(false);
        let public = PublicHalf::from_bytes(public.as_bytes()).unwrap();
        (key, public)
    }

    #[test]
    fn every_mode_of_our_suite() {
        let mut modes = vec![];
        for vector in vectors() {
            modes.push(vector.mode);
            conforms(&vector);
        }
        assert_eq!(modes, [0, 1, 2, 3]);
    }

    fn conforms(vector: &Vector) {
        let (key, public) = derived(&vector.ikm_r);
        assert_eq!(key.to_bytes().as_slice(), hex(&vector.sk_rm));
        assert_eq!(public.to_bytes().as_slice(), hex(&vector.pk_rm));
        let sender = vector.ikm_s.as_deref().map(|material| {
            let (key, public) = derived(material);
            (private_half(&key).unwrap(), public)
        });
        let (psk, id) = (hex(&vector.psk), hex(&vector.psk_id));
        let psk = PskBundle::new(&psk, &id).unwrap();
        let (sending, receiving) = match (vector.mode, sender) {
            (0, None) => (OpModeS::Base, OpModeR::Base),
            (1, None) => (OpModeS::Psk(psk), OpModeR::Psk(psk)),
            (2, Some(pair)) => (OpModeS::Auth(pair.clone()), OpModeR::Auth(pair.1)),
            (3, Some(pair)) => {
                let receiving = OpModeR::AuthPsk(pair.1.clone(), psk);
                (OpModeS::AuthPsk(pair, psk), receiving)
            }
            other => panic!("mode {}", other.0),
        };
        let info = hex(&vector.info);
        let mut material = |bytes: &mut [u8]| bytes.copy_from_slice(&hex(&vector.ikm_e));
        let (encapsulated, mut sender) = setup_sender_with_rng::<
            AesGcm256,
            HkdfSha256,
            DhP256HkdfSha256,
        >(
            &sending, &public, &info, &mut Rng(&mut material)
        )
        .unwrap();
        assert_eq!(encapsulated.to_bytes().as_slice(), hex(&vector.enc));
        let mut receiver = setup_receiver::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &receiving,
            &private_half(&key).unwrap(),
            &encapsulated,
            &info,
        )
        .unwrap();
        let mut at = 0;
        for Encryption { seq, aad, pt, ct } in &vector.encryptions {
            let (aad, pt, ct) = (hex(aad), hex(pt), hex(ct));
            // Those between are not in the vectors.
            while at < *seq {
                let skipped = sender.seal(b"", b"").unwrap();
                receiver.open(&skipped, b"").unwrap();
                at += 1;
            }
            assert_eq!(sender.seal(&pt, &aad).unwrap(), ct);
            assert_eq!(receiver.open(&ct, &aad).unwrap(), pt);
            at += 1;
        }
        for export in &vector.exports {
            let mut value = vec![0; export.length];
            receiver
                .export(&hex(&export.exporter_context), &mut value)
                .unwrap();
            assert_eq!(value, hex(&export.exported_value));
        }
    }

    /// What [`wrap`] makes is what `setup` and `seal` make, which have vectors.
    #[test]
    fn a_wrapped_key_is_the_first_message_of_base_mode() {
        let [vector, ..] = &vectors()[..] else {
            panic!("no vectors");
        };
        let (key, _) = derived(&vector.ikm_r);
        let info = hex(&vector.info);
        let secret = Secret::copy_of(&[7; 32]).unwrap();
        let mut material = |bytes: &mut [u8]| bytes.copy_from_slice(&hex(&vector.ikm_e));
        let wrapped = wrap(&secret, &key.public_key(), &info, &mut material).unwrap();
        assert_eq!(wrapped.len(), ENCAPSULATED_LENGTH + 32 + 16);
        assert!(wrapped.starts_with(&hex(&vector.enc)));
        let unwrapped = unwrap(&wrapped, &key, &info).unwrap();
        assert_eq!(unwrapped.expose(), secret.expose());
        let mut receiver = setup_receiver::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &private_half(&key).unwrap(),
            &Encapsulated::from_bytes(&hex(&vector.enc)).unwrap(),
            &info,
        )
        .unwrap();
        let opened = receiver.open(&wrapped[ENCAPSULATED_LENGTH..], b"").unwrap();
        assert_eq!(opened, secret.expose());
    }
}
