//! What the user allows: the policy as it was asked for, and its paths made real.

mod addresses;
mod host;
mod model;
mod places;
pub mod protected;
mod resolve;
mod special;
mod trace;

pub use addresses::{is_never_named, is_of_credentials, is_public};
pub use host::{Host, HostGrant, HostGrantError, host_and_port};
pub use model::{NetworkAccess, SandboxMode, SandboxPolicy};
pub use places::{PlaceRules, ResolvedPlaces};
pub use protected::{
    AbsentNames, GitProtection, NAMES, ProtectedName, Protection, ProtectionNote, ProtectionSettings,
    WatchedLink, protect,
};
pub use resolve::{
    PolicyError, ResolvedPolicy, ResolvedWrites, RootNote, RootOrigin, Surroundings, WritableRoot, resolve,
};
pub use special::{SpecialMount, mount_below, special_mounts};
pub(crate) use trace::resolve_path;
pub use trace::{Way, way};
