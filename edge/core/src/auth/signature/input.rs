//! What a signature covers, as the header `Signature-Input` says (RFC 9421, 4.1).

use std::fmt;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, ItemVisitor};
use sfv::visitor::{InnerListVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, ListSerializer, Parser};

use super::error::SignatureError;
use super::{INPUT, TAG};

/// How many members the header may have, and each of them components and parameters: all are compared with
/// each other, before anything is known of who has sent them.
pub const MOST: usize = 16;

/// There are more.
#[derive(Debug)]
pub struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MOST} of a kind")
    }
}

impl std::error::Error for TooMany {}

/// Room for one more.
fn push<T>(all: &mut Vec<T>, one: T) -> Result<&mut T, TooMany> {
    if all.len() >= MOST {
        return Err(TooMany);
    }
    Ok(all.push_mut(one))
}

/// A member of the header: the components that a signature covers, and its parameters.
pub struct Input<'a> {
    /// Its name, by which the signature is found.
    pub label: &'a str,
    is_list: bool,
    components: Vec<Component<'a>>,
    parameters: Vec<(&'a KeyRef, BareItemFromInput<'a>)>,
}

struct Component<'a> {
    name: BareItemFromInput<'a>,
    has_parameters: bool,
}

impl<'a> Input<'a> {
    /// The signature that is meant for this service.
    pub fn ours(value: &'a str) -> Result<Self, SignatureError> {
        let malformed = SignatureError::Malformed(INPUT);
        let inputs = Parser::new(value).parse_dictionary_with_visitor(Inputs(Vec::new()));
        let inputs = inputs.map_err(|_| malformed.clone())?;
        if inputs.iter().any(|input| !input.is_list) {
            return Err(malformed);
        }
        let mut ours = inputs
            .into_iter()
            .filter(|input| input.text("tag") == Some(TAG));
        let input = ours.next().ok_or(SignatureError::NoTag)?;
        match ours.next() {
            Some(_) => Err(SignatureError::Several),
            None => Ok(input),
        }
    }

    /// The names of the components, in its order.
    pub fn components(&self) -> Result<Vec<&str>, SignatureError> {
        let mut names = Vec::with_capacity(self.components.len());
        for component in &self.components {
            let BareItemFromInput::String(name) = &component.name else {
                return Err(SignatureError::Malformed(INPUT));
            };
            if component.has_parameters || names.contains(&name.as_str()) {
                return Err(SignatureError::Component);
            }
            names.push(name.as_str());
        }
        Ok(names)
    }

    /// A parameter, if it is there.
    pub fn parameter(&self, name: &str) -> Option<&BareItemFromInput<'a>> {
        let mut parameters = self.parameters.iter();
        parameters
            .find(|(key, _)| key.as_str() == name)
            .map(|(_, value)| value)
    }

    /// A parameter, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.parameter(name)? {
            BareItemFromInput::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The member as it is signed: as RFC 9651 (4.1.1.1) writes it, however it came. Its components have
    /// no parameters ([`Self::components`]).
    pub fn write_to(&self, base: &mut String) {
        let mut lists = ListSerializer::with_buffer(base);
        let mut list = lists.inner_list();
        for component in &self.components {
            let _ = list.bare_item(&component.name);
        }
        let mut parameters = list.finish();
        for (key, value) in &self.parameters {
            parameters = parameters.parameter(key, value);
        }
        let _ = parameters.finish();
    }
}

struct Inputs<'a>(Vec<Input<'a>>);

impl<'a> DictionaryVisitor<'a> for Inputs<'a> {
    type Out = Vec<Input<'a>>;
    type Error = TooMany;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, TooMany> {
        let label = key.as_str();
        // Of members with the same name the last counts.
        self.0.retain(|input| input.label != label);
        let input = Input {
            label,
            is_list: false,
            components: Vec::new(),
            parameters: Vec::new(),
        };
        push(&mut self.0, input)
    }

    fn finish(self) -> Result<Self::Out, TooMany> {
        Ok(self.0)
    }
}

impl<'a> EntryVisitor<'a> for &mut Input<'a> {
    type Error = TooMany;

    fn item(self) -> Result<impl ItemVisitor<'a>, TooMany> {
        Ok(Ignored)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, TooMany> {
        self.is_list = true;
        Ok(self)
    }
}

impl<'a> InnerListVisitor<'a> for &mut Input<'a> {
    type Error = TooMany;

    fn item(&mut self) -> Result<impl ItemVisitor<'a>, TooMany> {
        Ok(Next(&mut self.components))
    }

    fn finish(self) -> Result<impl ParameterVisitor<'a>, TooMany> {
        Ok(self)
    }
}

/// Where the next component belongs.
struct Next<'v, 'a>(&'v mut Vec<Component<'a>>);

impl<'a> ItemVisitor<'a> for Next<'_, 'a> {
    type Out = ();
    type Error = TooMany;

    fn bare_item(
        self,
        name: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, TooMany> {
        let component = Component {
            name,
            has_parameters: false,
        };
        push(self.0, component)
    }
}

impl<'a> ParameterVisitor<'a> for &mut Component<'a> {
    type Out = ();
    type Error = TooMany;

    fn parameter(&mut self, _: &'a KeyRef, _: BareItemFromInput<'a>) -> Result<(), TooMany> {
        self.has_parameters = true;
        Ok(())
    }

    fn finish(self) -> Result<(), TooMany> {
        Ok(())
    }
}

impl<'a> ParameterVisitor<'a> for &mut Input<'a> {
    type Out = ();
    type Error = TooMany;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), TooMany> {
        // One that comes again has its first place and its last value.
        let mut parameters = self.parameters.iter_mut();
        match parameters.find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => {
                push(&mut self.parameters, (key, value))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), TooMany> {
        Ok(())
    }
}
