import { KINDS, type Role, type Settings } from "./config";

const ROLES: { value: Role; label: string }[] = [
  { value: "number", label: "number" },
  { value: "category", label: "category" },
  { value: "entity", label: "entity" },
  { value: "time", label: "time" },
  { value: "label", label: "label" },
  { value: "ignore", label: "leave out" },
];

/** The role of each column, and the few settings that a person may want to change. */
export function ColumnForm({ settings, onChange }: { settings: Settings; onChange: (settings: Settings) => void }) {
  const change = (more: Partial<Settings>) => onChange({ ...settings, ...more });
  const setRole = (column: string, role: Role) => change({ roles: settings.roles.map((entry) => (entry.column === column ? { column, role } : entry)) });
  const hasTime = settings.roles.some(({ role }) => role === "time");
  const hasLabel = settings.roles.some(({ role }) => role === "label");
  return (
    <>
      <div class="mapping">
        {settings.roles.map(({ column, role }) => (
          <label key={column} class="field">
            <span>{column}</span>
            <select value={role} onChange={(event) => setRole(column, event.currentTarget.value as Role)}>
              {ROLES.map(({ value, label }) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        ))}
      </div>
      <p class="aside">
        The <b>entity</b> is whose past counts, such as a machine or a card. A <b>label</b> says which rows are known anomalies: it is never an input, and labelled anomalies are not learned from.
      </p>
      <div class="mapping settings">
        <label class="field">
          <span>Name of the detector</span>
          <input value={settings.name} onInput={(event) => change({ name: event.currentTarget.value })} />
        </label>
        {hasTime && (
          <label class="field">
            <span>Times are written as</span>
            <select value={settings.timeFormat} onChange={(event) => change({ timeFormat: event.currentTarget.value as Settings["timeFormat"] })}>
              <option value="rfc3339">date and time (RFC 3339)</option>
              <option value="epoch-s">seconds since 1970</option>
              <option value="epoch-ms">milliseconds since 1970</option>
            </select>
          </label>
        )}
        <label class="field">
          <span>Detector</span>
          <select value={settings.kind} onChange={(event) => change({ kind: event.currentTarget.value })}>
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {kind === "auto" ? "chosen by the data" : kind.replaceAll("-", " ")}
              </option>
            ))}
          </select>
        </label>
        <NumberField label="False alarms, % of normal events" hint="The threshold keeps to it." value={settings.falseAlarmPercent} onChange={(falseAlarmPercent) => change({ falseAlarmPercent })} />
        {!hasLabel && (
          <NumberField label="Anomalies in this file, %" hint="0 if you do not know." value={settings.contaminationPercent} onChange={(contaminationPercent) => change({ contaminationPercent })} />
        )}
        <NumberField label="Seed" hint="Another one draws anew." value={settings.seed} onChange={(seed) => change({ seed })} />
      </div>
    </>
  );
}

function NumberField({ label, hint, value, onChange }: { label: string; hint: string; value: number; onChange: (value: number) => void }) {
  return (
    <label class="field">
      <span>{label}</span>
      <input type="number" min={0} step="any" value={Number.isNaN(value) ? "" : value} onInput={(event) => onChange(event.currentTarget.valueAsNumber)} />
      <small>{hint}</small>
    </label>
  );
}
