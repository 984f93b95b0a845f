//! The SDK's clients, opened with deadlines.

use crate::credential::credential;
use crate::driver::Drivers;
use crate::error::HubError;
use crate::namespace::{Access, Namespace};
use azure_core::time::Duration as AzureDuration;
use azure_messaging_eventhubs::{ConsumerClient, ProducerClient, RetryOptions};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Longest that closing may take: what is not closed by then is dropped.
const CLOSE: Duration = Duration::from_secs(3);

/// What is known of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProperties {
    /// When it was made, milliseconds since 1970: a hub that was removed and made anew is another.
    pub created_ms: i64,
    /// Its partitions.
    pub partitions: Vec<String>,
}

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProperties {
    /// The first sequence number that can still be read.
    pub first: i64,
    /// The last sequence number, or -1.
    pub last: i64,
    /// The offset of the last event in the broker's words.
    pub last_offset: String,
}

/// The properties of a hub.
pub async fn properties(
    drivers: &Drivers,
    namespace: &Namespace,
    hub: &str,
) -> Result<HubProperties, HubError> {
    let (namespace, name) = (namespace.clone(), hub.to_owned());
    let answer = drivers.call(async move {
        let client = consumer(&namespace, &name, "$Default").await?;
        let asked = client.get_eventhub_properties();
        let properties = within("ask", &name, namespace.answer, asked).await;
        close(client.close()).await;
        let properties = properties?;
        Ok(HubProperties {
            created_ms: properties.created_on.map_or(0, epoch_ms),
            partitions: properties.partition_ids,
        })
    });
    answer.await.unwrap_or_else(|| Err(HubError::Closed { hub: hub.to_owned() }))
}

impl PartitionProperties {
    pub(crate) async fn of(
        client: &ConsumerClient,
        namespace: &Namespace,
        hub: &str,
        partition: &str,
    ) -> Result<Self, HubError> {
        let asked = client.get_partition_properties(partition);
        let properties = within("ask", hub, namespace.answer, asked).await?;
        Ok(Self {
            first: properties.beginning_sequence_number,
            last: properties.last_enqueued_sequence_number,
            last_offset: properties.last_enqueued_offset,
        })
    }

    /// The properties of a partition.
    pub async fn ask(
        drivers: &Drivers,
        namespace: &Namespace,
        hub: &str,
        partition: &str,
    ) -> Result<Self, HubError> {
        let (namespace, name, partition) =
            (namespace.clone(), hub.to_owned(), partition.to_owned());
        let answer = drivers.call(async move {
            let client = consumer(&namespace, &name, "$Default").await?;
            let properties = Self::of(&client, &namespace, &name, &partition).await;
            close(client.close()).await;
            properties
        });
        answer.await.unwrap_or_else(|| Err(HubError::Closed { hub: hub.to_owned() }))
    }
}

impl Drivers {
    /// Runs `work` on a driving thread and waits for its result; nothing when the threads stop.
    async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.spawn(async move {
            // Whoever asked may have gone away.
            drop(done.send(work.await));
        });
        answer.await.ok()
    }
}

/// A consumer with a connection of its own, so that trouble of one partition is not another's.
pub(crate) async fn consumer(
    namespace: &Namespace,
    hub: &str,
    group: &str,
) -> Result<ConsumerClient, HubError> {
    let mut builder = ConsumerClient::builder()
        .with_application_id("twinge".into())
        .with_consumer_group(group.to_owned())
        .with_retry_options(retry_options());
    if let Some(endpoint) = &namespace.endpoint {
        builder = builder.with_custom_endpoint(endpoint.clone());
    }
    match &namespace.access {
        Access::ConnectionString(text) => {
            let open = builder.open_with_connection_string(text.secret(), Some(hub));
            within("connect to", hub, namespace.answer, open).await
        }
        Access::Identity(identity) => {
            let credential = credential(identity).map_err(|error| sdk("open", hub, error))?;
            let open = builder.open(namespace.name(), hub.to_owned(), credential);
            within("connect to", hub, namespace.answer, open).await
        }
    }
}

pub(crate) async fn producer(namespace: &Namespace, hub: &str) -> Result<ProducerClient, HubError> {
    let mut builder = ProducerClient::builder()
        .with_application_id("twinge".into())
        .with_retry_options(retry_options());
    if let Some(endpoint) = &namespace.endpoint {
        builder = builder.with_custom_endpoint(endpoint.clone());
    }
    match &namespace.access {
        Access::ConnectionString(text) => {
            let open = builder.open_with_connection_string(text.secret(), Some(hub));
            within("connect to", hub, namespace.answer, open).await
        }
        Access::Identity(identity) => {
            let credential = credential(identity).map_err(|error| sdk("open", hub, error))?;
            within(
                "connect to",
                hub,
                namespace.answer,
                builder.open(namespace.name(), hub, credential),
            )
            .await
        }
    }
}

/// The SDK tries little by itself: behind it stands a new connection.
fn retry_options() -> RetryOptions {
    RetryOptions {
        initial_delay: AzureDuration::milliseconds(100),
        max_delay: AzureDuration::seconds(1),
        max_total_elapsed: AzureDuration::seconds(5),
        max_retries: 2,
    }
}

/// A call of the SDK with a deadline. A call that never answers is a known fault of the AMQP library
/// (a disposition that overtakes its own bookkeeping); the connection it was made on is given up.
pub(crate) async fn within<T, E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
    hub: &str,
    deadline: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, HubError> {
    match timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|error| sdk(action, hub, error)),
        Err(_elapsed) => Err(HubError::Deadline { action, hub: hub.to_owned(), deadline }),
    }
}

/// Closes what will not be used again; whether that succeeds changes nothing.
pub(crate) async fn close<E: std::fmt::Display>(closing: impl Future<Output = Result<(), E>>) {
    match timeout(CLOSE, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not closed cleanly"),
        Err(_elapsed) => tracing::debug!("a connection did not close within {CLOSE:?}"),
    }
}

pub(crate) fn sdk(
    action: &'static str,
    hub: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> HubError {
    HubError::Sdk { action, hub: hub.to_owned(), source: Box::new(source) }
}

pub(crate) fn epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
