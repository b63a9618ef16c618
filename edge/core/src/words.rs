//! Bytes as little-endian words of 64 bits.
//!
//! WebAssembly compares and hands over words at once, where bytes go one by one or by a list.

/// The words of some bytes; what is missing of the last ones is zero.
pub fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    let (whole, rest) = bytes.as_chunks();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*bytes);
    }
    if let Some(last) = words.get_mut(whole.len()) {
        *last = rest
            .iter()
            .rfold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// The bytes of some words: as many as are asked for, and zeros after the last one.
pub fn bytes<const N: usize>(words: &[u64]) -> [u8; N] {
    let mut bytes = [0; N];
    for (bytes, word) in bytes.chunks_mut(8).zip(words) {
        for (to, from) in bytes.iter_mut().zip(word.to_le_bytes()) {
            *to = from;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_byte_is_the_least() {
        assert_eq!(
            words(&[1, 2, 3, 4, 5, 6, 7, 8, 9]),
            [0x0807_0605_0403_0201, 9]
        );
        assert_eq!(bytes(&[0x0201, 3]), [1, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn bytes_come_back(original: [u8; 12]) {
            prop_assert_eq!(bytes(&words::<2>(&original)), original);
        }

        #[test]
        fn any_length_is_read(original: Vec<u8>) {
            let mut padded = original.clone();
            padded.resize(24, 0);
            prop_assert_eq!(&bytes::<24>(&words::<3>(&original))[..], &padded[..24]);
        }
    }
}
