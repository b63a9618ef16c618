//! Fields whose names are known as data.

use super::walk::Fields;
use Shape::{Group, Unread, Value};

/// What a field may hold.
pub enum Shape {
    /// A value, or a list of them.
    Value,
    /// A field of KES's sample configuration that KES does not read.
    Unread,
    /// Fields.
    Group(Known),
}

/// The names of fields, and what each may hold.
pub type Known = &'static [(&'static str, Shape)];

/// Checks the names of fields inside of a section.
pub(super) fn check(fields: &Fields<'_>, known: Known) {
    for field in fields.iter() {
        match find(known, field.name()) {
            Some(Group(inner)) => check(&field.fields(&names(inner)), inner),
            Some(Unread) => field.warn("this field has no effect; remove it"),
            Some(Value) | None => {}
        }
    }
}

/// The fields of a group inside of a section; `None` if nothing is in it.
pub(super) fn group<'w>(fields: &'w Fields<'w>, name: &str, known: Known) -> Option<Fields<'w>> {
    let at = fields.get(name).filter(|at| !at.is_null())?;
    let Some(Group(inner)) = find(known, name) else {
        return None;
    };
    let group = at.fields(&names(inner));
    check(&group, inner);
    Some(group)
}

/// The names alone.
pub(super) fn names<T>(known: &[(&'static str, T)]) -> Vec<&'static str> {
    known.iter().map(|(name, _)| *name).collect()
}

/// What is known of a name.
pub(super) fn find<'k, T>(known: &'k [(&'static str, T)], name: &str) -> Option<&'k T> {
    known
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, what)| what)
}
