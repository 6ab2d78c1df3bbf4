//! What Grafana wants a dashboard to be: its classic JSON, which every current version imports.

use serde_json::{Value, json};

use super::{Dashboard, Panel, View};

const SCHEMA: u32 = 41;
const SCOPE: &str = r#"cluster=~"$cluster", namespace=~"$namespace""#;
const HEIGHT: u32 = 8;
const WIDTH: u32 = 24;

pub(super) fn dashboard(dashboard: &Dashboard) -> Value {
    json!({
        "uid": format!("brokkr-{}", dashboard.name),
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["brokkr"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{
            "title": "Brokkr", "type": "dashboards", "tags": ["brokkr"], "asDropdown": true, "includeVars": true, "keepTime": true,
        }],
        "annotations": {"list": [{
            "name": "Alerts",
            "datasource": metrics(),
            "enable": true,
            "iconColor": "red",
            "expr": r#"ALERTS{alertname=~"Brokkr.+", alertstate="firing"}"#,
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}} {{instance}}",
        }]},
        "templating": {"list": [
            source("datasource", "Metrics", "prometheus"),
            source("traces", "Traces", "tempo"),
            choice("cluster", "Cluster", "label_values(brokkr_build_info, cluster)"),
            choice("namespace", "Namespace", r#"label_values(brokkr_build_info{cluster=~"$cluster"}, namespace)"#),
        ]},
        "panels": panels(dashboard),
    })
}

fn metrics() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn traces() -> Value {
    json!({"type": "tempo", "uid": "${traces}"})
}

fn source(name: &str, label: &str, kind: &str) -> Value {
    json!({"name": name, "label": label, "type": "datasource", "query": kind, "refresh": 1, "hide": 0, "multi": false, "includeAll": false})
}

/// A variable whose "all" matches what has no such label, too.
fn choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": metrics(), "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "hide": 0, "multi": true, "includeAll": true,
        "allValue": ".*", "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
    })
}

/// Rows and their panels, from left to right and from top to bottom.
fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let (mut result, mut y) = (Vec::new(), 0);
    for row in dashboard.rows {
        let place = json!({"h": 1, "w": WIDTH, "x": 0, "y": y});
        result.push(json!({"id": result.len() + 1, "type": "row", "title": row.title, "collapsed": false, "gridPos": place, "panels": []}));
        y += 1;
        let mut x = 0;
        for content in row.panels {
            let width = u32::from(content.width);
            if x + width > WIDTH {
                x = 0;
                y += HEIGHT;
            }
            let place = json!({"h": HEIGHT, "w": width, "x": x, "y": y});
            result.push(panel(content, result.len() + 1, &place));
            x += width;
        }
        y += HEIGHT;
    }
    result
}

fn panel(panel: &Panel, id: usize, place: &Value) -> Value {
    let (kind, options, custom) = match panel.view {
        View::Lines => ("timeseries", legend(), json!({"fillOpacity": 0, "lineWidth": 1, "showPoints": "never"})),
        View::Stack => (
            "timeseries",
            legend(),
            json!({"fillOpacity": 30, "lineWidth": 1, "showPoints": "never", "stacking": {"mode": "normal", "group": "A"}}),
        ),
        View::Numbers => {
            ("stat", json!({"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "textMode": "auto"}), json!({}))
        }
        View::Table | View::Traces => ("table", json!({"showHeader": true}), json!({})),
    };
    let links: Vec<Value> =
        panel.traces.iter().map(|query| json!({"title": "Traces", "url": explore(query), "targetBlank": true})).collect();
    json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.about, "gridPos": place, "links": links,
        "datasource": if panel.view == View::Traces { traces() } else { metrics() },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": options,
        "targets": targets(panel),
    })
}

fn legend() -> Value {
    json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi", "sort": "desc"}})
}

fn targets(panel: &Panel) -> Vec<Value> {
    if let (View::Traces, Some(query)) = (panel.view, panel.traces) {
        let target = json!({"refId": "A", "datasource": traces(), "queryType": "traceql", "query": query, "limit": 20, "tableType": "traces"});
        return vec![target];
    }
    let is_now = matches!(panel.view, View::Numbers | View::Table);
    let target = |(query, letter): (&super::Query, char)| {
        json!({
            "refId": letter.to_string(), "datasource": metrics(), "editorMode": "code", "expr": expression(query.expr),
            "legendFormat": query.legend, "range": !is_now, "instant": is_now, "exemplar": query.exemplars,
            "format": if panel.view == View::Table { "table" } else { "time_series" },
        })
    };
    panel.queries.iter().zip('A'..='Z').map(target).collect()
}

fn expression(expr: &str) -> String {
    expr.replace("{%", &format!("{{{SCOPE}"))
}

/// The address of a search in Grafana's Explore: in the chosen source of traces, over the dashboard's time.
fn explore(query: &str) -> String {
    let pane = json!({"traces": {
        "datasource": "${traces}",
        "queries": [{"refId": "A", "datasource": traces(), "queryType": "traceql", "query": query, "limit": 20}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }});
    let mut encoded = String::new();
    for byte in pane.to_string().bytes() {
        match byte {
            // `$`, `{` and `}` stay as they are: Grafana puts the values of variables there before a browser sees it.
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b'$'
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b':'
            | b',' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    format!("/explore?schemaVersion=1&panes={encoded}")
}
