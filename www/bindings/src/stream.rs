//! Generated events with anomalies on request.

use twinge_generator::{AnomalyKind, Params, Stream, World};
use wasm_bindgen::prelude::wasm_bindgen;

/// An endless stream of events of one world.
#[wasm_bindgen]
#[derive(Debug)]
pub struct EventStream {
    world: World,
    stream: Stream,
}

#[wasm_bindgen]
impl EventStream {
    /// A stream of `cards`, `sensors` or `flows`; times are event time.
    #[wasm_bindgen(constructor)]
    pub fn new(
        world: &str,
        seed: u32,
        entities: u32,
        events_per_second: f64,
        anomaly_share: f64,
    ) -> Result<Self, String> {
        let world: World = world.parse().map_err(|error| format!("cannot {error}"))?;
        let params = Params {
            entities,
            events_per_second,
            anomaly_share,
            ..Params::new(world, u64::from(seed))
        };
        let valid = params.check().map_err(|error| format!("cannot {error}"))?;
        Ok(Self { world, stream: valid.stream() })
    }

    /// The next events, one a line, with `label` and `anomaly`, which no detector reads.
    pub fn take(&mut self, count: u32) -> String {
        let lines: Vec<String> = self
            .stream
            .by_ref()
            .take(count as usize)
            .map(|event| event.to_json(self.world, true))
            .collect();
        lines.join("\n")
    }

    /// Asks for an anomaly of a kind, to begin with the next event of a known entity.
    pub fn inject(&mut self, kind: &str) -> Result<(), String> {
        let kind: AnomalyKind = kind.parse().map_err(|error| format!("cannot {error}"))?;
        self.stream.inject(kind).map_err(|error| format!("cannot {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asked_for_anomaly_comes() {
        let mut stream = EventStream::new("sensors", 1, 4, 1.0, 0.0).unwrap();
        let before = stream.take(200);
        assert_eq!(before.lines().count(), 200);
        assert!(!before.contains(r#""label":1"#));
        stream.inject("spike").unwrap();
        assert!(stream.take(200).contains(r#""label":1,"anomaly":"spike""#));
    }

    #[test]
    fn what_is_not_known_is_told() {
        assert!(EventStream::new("weather", 1, 4, 1.0, 0.0).unwrap_err().contains("weather"));
        let mut stream = EventStream::new("cards", 1, 4, 1.0, 0.0).unwrap();
        assert!(stream.inject("spike").unwrap_err().contains("sensors"));
    }
}
