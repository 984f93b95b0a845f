import type { Contribution } from "../engine/verdict";

/** What made a score: a bar for each field. */
export function Attribution({ parts, values }: { parts: Contribution[]; values?: Record<string, string> | undefined }) {
  const whole = parts.reduce((sum, { share }) => sum + share, 0);
  return (
    <ul class="attribution" aria-label="What made the score">
      {parts.slice(0, 4).map(({ field, share }) => (
        <li key={field}>
          <span class="attribution-field">{field}</span>
          <span class="attribution-value">{values?.[field]}</span>
          <meter min={0} max={1} value={whole > 0 ? share / whole : 0} aria-label={`${field}: ${share.toFixed(2)} of the score`} />
          <span class="number">{share.toFixed(2)}</span>
        </li>
      ))}
    </ul>
  );
}
