//! A connection until both sides are open: protocol headers, login, `open`. Sessions are not known
//! here.

use super::{CHANNEL_MAX, Connection, IDLE_MS, Phase};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::frame::{AMQP_HEADER, FRAME_BYTES_MAX, FRAME_BYTES_MIN, SASL_HEADER};
use crate::amqp::performative::{Open, Performative};
use crate::amqp::sasl::{self, SaslInit};

const MECHANISMS: [&str; 3] = ["ANONYMOUS", "PLAIN", "MSSBCBS"];

impl Connection {
    pub(super) fn on_header(&mut self, bytes: &[u8], is_sasl_done: bool) -> usize {
        let Some(header) = bytes.first_chunk::<8>() else { return 0 };
        match *header {
            SASL_HEADER if !is_sasl_done => {
                self.context.out.extend(SASL_HEADER);
                sasl::encode_sasl_mechanisms(&MECHANISMS, &mut self.context.out);
                self.phase = Phase::Sasl;
            }
            // Without SASL a peer is as one that logged in as anonymous.
            AMQP_HEADER => {
                self.context.out.extend(AMQP_HEADER);
                self.phase = Phase::Opening;
            }
            _ => {
                tracing::debug!(?header, "a peer spoke another protocol");
                let expected = if is_sasl_done { AMQP_HEADER } else { SASL_HEADER };
                self.context.out.extend(expected);
                self.phase = Phase::Done;
            }
        }
        header.len()
    }

    pub(super) fn on_sasl(&mut self, body: &[u8]) {
        let is_welcome = match SaslInit::decode(body) {
            Ok(init) => self.log_in(&init),
            Err(error) => {
                tracing::debug!(%error, "a login cannot be decoded");
                false
            }
        };
        sasl::encode_sasl_outcome(is_welcome, &mut self.context.out);
        self.phase = if is_welcome { Phase::Header { is_sasl_done: true } } else { Phase::Done };
    }

    pub(super) fn log_in(&mut self, init: &SaslInit) -> bool {
        match init.mechanism.as_str() {
            "ANONYMOUS" | "MSSBCBS" => true,
            "PLAIN" => {
                let mut parts = init.response.split(|byte| *byte == 0).skip(1);
                let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
                let (name, password) = (text(), text());
                let is_key = self.context.core.key.is(name.unwrap_or(""), password.unwrap_or(""));
                if is_key {
                    self.context.access.grant_everything();
                } else {
                    tracing::info!("a login with a wrong key name or key was refused");
                }
                is_key
            }
            mechanism => {
                tracing::debug!(mechanism, "a login by an unknown mechanism was refused");
                false
            }
        }
    }

    pub(super) fn on_open(&mut self, open: &Open) {
        self.send_open();
        self.phase = Phase::Open;
        if open.frame_bytes_max < FRAME_BYTES_MIN {
            let description = format!("max-frame-size is below {FRAME_BYTES_MIN}");
            return self.fail(AmqpError::new(condition::INVALID_FIELD, description));
        }
        self.context.peer_frame_bytes_max = open.frame_bytes_max.min(FRAME_BYTES_MAX) as usize;
        self.peer_idle_ms = open.idle_ms.filter(|idle_ms| *idle_ms > 0);
    }

    pub(super) fn send_open(&mut self) {
        let open = Open {
            container_id: "eventhubs-local".to_owned(),
            frame_bytes_max: FRAME_BYTES_MAX,
            channel_max: CHANNEL_MAX,
            idle_ms: Some(IDLE_MS / 2),
        };
        self.context.send(0, Performative::Open(open));
    }
}
