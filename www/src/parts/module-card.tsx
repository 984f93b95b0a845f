import type { ModuleInfo } from "../workers/score.worker";
import { Digest, Facts } from "./facts";
import { bytes, percent } from "./words";

/** What a module says of itself. */
export function ModuleCard({ info }: { info: ModuleInfo }) {
  const { manifest } = info;
  const { schema } = manifest;
  const detector = manifest["detector"] as { kind?: string } | undefined;
  const threshold = manifest["threshold"] as { false_alarm_rate?: number } | undefined;
  const inputs = [...(schema.numeric ?? []), ...(schema.categorical ?? [])];
  return (
    <Facts
      facts={[
        ["Name", `${manifest.name} ${manifest.version}`],
        ["Detector", (detector?.kind ?? "unknown").replaceAll("+", " + ")],
        ["Inputs", inputs.length > 8 ? `${inputs.slice(0, 8).join(", ")} and ${inputs.length - 8} more` : inputs.join(", ")],
        ["One entity is", schema.entity ?? "the whole file"],
        ["False alarms", `at most ${percent(threshold?.false_alarm_rate ?? 0)} of normal events`],
        ["Size", bytes(info.bytes)],
        ["Digest", <Digest digest={info.digest} />],
      ]}
    />
  );
}
