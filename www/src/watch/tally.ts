/** Counts planted anomalies, and those of which at least one event was called anomalous. */

import type { Point } from "./worlds";

export class Tally {
  planted = 0;
  found = 0;
  #open = new Map<string, { kind: string; isFound: boolean }>();

  add({ entity, planted, outcome }: Pick<Point, "entity" | "planted" | "outcome">): void {
    const open = this.#open.get(entity);
    if (planted === null) {
      if (open !== undefined) this.#open.delete(entity);
      return;
    }
    let current = open;
    if (current === undefined || current.kind !== planted) {
      current = { kind: planted, isFound: false };
      this.#open.set(entity, current);
      this.planted += 1;
    }
    if (outcome === "anomalous" && !current.isFound) {
      current.isFound = true;
      this.found += 1;
    }
  }
}
