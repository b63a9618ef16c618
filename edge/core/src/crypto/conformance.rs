//! The test that every implementation of [`Crypto`] must pass: published vectors, and the same
//! answers as [`RustCrypto`].
#![expect(clippy::expect_used, reason = "a test, in every build that has it")]

use super::{Crypto, NotAuthentic, RustCrypto, TAG_LENGTH};

/// Asserts that `crypto` answers as the standards and [`RustCrypto`] do, refuses what is not
/// authentic, wipes the buffer then, and never moves the buffer while it has room.
///
/// Panics at the first difference: it is for tests.
pub fn check(crypto: &dyn Crypto) {
    hmac_vectors(crypto);
    gcm_vectors(crypto);
    for (length, aad_length) in SIZES {
        let key = pattern(32, length);
        let key = key.first_chunk().expect(SHORT);
        let nonce = pattern(12, length + 1);
        let nonce = nonce.first_chunk().expect(SHORT);
        let message = pattern(length, 7);
        assert_eq!(
            crypto.hmac_sha256(key, &message),
            RustCrypto.hmac_sha256(key, &message),
            "HMAC of {length} bytes"
        );
        same_ciphertext(crypto, key, nonce, &pattern(aad_length, 3), &message);
    }
    too_short_for_a_tag(crypto);
}

const SHORT: &str = "the pattern has the length asked for";

/// Plaintext and context lengths around the blocks of AES and SHA-256, and a large one.
const SIZES: [(usize, usize); 14] = [
    (0, 0),
    (0, 13),
    (1, 0),
    (11, 13),
    (15, 16),
    (16, 15),
    (17, 17),
    (32, 0),
    (32, 32),
    (55, 56),
    (64, 63),
    (65, 129),
    (300, 1000),
    (1 << 17, 70_000),
];

/// What is sealed under a derived key is what is sealed under the HMAC of the IV.
fn same_derived(
    crypto: &dyn Crypto,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) {
    let iv = [0x5a; 16];
    let mut ours = plaintext.to_vec();
    let subkey = RustCrypto.hmac_sha256(key, &iv);
    let sealed = RustCrypto.aes256_gcm_seal(&subkey, nonce, aad, &mut ours);
    assert_eq!(sealed, Ok(()));

    let mut theirs = plaintext.to_vec();
    let sealed = crypto.derive_and_seal(key, &iv, nonce, aad, &mut theirs);
    assert_eq!((sealed, &theirs), (Ok(()), &ours));
    let opened = crypto.derive_and_open(key, &iv, nonce, aad, &mut theirs);
    assert_eq!((opened, theirs.as_slice()), (Ok(()), plaintext));
    let opened = crypto.derive_and_open(key, &[0; 16], nonce, aad, &mut ours);
    assert_eq!((opened, ours.is_empty()), (Err(NotAuthentic), true));
}

fn same_ciphertext(
    crypto: &dyn Crypto,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) {
    let length = plaintext.len();
    let mut ours = plaintext.to_vec();
    assert_eq!(
        RustCrypto.aes256_gcm_seal(key, nonce, aad, &mut ours),
        Ok(())
    );

    let mut theirs = Vec::with_capacity(length + TAG_LENGTH);
    theirs.extend_from_slice(plaintext);
    let place = theirs.as_ptr();
    assert_eq!(crypto.aes256_gcm_seal(key, nonce, aad, &mut theirs), Ok(()));
    assert_eq!(theirs, ours, "ciphertext of {length} bytes");
    assert_eq!(theirs.as_ptr(), place, "sealing moved the buffer");

    assert_eq!(crypto.aes256_gcm_open(key, nonce, aad, &mut theirs), Ok(()));
    assert_eq!(theirs, plaintext, "plaintext of {length} bytes");
    assert_eq!(theirs.as_ptr(), place, "opening moved the buffer");

    same_derived(crypto, key, nonce, aad, plaintext);

    for at in [0, length / 2, length, length + TAG_LENGTH - 1] {
        let mut changed = ours.clone();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 0x10;
        }
        refuses(crypto, key, nonce, aad, changed);
    }
    let cut = ours.iter().copied().take(length + TAG_LENGTH - 1).collect();
    refuses(crypto, key, nonce, aad, cut);
    let more_context = [aad, b"x"].concat();
    refuses(crypto, key, nonce, &more_context, ours.clone());
    refuses(crypto, &flip(key), nonce, aad, ours.clone());
    refuses(crypto, key, &flip(nonce), aad, ours);
}

fn too_short_for_a_tag(crypto: &dyn Crypto) {
    for length in 0..TAG_LENGTH {
        refuses(crypto, &[1; 32], &[2; 12], b"", vec![0; length]);
    }
}

fn refuses(crypto: &dyn Crypto, key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], mut buffer: Vec<u8>) {
    let answer = crypto.aes256_gcm_open(key, nonce, aad, &mut buffer);
    assert_eq!(answer, Err(NotAuthentic));
    assert!(buffer.is_empty(), "the buffer is not wiped");
}

/// RFC 4231, cases 1 to 3 (zeros at a short key's end change nothing: RFC 2104, section 2).
fn hmac_vectors(crypto: &dyn Crypto) {
    let cases: [(&[u8], &[u8], &str); 3] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
    ];
    for (key, message, expected) in cases {
        let mut filled = [0; 32];
        for (to, from) in filled.iter_mut().zip(key) {
            *to = *from;
        }
        let sum = crypto.hmac_sha256(&filled, message);
        assert_eq!(sum.as_slice(), hex(expected), "RFC 4231");
    }
}

/// Test cases 13, 14 and 16 of the GCM specification (McGrew and Viega, revised 2005).
fn gcm_vectors(crypto: &dyn Crypto) {
    let cases = [
        (
            ["00"; 32].concat(),
            "000000000000000000000000",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            ["00"; 32].concat(),
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            "feffe9928665731c6d6a8f9467308308".repeat(2),
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    for (key, nonce, aad, plaintext, ciphertext) in cases {
        let (key, nonce) = (hex(&key), hex(nonce));
        let (key, nonce) = (
            key.first_chunk().expect(SHORT),
            nonce.first_chunk().expect(SHORT),
        );
        let mut buffer = hex(plaintext);
        let sealed = crypto.aes256_gcm_seal(key, nonce, &hex(aad), &mut buffer);
        assert_eq!(sealed, Ok(()));
        assert_eq!(buffer, hex(ciphertext), "GCM specification");
        let opened = crypto.aes256_gcm_open(key, nonce, &hex(aad), &mut buffer);
        assert_eq!(opened, Ok(()));
        assert_eq!(buffer, hex(plaintext), "GCM specification");
    }
}

/// Bytes without meaning, the same in every run.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at * 31 + seed * 17 + at / 251) as u8)
        .collect()
}

fn flip<const N: usize>(bytes: &[u8; N]) -> [u8; N] {
    bytes.map(|byte| byte ^ 1)
}

/// The bytes that an even number of hexadecimal digits stands for.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let values: Vec<u32> = digits
        .chars()
        .map(|digit| digit.to_digit(16).expect("a vector is hexadecimal"))
        .collect();
    values
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + *digit as u8))
        .collect()
}
