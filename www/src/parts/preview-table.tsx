import type { Preview } from "../workers/files";
import { bytes, plural } from "./words";

/** A file's columns and first rows, so that one sees how it was read. */
export function PreviewTable({ preview }: { preview: Preview }) {
  const { columns, rows } = preview;
  return (
    <figure class="preview">
      <figcaption class="aside">
        {preview.format === "csv" ? "CSV" : "NDJSON"}, {bytes(preview.bytes)}, {plural(columns.length, "column")}. The first rows:
      </figcaption>
      {/* It scrolls sideways, so the keyboard must reach it. */}
      <div class="table" tabIndex={0} role="region" aria-label="First rows">
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column} scope="col">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, 3).map((row, index) => (
              <tr key={index}>
                {columns.map((column, place) => (
                  <td key={column}>{(row[place] ?? "").slice(0, 60)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}
