//! What a person has to know or do: what is wrong, where, why, and what cures it.

use std::fmt;

/// An error that is made to be read as it is.
#[derive(Debug)]
pub struct Problem {
    pub what: String,
    pub place: String,
    pub why: String,
    pub cure: String,
}

impl Problem {
    pub fn new(what: impl ToString, place: impl ToString, why: impl ToString, cure: impl ToString) -> Self {
        Self { what: what.to_string(), place: place.to_string(), why: why.to_string(), cure: cure.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Self { what, place, why, cure } = self;
        write!(out, "{what}\n  where: {place}\n  why:   {why}\n  cure:  {cure}")
    }
}
