//! Work orders: what people and agents ask of the broker.

use reqwest::Method;

use super::{Client, ClientError, read};
use crate::{
    IDEMPOTENCY_HEADER, Page, WorkOrderId, routes,
    work_orders::{
        ClaimWork, ClaimedWork, CreateWorkOrder, RenewWork, Renewals, ReportWork, ReportedWork, WorkLog, WorkOrder,
        WorkOrdersQuery,
    },
};

impl Client {
    /// Asks for work. Sent again with the same idempotency key it is answered with the order that the first one made.
    ///
    /// # Errors
    /// `idempotency_mismatch` when the key made another order.
    pub async fn create_work_order(
        &self,
        order: &CreateWorkOrder,
        idempotency_key: Option<&str>,
    ) -> Result<WorkOrder, ClientError> {
        let mut request = self.request(Method::POST, routes::WORK_ORDERS, &[])?.json(order);
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        read(request).await
    }

    /// A page of orders, the newest first.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn work_orders(&self, query: &WorkOrdersQuery) -> Result<Page<WorkOrder>, ClientError> {
        read(self.request(Method::GET, routes::WORK_ORDERS, &[])?.query(query)).await
    }

    /// One order.
    ///
    /// # Errors
    /// `not_found` when there is none of this id.
    pub async fn work_order(&self, id: WorkOrderId) -> Result<WorkOrder, ClientError> {
        self.get(routes::WORK_ORDER, &[&id.to_string()]).await
    }

    /// The end of the log of an order's last attempt.
    ///
    /// # Errors
    /// `not_found` when there is no order of this id.
    pub async fn work_order_log(&self, id: WorkOrderId) -> Result<WorkLog, ClientError> {
        self.get(routes::WORK_ORDER_LOG, &[&id.to_string()]).await
    }

    /// Cancels an order. One that runs is stopped in its cluster first.
    ///
    /// # Errors
    /// `work_order_state` when it is finished.
    pub async fn cancel_work_order(&self, id: WorkOrderId) -> Result<WorkOrder, ClientError> {
        read(self.request(Method::POST, routes::CANCEL_WORK_ORDER, &[&id.to_string()])?).await
    }

    /// Tries an order again that failed, was cancelled or became unknown.
    ///
    /// # Errors
    /// `work_order_state` when it did none of these.
    pub async fn retry_work_order(&self, id: WorkOrderId) -> Result<WorkOrder, ClientError> {
        read(self.request(Method::POST, routes::RETRY_WORK_ORDER, &[&id.to_string()])?).await
    }

    /// Asks for an order to carry out.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn claim_work(&self, claim: &ClaimWork) -> Result<ClaimedWork, ClientError> {
        self.send(Method::POST, routes::CLAIM_WORK, &[], claim).await
    }

    /// Renews leases.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn renew_work(&self, renew: &RenewWork) -> Result<Renewals, ClientError> {
        self.send(Method::POST, routes::RENEW_WORK, &[], renew).await
    }

    /// Reports how an order goes.
    ///
    /// # Errors
    /// `lease_lost` when the agent has it no more.
    pub async fn report_work(&self, report: &ReportWork) -> Result<ReportedWork, ClientError> {
        self.send(Method::POST, routes::REPORT_WORK, &[], report).await
    }
}
