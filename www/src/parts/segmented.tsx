import { useId } from "preact/hooks";

export interface Choice<T extends string | number> {
  value: T;
  label: string;
}

/** A few choices of which one holds: radio buttons in one row. */
export function Segmented<T extends string | number>({ legend, choices, value, onChange }: { legend: string; choices: readonly Choice<T>[]; value: T; onChange: (value: T) => void }) {
  const name = useId();
  return (
    <fieldset class="segmented">
      <legend class="hidden">{legend}</legend>
      {choices.map((choice) => (
        <label key={choice.value} class={choice.value === value ? "is-on" : ""}>
          <input type="radio" name={name} checked={choice.value === value} onChange={() => onChange(choice.value)} />
          <span>{choice.label}</span>
        </label>
      ))}
    </fieldset>
  );
}
