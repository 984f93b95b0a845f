import { expect, test } from "vitest";
import { Tally } from "./tally";

test("an anomaly counts once, however long it lasts", () => {
  const tally = new Tally();
  const add = (entity: string, planted: string | null, outcome = "normal") => tally.add({ entity, planted, outcome });
  add("a", null);
  add("a", "drift");
  add("b", "spike", "anomalous");
  add("a", "drift", "anomalous");
  add("a", "drift", "anomalous");
  add("a", null, "anomalous");
  add("a", "drift");
  expect([tally.planted, tally.found]).toEqual([3, 2]);
});
