//! A face as the crate wants to see it.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;

use crate::face::{Client, Face};

/// The versions that have sessions, the newest last.
pub(crate) const VERSIONS: &[ProtocolVersion] = &[
    ProtocolVersion::V_2024_11_05,
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_11_25,
];
/// The header by which a request over HTTP names its session.
const SESSION: &str = "mcp-session-id";
/// What we have, for those who ask with the wrong parameters.
const METHODS: [&str; 6] = [
    "initialize",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

/// One session.
pub(crate) struct Adapter {
    pub(crate) face: Arc<dyn Face>,
    /// Cancelled when the client has gone.
    pub(crate) ended: CancellationToken,
}

impl Adapter {
    /// Refuses what came over HTTP without a session, whatever version it speaks: nobody could go on with what it begins.
    fn in_a_session(context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
        match context.extensions.get::<Parts>() {
            Some(head) if !head.headers.contains_key(SESSION) => {
                Err(ErrorData::invalid_request("a session begins with `initialize`, and this is none", None))
            }
            _ => Ok(()),
        }
    }
}

impl ServerHandler for Adapter {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
            .with_server_info(Implementation::new("codex", env!("CARGO_PKG_VERSION")))
            .with_instructions(self.face.instructions())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Self::in_a_session(&context)?;
        Ok(ListToolsResult::with_all_items(self.face.tools()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Self::in_a_session(&context)?;
        let client = Client::of(&context, &self.ended);
        let result = self.face.call(&params.name, params.arguments.unwrap_or_default(), client).await?;
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Self::in_a_session(&context)?;
        Ok(ListResourcesResult::with_all_items(self.face.resources()))
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Self::in_a_session(&context)?;
        Ok(ListResourceTemplatesResult::with_all_items(self.face.templates()))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Self::in_a_session(&context)?;
        Ok(ReadResourceResult::new(self.face.read(&params.uri).await?).into())
    }

    /// What has the form of no request that the crate knows: one of another method, or of ours with the wrong parameters.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if METHODS.contains(&request.method.as_str()) {
            let text = format!("the parameters of {} are missing or have the wrong form", request.method);
            return Err(ErrorData::invalid_params(text, None));
        }
        Err(ErrorData::new(rmcp::model::ErrorCode::METHOD_NOT_FOUND, request.method, None))
    }
}
