//! What a server shows, and what it can do with its client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rmcp::model::{
    CallToolResult, ClientResult, ElicitRequest, ElicitRequestParams, ElicitationAction, ElicitationSchema,
    JsonObject, ProgressNotificationParam, ProgressToken, Resource, ResourceContents, ResourceTemplate,
    ServerRequest, Tool,
};
use rmcp::service::{PeerRequestOptions, RequestContext, ServiceError};
use rmcp::{ErrorData, Peer, RoleServer};
use tokio_util::sync::CancellationToken;

/// How long a person may think about a question.
const PATIENCE: Duration = Duration::from_secs(600);

/// Something that comes later.
pub type Pending<'p, T> = Pin<Box<dyn Future<Output = T> + Send + 'p>>;

/// Tools and resources, of one session. Dropped with it.
pub trait Face: Send + Sync + 'static {
    /// What a client is told of the server, for its model.
    fn instructions(&self) -> String;
    /// Its tools.
    fn tools(&self) -> Vec<Tool>;
    /// Calls a tool.
    fn call<'c>(
        &'c self,
        tool: &'c str,
        arguments: JsonObject,
        client: Client,
    ) -> Pending<'c, Result<CallToolResult, ErrorData>>;
    /// The resources that there are now.
    fn resources(&self) -> Vec<Resource>;
    /// Forms of addresses of further resources.
    fn templates(&self) -> Vec<ResourceTemplate>;
    /// Reads a resource.
    fn read<'c>(&'c self, uri: &'c str) -> Pending<'c, Result<Vec<ResourceContents>, ErrorData>>;
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// A person says yes.
    Given,
    /// A person says no.
    Declined,
    /// Nobody has answered in time, or the call was given up meanwhile.
    Unanswered,
    /// Nobody can be asked, and why.
    NobodyToAsk(String),
}

/// The client that waits for an answer.
#[derive(Clone, Debug)]
pub struct Client {
    peer: Peer<RoleServer>,
    progress: Option<ProgressToken>,
    has_forms: bool,
    name: String,
    cancelled: CancellationToken,
}

impl Client {
    pub(crate) fn of(context: &RequestContext<RoleServer>, ended: &CancellationToken) -> Self {
        let capabilities = context.client_capabilities().and_then(|capabilities| capabilities.elicitation);
        // The first versions that had forms had nothing else, and did not name them.
        let has_forms = capabilities.is_some_and(|known| known.form.is_some() || known.url.is_none());
        let name = context.client_info().map(|info| format!("{} {}", info.name, info.version));
        // Whichever comes first: that the client gives up the call, or that it goes.
        let cancelled = context.ct.child_token();
        let (of_call, of_session) = (cancelled.clone(), ended.clone());
        let done = context.ct.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = of_session.cancelled() => of_call.cancel(),
                () = done.cancelled() => {}
            }
        });
        Self {
            peer: context.peer.clone(),
            progress: context.meta.get_progress_token(),
            has_forms,
            name: name.unwrap_or_default(),
            cancelled,
        }
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cancelled when the client gives up the call, or goes.
    #[must_use]
    pub const fn cancellation(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Whether it wants to be told how far the call is.
    #[must_use]
    pub const fn wants_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Tells how far the call is, where the client wants to know.
    pub async fn progress(&self, done: f64, message: String) {
        let Some(token) = self.progress.clone() else { return };
        let told = ProgressNotificationParam::new(token, done).with_message(message);
        if let Err(error) = self.peer.notify_progress(told).await {
            tracing::debug!("progress was not told: {error}");
        }
    }

    /// Asks a person for a yes, where the client has a way to.
    pub async fn ask(&self, message: String) -> Approval {
        if !self.has_forms {
            return Approval::NobodyToAsk(
                "this client can't ask anybody (it declares no `elicitation`)".to_owned(),
            );
        }
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message,
            // Yes is an answer without anything to fill in.
            requested_schema: ElicitationSchema::new(std::collections::BTreeMap::new()),
        };
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
        let asked = async {
            let options = PeerRequestOptions::with_timeout(PATIENCE);
            let handle = self.peer.send_request_with_option(request, options).await?;
            handle.await_response().await
        };
        let answered = tokio::select! {
            answered = asked => answered,
            () = self.cancelled.cancelled() => return Approval::Unanswered,
        };
        match answered {
            Ok(ClientResult::ElicitResult(answer)) if answer.action == ElicitationAction::Accept => {
                Approval::Given
            }
            Ok(ClientResult::ElicitResult(_)) => Approval::Declined,
            Err(ServiceError::Timeout { .. } | ServiceError::Cancelled { .. }) => Approval::Unanswered,
            Ok(_) => Approval::NobodyToAsk("the client has answered something else".to_owned()),
            Err(error) => Approval::NobodyToAsk(format!("the client could not ask anybody: {error}")),
        }
    }
}
