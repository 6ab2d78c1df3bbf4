//! What an evaluation may cost. CEL always ends, but macros over lists multiply and concatenations grow; a rule that is written
//! badly, or to do harm, must not hold up or fill up the agent.
//!
//! Wherever an expression iterates, copies or compares something, [`super::compile`] puts a call of [`CHARGE`] around it, which
//! pays for the size of the value from the budget of this evaluation and fails when that is spent.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use cel::{
    Context, Env, ExecutionError,
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString},
        value::{CowVal, Val},
    },
    functions::FunctionContext,
};
use serde_json::Value;

/// Cannot be written in CEL: only the compiler puts it into an expression.
pub(super) const CHARGE: &str = "@charge";

/// Steps of one evaluation: entries visited, each times the size of what is done with it. Some ten milliseconds.
const STEPS: i64 = 200_000;

/// Characters of a text that count as one step.
const TEXT_PER_STEP: usize = 32;

/// The standard functions; there is nothing in them that changes.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What is left of an evaluation's steps.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicI64>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(STEPS)))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    /// Takes steps; tells whether there were as many.
    fn take(&self, steps: i64) -> bool {
        self.0.fetch_sub(steps, Ordering::Relaxed) >= steps
    }

    fn left(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A context with the object, without the records of its field managers. Nothing when the object is too large.
    pub(super) fn context<'v>(&self, object: &'v Value) -> Option<Context<'v, 'v>> {
        let mut left = self.left();
        let value = convert(object, &mut left)?;
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        context.add_variable_as_val("object", value);
        let budget = self.clone();
        let charge: Function = Box::new(move |call| budget.charge(call));
        context.add_function(CHARGE, charge).ok()?;
        Some(context)
    }

    /// `@charge(value, n)`: pays for the value, and `n` for each of its entries.
    fn charge<'c, 'v>(&self, call: &mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
        let spent = || ExecutionError::function_error(CHARGE, "spent");
        if self.is_spent() || call.args.len() != 2 {
            return Err(spent());
        }
        let per_entry = call.args[1].downcast_ref::<CelInt>().map_or(0, |number| *number.inner());
        let value = call.args.swap_remove(0);
        let entries = entries(value.as_ref());
        let mut left = self.left().saturating_sub(per_entry.saturating_mul(entries));
        weigh(value.as_ref(), &mut left);
        let cost = self.left().saturating_sub(left);
        if self.take(cost) { Ok(value) } else { Err(spent()) }
    }
}

type Function = Box<dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync>;

fn entries(value: &dyn Val) -> i64 {
    let count = match (value.downcast_ref::<CelList<'_>>(), value.downcast_ref::<CelMap<'_>>()) {
        (Some(list), _) => list.inner().len(),
        (_, Some(map)) => map.inner().len(),
        _ => 0,
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Takes the size of a value from `left`, and stops when nothing is left.
fn weigh<'v>(value: &(dyn Val + 'v), left: &mut i64) {
    *left = left.saturating_sub(1);
    if let Some(list) = value.downcast_ref::<CelList<'v>>() {
        for item in list.inner() {
            if *left < 0 {
                return;
            }
            weigh(item.as_ref(), left);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'v>>() {
        for (key, item) in map.inner() {
            if *left < 0 {
                return;
            }
            weigh(key.inner(), left);
            weigh(item.as_ref(), left);
        }
    } else if let Some(text) = value.downcast_ref::<CelString<'v>>() {
        *left = left.saturating_sub(steps_of(text.inner()));
    }
}

fn steps_of(text: &str) -> i64 {
    i64::try_from(text.len() / TEXT_PER_STEP).unwrap_or(i64::MAX)
}

/// The object's value in CEL, which borrows its texts. Numbers that are whole are `int`.
fn convert<'v>(value: &'v Value, left: &mut i64) -> Option<Box<dyn Val + 'v>> {
    *left = left.saturating_sub(1);
    if *left < 0 {
        return None;
    }
    Some(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(CelInt::from(whole)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => {
            *left = left.saturating_sub(steps_of(text));
            Box::new(CelString::from(text.as_str()))
        }
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| convert(item, left)).collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(fields) => {
            let mut map: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::with_capacity(fields.len());
            for (key, field) in fields.iter().filter(|(key, _)| *key != "managedFields") {
                map.insert(CelMapKey::String(CelString::from(key.as_str())), convert(field, left)?);
            }
            Box::new(CelMap::from(map))
        }
    })
}
