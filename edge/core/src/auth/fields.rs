//! Dictionaries of byte sequences (RFC 9651, 3.2), of which no more is kept than is asked for.

use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, ItemVisitor};
use sfv::visitor::{InnerListVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

/// The members with these names, each `None` if it is not there; `None` if the value is no dictionary, or
/// one of them is something else than a byte sequence.
pub fn byte_sequences<const N: usize>(value: &str, names: [&str; N]) -> Option<[Member; N]> {
    let wanted = Wanted {
        names,
        members: [const { Ok(None) }; N],
    };
    let members = Parser::new(value).parse_dictionary_with_visitor(wanted);
    let members = members.ok()?;
    members
        .iter()
        .all(Result::is_ok)
        .then(|| members.map(Result::unwrap_or_default))
}

/// A member's bytes, if it is there.
pub type Member = Option<Vec<u8>>;

/// A member that is something else.
struct NoBytes;

struct Wanted<'n, const N: usize> {
    names: [&'n str; N],
    members: [Result<Member, NoBytes>; N],
}

impl<'de, const N: usize> DictionaryVisitor<'de> for Wanted<'_, N> {
    type Out = [Result<Member, NoBytes>; N];
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        let mut named = self.names.iter().zip(&mut self.members);
        // Of members with the same name the last counts.
        Ok(named
            .find(|(name, _)| **name == key.as_str())
            .map(|(_, member)| Wants(member)))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.members)
    }
}

struct Wants<'m>(&'m mut Result<Member, NoBytes>);

impl<'de> EntryVisitor<'de> for Wants<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        *self.0 = Err(NoBytes);
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Wants<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        *self.0 = match item {
            BareItemFromInput::ByteSequence(bytes) => Ok(Some(bytes)),
            _ => Err(NoBytes),
        };
        Ok(Ignored)
    }
}
