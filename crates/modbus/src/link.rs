//! One connection to a device: requests, each within its time, and what can go wrong with them.
//!
//! A connection that failed in any way is not used again: what still arrives on it may be the answer
//! to an earlier request.

use crate::device::Endpoint;
use crate::grouping::Span;
use crate::settings::Kind;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context as Client, tcp};
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Request, Response, Slave};

/// A device at the other end.
pub(crate) struct Link {
    endpoint: Endpoint,
    timeout: Duration,
    client: Option<Client>,
    connections: u64,
}

/// Items that a device answered with, as many as were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Words(Vec<u16>),
    Bits(Vec<bool>),
}

/// Why a request has no answer.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error(
        "cannot connect to {endpoint}: see that it is on, reachable and has a connection to spare"
    )]
    Unreachable {
        endpoint: Endpoint,
        #[source]
        source: io::Error,
    },
    #[error("{endpoint} did not answer within {waited:?} when asked for {span}")]
    TimedOut { endpoint: Endpoint, waited: Duration, span: Span },
    #[error("{endpoint} refused to read {span} with exception {}: {}", u8::from(*.code), name(*.code))]
    Exception { endpoint: Endpoint, code: ExceptionCode, span: Span },
    #[error("connection to {endpoint} broke while it was asked for {span}")]
    Broken {
        endpoint: Endpoint,
        span: Span,
        #[source]
        source: io::Error,
    },
    #[error("{endpoint} gave no answer to the request for {span}: {what}")]
    Nonsense { endpoint: Endpoint, span: Span, what: String },
}

/// As V1.1b3, section 7, names them.
fn name(code: ExceptionCode) -> String {
    match code {
        ExceptionCode::Custom(_) => "not one of the specification".into(),
        code => format!("{code:?}"),
    }
}

impl Link {
    pub(crate) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout, client: None, connections: 0 }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// Reads a span. Devices close connections that they find idle, which shows with the next
    /// request only; it is sent once more then, on a new one.
    pub(crate) async fn read(&mut self, span: Span) -> Result<Answer, Fault> {
        let was_connected = self.is_connected();
        match self.read_once(span).await {
            Err(Fault::Broken { .. }) if was_connected => self.read_once(span).await,
            result => result,
        }
    }

    async fn read_once(&mut self, span: Span) -> Result<Answer, Fault> {
        // Taken out, and put back when all went well.
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let Span { kind, start, count } = span;
        let request = match kind {
            Kind::Coil => Request::ReadCoils(start, count),
            Kind::Discrete => Request::ReadDiscreteInputs(start, count),
            Kind::Holding => Request::ReadHoldingRegisters(start, count),
            Kind::Input => Request::ReadInputRegisters(start, count),
        };
        let endpoint = || self.endpoint.clone();
        let Ok(result) = timeout(self.timeout, client.call(request)).await else {
            return Err(Fault::TimedOut { endpoint: endpoint(), waited: self.timeout, span });
        };
        let answer = match result {
            Ok(Ok(response)) => self.answer(span, response)?,
            Ok(Err(code)) => {
                let refused = Fault::Exception { endpoint: endpoint(), code, span };
                self.client = Some(client);
                return Err(refused);
            }
            Err(Error::Transport(source)) if is_nonsense(&source) => {
                let what = source.to_string();
                return Err(Fault::Nonsense { endpoint: endpoint(), span, what });
            }
            Err(Error::Transport(source)) => {
                return Err(Fault::Broken { endpoint: endpoint(), span, source });
            }
            Err(Error::Protocol(error)) => return Err(self.nonsense(span, mismatch(&error))),
        };
        self.client = Some(client);
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<Client, Fault> {
        let to = (self.endpoint.host.as_str(), self.endpoint.port);
        let connected = match timeout(self.timeout, TcpStream::connect(to)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        };
        // Requests are small and wait for their answers: nothing is to be gathered.
        let stream = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|source| {
            let endpoint = self.endpoint.clone();
            Fault::Unreachable { endpoint, source }
        })?;
        self.connections += 1;
        Ok(tcp::attach_slave(Wire(stream), Slave(self.endpoint.unit)))
    }

    /// Checks that there are as many items as were asked for. Bits come in whole bytes.
    fn answer(&self, span: Span, response: Response) -> Result<Answer, Fault> {
        let count = usize::from(span.count);
        let (answer, found, expected) = match response {
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => {
                let found = words.len();
                (Answer::Words(words), found, count)
            }
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                let found = bits.len();
                (Answer::Bits(bits), found, count.next_multiple_of(8))
            }
            _ => return Err(self.nonsense(span, "it is of another function".into())),
        };
        if found == expected {
            return Ok(answer);
        }
        let what = format!("it has {found} items where {expected} were expected");
        Err(self.nonsense(span, what))
    }

    fn nonsense(&self, span: Span, what: String) -> Fault {
        Fault::Nonsense { endpoint: self.endpoint.clone(), span, what }
    }
}

/// Bytes that came and are not Modbus, as opposed to bytes that did not come.
fn is_nonsense(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// Without the answer itself, which can be long.
fn mismatch(error: &ProtocolError) -> String {
    match error {
        ProtocolError::HeaderMismatch { message, .. } => {
            format!("transaction or unit are of another request: {message}")
        }
        ProtocolError::FunctionCodeMismatch { request, result } => {
            let code = match result {
                Ok(response) => response.function_code(),
                Err(exception) => exception.function,
            };
            format!("it is of function {code} and not {request}")
        }
    }
}

/// A stream whose end is an error: `tokio-modbus` reports whatever error the thread had last.
#[derive(Debug)]
struct Wire(TcpStream);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            let text = "the device closed it";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
