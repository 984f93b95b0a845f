/**
 * A sensor that repeats its last value, longer than the generator's own: a detector that smooths
 * needs a dozen readings before it can know.
 */

const EVENTS = 60;

export class StuckSensors {
  #field: string;
  #entityField: string;
  #asked = 0;
  #stuck = new Map<string, { value: unknown; left: number }>();

  constructor(entityField: string, field: string) {
    this.#entityField = entityField;
    this.#field = field;
  }

  /** Asks for one more, beginning with the next event of an entity that is well. */
  ask(): void {
    this.#asked += 1;
  }

  /** The event as its sensor would send it, marked where it is stuck. */
  apply(event: Record<string, unknown>): Record<string, unknown> {
    const entity = String(event[this.#entityField]);
    const stuck = this.#stuck.get(entity);
    if (stuck === undefined) {
      if (this.#asked === 0 || typeof event[this.#field] !== "number") return event;
      this.#asked -= 1;
      this.#stuck.set(entity, { value: event[this.#field], left: EVENTS });
      return event;
    }
    stuck.left -= 1;
    if (stuck.left === 0) this.#stuck.delete(entity);
    return { ...event, [this.#field]: stuck.value, label: 1, anomaly: "stuck" };
  }
}
