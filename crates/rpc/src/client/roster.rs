//! Sessions and counts of the node at one address.

use super::public::{PublicClient, answer};
use crate::heard::CallError;
use crate::pb::v1 as pb;
use crate::roster::{DisconnectWish, NodeCounts, SESSIONS_PAGE, SessionsPage, SessionsWish};

impl PublicClient {
    /// A page of the node's sessions.
    pub async fn sessions(&self, wish: &SessionsWish) -> Result<SessionsPage, CallError> {
        let SessionsWish {
            after,
            limit,
            subject,
            topic,
        } = wish.clone();
        let (within, call) = self.work(pb::ListSessionsRequest {
            page_size: u32::try_from(limit).unwrap_or(SESSIONS_PAGE),
            page_token: after.map_or_else(String::new, |after| after.to_string()),
            subject: subject.unwrap_or_default(),
            topic: topic.map_or_else(String::new, |topic| topic.as_str().to_owned()),
        });
        let page = answer(within, self.cluster().list_sessions(call)).await?;
        Ok(page.try_into()?)
    }

    /// Ends sessions of the node; how many were told.
    pub async fn disconnect(&self, wish: DisconnectWish) -> Result<u64, CallError> {
        let (within, call) = self.work(pb::DisconnectRequest::from(wish));
        let pb::DisconnectResponse { sessions } =
            answer(within, self.cluster().disconnect(call)).await?;
        Ok(sessions)
    }

    /// What the node counts.
    pub async fn counts(&self) -> Result<NodeCounts, CallError> {
        let (within, call) = self.work(pb::GetMetricsRequest {});
        Ok(answer(within, self.cluster().get_metrics(call))
            .await?
            .into())
    }
}
