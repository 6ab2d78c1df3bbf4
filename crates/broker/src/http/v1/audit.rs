//! The audit log, for those who ask who it was.

use axum::extract::State;
use brokkr_api::{
    Page,
    audit::{AuditEntry, AuditQuery},
};

use super::page;
use crate::http::{
    AppState,
    auth::{Allowed, AuditRead},
    body::{Json, Query},
    error::Failure,
};

/// A page of the audit log, the newest entries first.
#[utoipa::path(get, path = brokkr_api::routes::AUDIT, operation_id = "listAudit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditEntry>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Allowed<AuditRead>,
    State(state): State<AppState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditEntry>>, Failure> {
    let limit = page::limit(query.limit)?;
    let before = page::cursor(query.cursor.as_deref())?;
    for (name, filter) in
        [("action", &query.action), ("resource_kind", &query.resource_kind), ("resource_name", &query.resource_name)]
    {
        page::text(name, filter.as_deref())?;
    }
    let entries = state.db.list_audit(&query, before, limit + 1).await?;
    Ok(Json(page::page(entries, limit, |entry| entry.id.to_string())))
}
