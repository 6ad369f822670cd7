//! The 35 operations of the Iceberg REST API: one table, from which routes, rights, the endpoints list, metrics and docs are made.
//!
//! Source: the Iceberg REST catalog specification of 1.11 with `unregister`, `functions` and `register-view`.

use super::Role;

/// Whether an operation changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody may ask, without a token: only the deprecated token route.
    Open,
    /// Changes nothing.
    Read,
    /// Changes nothing in the catalog, yet is sent by POST and must not be repeated by us (metrics reports, signing).
    Report,
    /// Changes the catalog.
    Write,
}

/// One operation's place in the API.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Which operation.
    pub operation: Operation,
    /// The specification's `operationId`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path as in the specification and in a config answer's `endpoints`.
    pub path: &'static str,
    /// What it does to the catalog.
    pub access: Access,
}

macro_rules! operations {
    ($($variant:ident $name:literal $method:literal $path:literal $access:ident;)*) => {
        /// An operation of the Iceberg REST API, named as the specification's `operationId`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Operation { $($variant),* }

        impl Operation {
            /// Every operation with its route.
            pub const ROUTES: &'static [Route] = &[$(Route {
                operation: Operation::$variant, name: $name, method: $method, path: $path, access: Access::$access,
            }),*];
        }
    };
}

operations! {
    GetConfig "getConfig" "GET" "/v1/config" Read;
    GetToken "getToken" "POST" "/v1/oauth/tokens" Open;
    ListNamespaces "listNamespaces" "GET" "/v1/{prefix}/namespaces" Read;
    CreateNamespace "createNamespace" "POST" "/v1/{prefix}/namespaces" Write;
    LoadNamespace "loadNamespaceMetadata" "GET" "/v1/{prefix}/namespaces/{namespace}" Read;
    NamespaceExists "namespaceExists" "HEAD" "/v1/{prefix}/namespaces/{namespace}" Read;
    DropNamespace "dropNamespace" "DELETE" "/v1/{prefix}/namespaces/{namespace}" Write;
    UpdateProperties "updateProperties" "POST" "/v1/{prefix}/namespaces/{namespace}/properties" Write;
    ListTables "listTables" "GET" "/v1/{prefix}/namespaces/{namespace}/tables" Read;
    CreateTable "createTable" "POST" "/v1/{prefix}/namespaces/{namespace}/tables" Write;
    RegisterTable "registerTable" "POST" "/v1/{prefix}/namespaces/{namespace}/register" Write;
    LoadTable "loadTable" "GET" "/v1/{prefix}/namespaces/{namespace}/tables/{table}" Read;
    TableExists "tableExists" "HEAD" "/v1/{prefix}/namespaces/{namespace}/tables/{table}" Read;
    UpdateTable "updateTable" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}" Write;
    DropTable "dropTable" "DELETE" "/v1/{prefix}/namespaces/{namespace}/tables/{table}" Write;
    UnregisterTable "unregisterTable" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/unregister" Write;
    LoadCredentials "loadCredentials" "GET" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials" Read;
    SignRequest "signRequest" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/sign" Report;
    ReportMetrics "reportMetrics" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics" Report;
    PlanTableScan "planTableScan" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/plan" Report;
    FetchPlanningResult "fetchPlanningResult" "GET" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}" Read;
    CancelPlanning "cancelPlanning" "DELETE" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}" Report;
    FetchScanTasks "fetchScanTasks" "POST" "/v1/{prefix}/namespaces/{namespace}/tables/{table}/tasks" Report;
    RenameTable "renameTable" "POST" "/v1/{prefix}/tables/rename" Write;
    CommitTransaction "commitTransaction" "POST" "/v1/{prefix}/transactions/commit" Write;
    ListViews "listViews" "GET" "/v1/{prefix}/namespaces/{namespace}/views" Read;
    CreateView "createView" "POST" "/v1/{prefix}/namespaces/{namespace}/views" Write;
    RegisterView "registerView" "POST" "/v1/{prefix}/namespaces/{namespace}/register-view" Write;
    LoadView "loadView" "GET" "/v1/{prefix}/namespaces/{namespace}/views/{view}" Read;
    ViewExists "viewExists" "HEAD" "/v1/{prefix}/namespaces/{namespace}/views/{view}" Read;
    ReplaceView "replaceView" "POST" "/v1/{prefix}/namespaces/{namespace}/views/{view}" Write;
    DropView "dropView" "DELETE" "/v1/{prefix}/namespaces/{namespace}/views/{view}" Write;
    RenameView "renameView" "POST" "/v1/{prefix}/views/rename" Write;
    ListFunctions "listFunctions" "GET" "/v1/{prefix}/namespaces/{namespace}/functions" Read;
    LoadFunction "loadFunction" "GET" "/v1/{prefix}/namespaces/{namespace}/functions/{function}" Read;
}

impl Operation {
    /// This operation's row of the table.
    pub fn route(self) -> &'static Route {
        // the table is written in the order of the variants, which the test below holds
        &Self::ROUTES[self as usize]
    }

    /// The specification's `operationId`; also the metric label.
    pub fn name(self) -> &'static str {
        self.route().name
    }

    /// What it does to the catalog.
    pub fn access(self) -> Access {
        self.route().access
    }

    /// The smallest role that may ask for it; `None` where no token is needed.
    pub fn role(self) -> Option<Role> {
        match self.access() {
            Access::Open => None,
            Access::Read | Access::Report => Some(Role::Read),
            Access::Write => Some(Role::Write),
        }
    }

    /// The line that stands for it in a config answer's `endpoints`, such as `GET /v1/{prefix}/namespaces`.
    pub fn endpoint(self) -> String {
        let route = self.route();
        format!("{} {}", route.method, route.path)
    }

    /// The operation that an `endpoints` line stands for.
    pub fn from_endpoint(line: &str) -> Option<Operation> {
        let (method, path) = line.split_once(' ')?;
        Self::ROUTES.iter().find(|r| r.method == method && r.path == path).map(|r| r.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_in_order() {
        assert_eq!(Operation::ROUTES.len(), 35);
        for (at, route) in Operation::ROUTES.iter().enumerate() {
            assert_eq!(route.operation as usize, at);
            assert_eq!(Operation::from_endpoint(&route.operation.endpoint()), Some(route.operation));
        }
    }
}
