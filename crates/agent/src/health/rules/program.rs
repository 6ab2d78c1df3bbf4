//! One expression, ready to run.

use cel::{
    Context, Value,
    common::{
        types::{CelBool, CelString},
        value::CowVal,
    },
    parser::Expression,
};

use super::{budget::Budget, compile};

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Program(Expression);

/// What an expression gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    True,
    /// It is false, or cannot be evaluated, for example because a field is missing.
    NotTrue,
    Text(String),
    /// A value of another type.
    Other(&'static str),
    TooCostly,
}

impl Program {
    /// What is wrong, and where.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        compile::compile(source).map(Self)
    }

    /// Runs a condition.
    pub(super) fn run(&self, context: &Context<'_, '_>, budget: &Budget) -> Outcome {
        self.evaluate(context, budget, |value| match value.downcast_ref::<CelBool>() {
            Some(value) if *value.inner() => Outcome::True,
            Some(_) => Outcome::NotTrue,
            None => Outcome::Other(kind_of(value)),
        })
    }

    /// Runs an expression that gives a text.
    pub(super) fn text(&self, context: &Context<'_, '_>, budget: &Budget) -> Outcome {
        self.evaluate(context, budget, |value| match value.downcast_ref::<CelString<'_>>() {
            Some(text) => Outcome::Text(text.inner().to_owned()),
            None => Outcome::Other(kind_of(value)),
        })
    }

    fn evaluate(&self, context: &Context<'_, '_>, budget: &Budget, read: impl FnOnce(&CowVal<'_, '_>) -> Outcome) -> Outcome {
        let result = Value::resolve_val(&self.0, context);
        // An operator may pass over the failure of its operand.
        if budget.is_spent() {
            return Outcome::TooCostly;
        }
        result.map_or(Outcome::NotTrue, |value| read(&value))
    }
}

fn kind_of(value: &CowVal<'_, '_>) -> &'static str {
    use cel::common::types::Kind;
    match value.get_type().kind() {
        Kind::String => "string",
        Kind::Int => "int",
        Kind::Double => "double",
        Kind::List => "list",
        Kind::Map => "map",
        Kind::NullType => "null",
        Kind::Boolean => "bool",
        _ => "another kind",
    }
}
