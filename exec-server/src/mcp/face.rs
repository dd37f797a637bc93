//! A session as the protocol shows it.

use codex_core::policy::{NetworkAccess, ResolvedWrites};
use codex_linux_sandbox::shown;
use codex_mcp::model::{
    CallToolResult, JsonObject, MetaObject, Resource, ResourceContents, ResourceTemplate, Tool,
};
use codex_mcp::{Client, ErrorData, Face, Pending};
use serde_json::json;

use super::session::Session;
use super::{outputs, result, spec};

impl Face for Session {
    fn instructions(&self) -> String {
        let policy = self.desk.sandbox.policy();
        let roots = match &policy.writes {
            ResolvedWrites::Everywhere => "anywhere".to_owned(),
            ResolvedWrites::Beneath(roots) if roots.is_empty() => "nowhere".to_owned(),
            ResolvedWrites::Beneath(roots) => {
                let roots: Vec<String> = roots.iter().map(|root| shown(&root.path)).collect();
                format!("below {}", roots.join(", "))
            }
        };
        let hosts = &self.desk.sandbox.places().hosts;
        let network = match policy.network {
            NetworkAccess::Enabled => "can be reached".to_owned(),
            NetworkAccess::Restricted if hosts.is_empty() => "can't be reached".to_owned(),
            NetworkAccess::Restricted => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                format!("can't be reached but for {}, by the proxy that HTTPS_PROXY names", hosts.join(", "))
            }
        };
        format!(
            "Commands run in a sandbox (policy {}) in {}. They can write {roots}; the network {network}. exec_command leaves what takes \
             long running as a session for write_stdin and kill; commands end with the connection.",
            policy.mode,
            shown(&self.desk.bench.workspace)
        )
    }

    fn tools(&self) -> Vec<Tool> {
        spec::tools(&self.desk.sandbox, &self.desk.widest)
    }

    fn call<'c>(
        &'c self,
        tool: &'c str,
        arguments: JsonObject,
        client: Client,
    ) -> Pending<'c, Result<CallToolResult, ErrorData>> {
        Box::pin(async move {
            let names = ["exec_command", "write_stdin", "shell", "apply_patch", "kill", "read_output"];
            let Some(name) = names.into_iter().find(|name| *name == tool) else {
                let text = format!("there is no tool `{}`; there are {}", shown(tool), names.join(", "));
                return Err(ErrorData::invalid_params(text, None));
            };
            let began = std::time::Instant::now();
            let result = match name {
                "read_output" => self.read_output(arguments).await.unwrap_or_else(result::no_page),
                name => self.answer(name, arguments, &client).await.unwrap_or_else(result::refused),
            };
            let failed = result.is_error == Some(true);
            self.server.metrics.answered(name, if failed { "error" } else { "ok" }, began.elapsed());
            Ok(result)
        })
    }

    fn resources(&self) -> Vec<Resource> {
        self.outputs.resources()
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        outputs::templates()
    }

    fn read<'c>(&'c self, uri: &'c str) -> Pending<'c, Result<Vec<ResourceContents>, ErrorData>> {
        Box::pin(async move {
            let (name, piece) = outputs::parse(uri).map_err(|text| ErrorData::invalid_params(text, None))?;
            let page = self.outputs.read(name, piece).await;
            let page =
                page.map_err(|text| ErrorData::resource_not_found(text, Some(json!({ "uri": uri }))))?;
            let mut meta = MetaObject::default();
            for (key, value) in [
                ("start", json!(page.start)),
                ("end", json!(page.end)),
                ("next", json!(page.next)),
                ("file_bytes", json!(page.file_bytes)),
                ("lossy_utf8", json!(page.text.lossy_utf8)),
            ] {
                meta.insert(format!("codex/{key}"), value);
            }
            Ok(vec![ResourceContents::text(page.text.text, uri).with_meta(meta)])
        })
    }
}
