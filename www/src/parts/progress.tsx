import { percent } from "./words";

/** How far a piece of work has come, and a way to end it. */
export function Progress({ label, share, onCancel }: { label: string; share: number; onCancel: () => void }) {
  return (
    <div class="progress">
      <div class="progress-head">
        <span>{label}</span>
        <span class="number">{percent(Math.floor(share * 100) / 100)}</span>
      </div>
      <progress max={1} value={share} aria-label={label} />
      <button type="button" class="quiet" onClick={onCancel}>
        Cancel
      </button>
    </div>
  );
}
