//! Statements, and how one text becomes two.

use std::sync::OnceLock;

use brokkr_telemetry::metrics::DbOperation;

/// A statement with its name, which is the query summary of its span, and what it does to which table.
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) operation: DbOperation,
    pub(crate) table: &'static str,
    text: &'static str,
    rendered: OnceLock<Rendered>,
}

pub(in crate::store) struct Rendered {
    pub(in crate::store) postgres: &'static str,
    pub(in crate::store) sqlite: &'static str,
}

impl Statement {
    pub(crate) const fn new(name: &'static str, operation: DbOperation, table: &'static str, text: &'static str) -> Self {
        Self { name, operation, table, text, rendered: OnceLock::new() }
    }

    pub(in crate::store) fn rendered(&self) -> &Rendered {
        // Each statement is a static, so that the leak happens once per statement and process.
        self.rendered.get_or_init(|| Rendered {
            postgres: Box::leak(
                render(self.text, "json_array_elements(CAST(", " AS json)) AS item(value)", LOCK, LOCK_FREE)
                    .replace("IN /*those of*/ (", "= ANY(ARRAY(")
                    .replace("/*those*/)", "))")
                    .replace("/*first*/", "WITH first AS (")
                    .replace("/*next*/", "), next AS (")
                    .replace("/*then*/", ")")
                    .into(),
            ),
            sqlite: Box::leak(
                render(self.text, "json_each(", ") AS item", "", "")
                    .replace("/*first*/ ", "")
                    .replace("/*next*/", ";")
                    .replace("/*then*/", ";")
                    .into(),
            ),
        })
    }
}

const LOCK: &str = "FOR NO KEY UPDATE";
const LOCK_FREE: &str = "FOR NO KEY UPDATE SKIP LOCKED";

fn render(text: &str, each_open: &str, each_close: &str, lock: &str, lock_free: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find("each(") {
        let (before, after) = rest.split_at(at);
        let (argument, after) = after["each(".len()..].split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(each_open);
        out.push_str(argument);
        out.push_str(each_close);
        rest = after;
    }
    out.push_str(rest);
    out.replace("/*lock*/", lock).replace("/*lock free*/", lock_free)
}

/// Declares statements: a static for each, and `ALL` for the test that prepares every one on both engines.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $operation:ident $table:ident $text:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: $crate::store::sql::Statement = $crate::store::sql::Statement::new(
            stringify!($name), brokkr_telemetry::metrics::DbOperation::$operation, stringify!($table), $text);)*
        #[cfg(test)]
        pub(super) static ALL: &[&$crate::store::sql::Statement] = &[$(&$name),*];
    };
}
pub(crate) use statements;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_markers_become_each_engines_own_words() {
        static SAMPLE: Statement = Statement::new(
            "SAMPLE",
            DbOperation::Select,
            "agents",
            "SELECT item.value->>'id' FROM each($1) JOIN agents ON TRUE WHERE name = $2 /*lock*/ OR /*lock free*/",
        );
        static THOSE: Statement = Statement::new(
            "THOSE",
            DbOperation::Select,
            "agents",
            "SELECT 1 WHERE id IN /*those of*/ (SELECT id FROM a /*those*/)",
        );
        assert_eq!(THOSE.rendered().postgres, "SELECT 1 WHERE id = ANY(ARRAY(SELECT id FROM a ))");
        assert_eq!(THOSE.rendered().sqlite, "SELECT 1 WHERE id IN /*those of*/ (SELECT id FROM a /*those*/)");
        static TWO: Statement =
            Statement::new("TWO", DbOperation::Insert, "b", "/*first*/ INSERT INTO a SELECT 1 /*then*/ INSERT INTO b SELECT 2");
        assert_eq!(TWO.rendered().postgres, "WITH first AS ( INSERT INTO a SELECT 1 ) INSERT INTO b SELECT 2");
        assert_eq!(TWO.rendered().sqlite, "INSERT INTO a SELECT 1 ; INSERT INTO b SELECT 2");
        let rendered = SAMPLE.rendered();
        assert_eq!(
            rendered.postgres,
            "SELECT item.value->>'id' FROM json_array_elements(CAST($1 AS json)) AS item(value) JOIN agents ON TRUE WHERE name = $2 FOR NO KEY UPDATE OR FOR NO KEY UPDATE SKIP LOCKED"
        );
        assert_eq!(
            rendered.sqlite,
            "SELECT item.value->>'id' FROM json_each($1) AS item JOIN agents ON TRUE WHERE name = $2  OR "
        );
    }
}
