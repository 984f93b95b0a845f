import { wantedFields, type Mapping, type Schema } from "../engine/rows";

const ROLES = { entity: "entity", time: "time", number: "number", category: "category" } as const;

/** For each field that the module reads, the column of the file that holds it. */
export function MappingForm({ schema, columns, mapping, onChange }: { schema: Schema; columns: string[]; mapping: Mapping; onChange: (mapping: Mapping) => void }) {
  return (
    <div class="mapping">
      {wantedFields(schema).map(({ field, role }) => (
        <label key={field} class="field">
          <span>
            {field} <em>{ROLES[role]}</em>
          </span>
          <select value={mapping[field] ?? ""} onChange={(event) => onChange({ ...mapping, [field]: event.currentTarget.value })}>
            <option value="">{role === "number" || role === "category" ? "not in the file" : "choose a column"}</option>
            {columns.map((column) => (
              <option key={column} value={column}>
                {column}
              </option>
            ))}
          </select>
        </label>
      ))}
    </div>
  );
}
