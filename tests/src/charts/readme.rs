//! The README: what the chart is, how it is installed, every value.

use serde_json::Value;

use super::values::Values;

pub(super) fn render(values: &Values, about: &Value) -> String {
    let text = |key: &str| about[key].as_str().unwrap_or_default();
    let name = text("name");
    let mut page = format!(
        "<!-- Generated from Chart.yaml and values.yaml by `make generate`: edit those. -->\n\n# {name}\n\n{}\n\n\
         ```sh\nhelm install {name} charts/{name} --namespace brokkr-system --create-namespace\n```\n\n\
         The guides stand in [Deploy](../../docs/content/how-to/deploy.md). Kubernetes {} or later.\n\n## Values\n\n\
         | value | default | meaning |\n|---|---|---|\n",
        text("description"),
        text("kubeVersion").trim_start_matches(">=").trim_end_matches("-0"),
    );
    rows(values, "", &values.defaults, &mut page);
    page
}

/// A row for each value, and one above them for an object about which something is said.
fn rows(values: &Values, path: &str, value: &Value, page: &mut String) {
    let note = values.note(path);
    if let Some(object) = value.as_object().filter(|object| !object.is_empty() && !note.is_opaque()) {
        if !note.text.is_empty() {
            page.push_str(&format!("| **`{path}`** | | {} |\n", cell(&note.text)));
        }
        for (key, value) in object {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            rows(values, &below, value, page);
        }
        return;
    }
    page.push_str(&format!("| `{path}` | `{}` | {} |\n", cell(&value.to_string()), cell(&note.text)));
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_a_row_and_opaque_objects_are_one() {
        let text = "# All of o.\no:\n  # One | two.\n  s: a\n# @schema {}\nfree: {a: 1}\n";
        let about = serde_json::json!({"name": "x", "description": "An x.", "kubeVersion": ">=1.29.0-0"});
        let page = render(&Values::parse(text).unwrap(), &about);
        assert!(page.contains("# x\n\nAn x.\n") && page.contains("Kubernetes 1.29.0 or later."), "{page}");
        let rows = "| **`o`** | | All of o. |\n| `o.s` | `\"a\"` | One \\| two. |\n| `free` | `{\"a\":1}` |  |\n";
        assert!(page.ends_with(rows), "{page}");
    }
}
