//! From source to an expression whose names are known, whose nesting is bounded, and that pays for what it costs.

use cel::{
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
    parser::{Expression, PrattParser},
};

use super::budget::CHARGE;

/// Deepest nesting, of parentheses as of operators in a row.
const DEPTH: usize = 24;

/// What may be called, besides operators and the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`.
pub(super) const FUNCTIONS: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "string", "int", "uint", "double", "bool", "type", "dyn"];

/// What the macros leave behind.
const INTERNAL: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];

/// The accumulator of a macro, which cannot be written in CEL.
const ACCUMULATOR: &str = "@result";

/// Compiles an expression, or says what is wrong and where.
pub(super) fn compile(source: &str) -> Result<Expression, String> {
    let parser = PrattParser::new().max_recursion_depth(32).error_reporting_limit(1);
    let mut expression = parser.parse(source).map_err(|problems| match problems.errors.first() {
        Some(first) if first.pos.0 > 0 => format!("line {}, column {}: {}", first.pos.0, first.pos.1, first.msg),
        Some(first) => first.msg.clone(),
        None => "it cannot be parsed".to_owned(),
    })?;
    let mut guard = Guard { source, scope: Vec::new(), next_id: u64::MAX / 2 };
    guard.visit(&mut expression, 0)?;
    Ok(expression)
}

struct Guard<'a> {
    source: &'a str,
    /// Variables of the macros around.
    scope: Vec<String>,
    next_id: u64,
}

impl Guard<'_> {
    /// Checks an expression and puts the charges into it; tells its number of nodes.
    fn visit(&mut self, expression: &mut Expression, depth: usize) -> Result<i64, String> {
        if depth > DEPTH {
            return Err(format!("it is nested more than {DEPTH} levels deep"));
        }
        let depth = depth + 1;
        let below = match &mut expression.expr {
            Expr::Literal(_) => 0,
            Expr::Ident(name) => {
                self.check_variable(name)?;
                0
            }
            Expr::Select(select) => self.visit(&mut select.operand, depth)?,
            Expr::Call(call) => self.visit_call(call, depth)?,
            Expr::List(list) => {
                let mut nodes = 0;
                for element in &mut list.elements {
                    nodes += self.visit(element, depth)?;
                    self.charge(element, 0);
                }
                nodes
            }
            Expr::Map(map) => {
                let mut nodes = 0;
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                        return Err("types of messages are unknown".to_owned());
                    };
                    nodes += self.visit(&mut entry.key, depth)? + self.visit(&mut entry.value, depth)?;
                    self.charge(&mut entry.value, 0);
                }
                nodes
            }
            Expr::Comprehension(_) => self.visit_comprehension(expression, depth)?,
            Expr::Struct(message) => return Err(format!("{}: types of messages are unknown", self.place(&message.type_name))),
            Expr::Unspecified => return Err("it is empty".to_owned()),
        };
        Ok(below + 1)
    }

    fn visit_call(&mut self, call: &mut CallExpr, depth: usize) -> Result<i64, String> {
        let name = call.func_name.as_str();
        if !INTERNAL.contains(&name) && !FUNCTIONS.contains(&name) {
            return Err(format!("{}: there is no function {name}", self.place(name)));
        }
        // These pass on what they are given, or look only at whether it is true.
        let passes = matches!(
            name,
            operators::CONDITIONAL
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::NOT_STRICTLY_FALSE
                | operators::INDEX
        );
        let mut nodes = 0;
        for operand in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            nodes += self.visit(operand, depth)?;
            // The accumulator of a macro is paid for by what is put into it.
            let is_accumulator = matches!(&operand.expr, Expr::Ident(name) if name == ACCUMULATOR);
            if !passes && !is_accumulator && !is_list_of_accumulation(operand) {
                self.charge(operand, 0);
            }
        }
        Ok(nodes)
    }

    fn visit_comprehension(&mut self, expression: &mut Expression, depth: usize) -> Result<i64, String> {
        let Expr::Comprehension(comprehension) = &mut expression.expr else { return Ok(0) };
        if comprehension.iter_var == "object" {
            return Err("object is no name for the variable of a macro".to_owned());
        }
        let range = self.visit(&mut comprehension.iter_range, depth)?;
        self.scope.push(comprehension.iter_var.clone());
        let body = self.visit(&mut comprehension.loop_step, depth);
        self.scope.pop();
        let body = body?;
        self.charge(&mut comprehension.iter_range, body);
        Ok(range + body)
    }

    fn check_variable(&self, name: &str) -> Result<(), String> {
        let is_known = name == "object" || name == ACCUMULATOR || self.scope.iter().any(|known| known == name);
        // Types are values: type(object.spec) == map.
        let is_type = ["bool", "int", "uint", "double", "string", "list", "map", "null_type"].contains(&name);
        if is_known || is_type { Ok(()) } else { Err(format!("{}: there is no variable {name}, only object", self.place(name))) }
    }

    /// Wraps what is not a literal.
    fn charge(&mut self, expression: &mut Expression, per_entry: i64) {
        if matches!(expression.expr, Expr::Literal(_)) {
            return;
        }
        let inner = std::mem::take(expression);
        let count = self.node(Expr::Literal(LiteralValue::Int(per_entry.into())));
        let call = CallExpr { func_name: CHARGE.to_owned(), target: None, args: vec![inner, count] };
        *expression = self.node(Expr::Call(call));
    }

    fn node(&mut self, expr: Expr) -> Expression {
        self.next_id += 1;
        Expression { id: self.next_id, expr }
    }

    /// Where a name stands first.
    fn place(&self, name: &str) -> String {
        let at = self.source.find(name).unwrap_or(0);
        let before = &self.source[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        format!("line {line}, column {column}")
    }
}

/// `[x]` in `@result + [x]`: its element is charged for already.
fn is_list_of_accumulation(operand: &Expression) -> bool {
    matches!(&operand.expr, Expr::List(list) if list.elements.len() == 1)
}
