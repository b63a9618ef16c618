//! What is read from standard input, where an argument is `-`: other users and the shell's history do
//! not see it there.

use std::io::{IsTerminal, Read, stdin};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sealedge_core::route::LONGEST_BODY;
use zeroize::Zeroizing;

use super::error::Error;
use super::protocol::Ciphertext;

/// The argument that stands for standard input.
pub const STANDARD: &str = "-";

/// All of standard input, which should be `what`: something.
pub fn read(what: &'static str) -> Result<Zeroizing<Vec<u8>>, Error> {
    if stdin().is_terminal() {
        eprintln!("Type the {what}, then Enter and Ctrl-D:");
    }
    // With room from the start: a secret leaves no copies behind as the buffer grows.
    let mut content = Zeroizing::new(Vec::with_capacity(LONGEST_BODY));
    let read = stdin().take(LONGEST_BODY as u64).read_to_end(&mut content);
    match read.map_err(Error::Input)? {
        0 => Err(Error::NoInput { what }),
        // In base64 it is longer.
        LONGEST_BODY => Err(Error::LongRequest),
        _ => Ok(content),
    }
}

/// The argument, or what is on standard input for it, if it is base64: the server would only say that the
/// request is invalid. On standard input it may be broken into lines.
pub fn base64(what: &'static str, argument: &str) -> Result<Zeroizing<String>, Error> {
    if argument == STANDARD {
        joined(what, text(what, &read(what)?)?)
    } else {
        checked(what, argument)
    }
}

/// The same for a ciphertext, which may also be the JSON that `key encrypt` and `key dek` print.
pub fn ciphertext(argument: &str) -> Result<Zeroizing<String>, Error> {
    const WHAT: &str = "ciphertext";
    if argument == STANDARD {
        ciphertext_in(text(WHAT, &read(WHAT)?)?)
    } else {
        ciphertext_in(argument)
    }
}

fn ciphertext_in(text: &str) -> Result<Zeroizing<String>, Error> {
    match serde_json::from_str(text) {
        Ok(Ciphertext { ciphertext, .. }) => checked("ciphertext", &ciphertext),
        Err(_) => joined("ciphertext", text),
    }
}

fn text<'a>(what: &'static str, content: &'a [u8]) -> Result<&'a str, Error> {
    std::str::from_utf8(content).map_err(|_| Error::BinaryInput { what })
}

fn joined(what: &'static str, text: &str) -> Result<Zeroizing<String>, Error> {
    let mut joined = Zeroizing::new(String::with_capacity(text.len()));
    joined.extend(text.split_ascii_whitespace());
    match joined.as_str() {
        "" => Err(Error::NoInput { what }),
        joined => checked(what, joined),
    }
}

fn checked(what: &'static str, text: &str) -> Result<Zeroizing<String>, Error> {
    match BASE64.decode(text).map(Zeroizing::new) {
        Ok(_) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Error::NotBase64 { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padded_standard_base64_is_taken() {
        assert!(checked("key", "SGVsbG8=").is_ok());
        for bad in ["SGVsbG8", "SGVs bG8=", "_-==", "\u{e4}"] {
            let refused = checked("key", bad);
            assert!(
                matches!(refused, Err(Error::NotBase64 { what: "key" })),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_input_may_be_in_lines() {
        for text in ["SGVsbG8=\n", " SGVs\r\nbG8=\r\n"] {
            assert_eq!(joined("key", text).unwrap().as_str(), "SGVsbG8=");
        }
        assert!(matches!(joined("key", "\n \n"), Err(Error::NoInput { .. })));
        assert!(matches!(
            text("key", b"\xff\xfe"),
            Err(Error::BinaryInput { .. })
        ));
    }

    #[test]
    fn a_ciphertext_may_be_as_the_command_line_prints_it() {
        for text in [
            "SGVsbG8=\n",
            r#"{"ciphertext":"SGVsbG8="}"#,
            "{\"plaintext\":\"AAEC\",\"ciphertext\":\"SGVsbG8=\"}\n",
        ] {
            assert_eq!(ciphertext_in(text).unwrap().as_str(), "SGVsbG8=");
        }
        assert!(matches!(ciphertext_in("{}"), Err(Error::NotBase64 { .. })));
    }
}
