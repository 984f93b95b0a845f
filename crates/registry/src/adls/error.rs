//! Why a container cannot be used.

/// Why a container cannot be used. No message repeats a text that may hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdlsError {
    /// A location is none.
    #[error(
        "read storage location: {reason}; write https://ACCOUNT.blob.core.windows.net/CONTAINER, \
         with /FOLDER behind it if wanted"
    )]
    Location {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A connection string is none.
    #[error("read storage connection string: {reason}; copy it from the account's access keys")]
    ConnectionString {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The connection string is of another account than the location.
    #[error("use storage account {wanted}: the connection string is of {found}; unset one of them")]
    OtherAccount {
        /// The account of the location.
        wanted: String,
        /// The account of the connection string.
        found: String,
    },
    /// Plain HTTP, which would show everything to the network.
    #[error("use {host} over http: only an emulator is; write https")]
    PlainHttp {
        /// Where it would go.
        host: String,
    },
    /// An account key is none.
    #[error("read storage account key: it is no base64; copy it again")]
    Key,
    /// A shared access signature is none.
    #[error("read shared access signature: it is no query of a URL; copy it again")]
    Signature,
    /// Rights on a folder where there are only containers.
    #[error(
        "give rights on folder {folder}: only an account with a hierarchical namespace has rights \
         on folders; say that it has one, or put the registry into a container of its own"
    )]
    FlatFolder {
        /// The folder.
        folder: String,
    },
    /// Rights cannot be made of rights.
    #[error(
        "give rights on a container: a shared access signature cannot make another; give this \
         program an identity or the account's key"
    )]
    CannotIssue,
    /// The client could not be made.
    #[error("make a client of Azure storage; check credentials and certificates")]
    Client {
        /// What the client says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
