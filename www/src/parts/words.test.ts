import { expect, test } from "vitest";
import { bytes, duration, percent, plural, rate, sentence, time } from "./words";

test("numbers are as people read them", () => {
  expect(bytes(512)).toBe("512 B");
  expect(bytes(74_752)).toBe("73 KiB");
  expect(bytes(3 << 20)).toBe("3.0 MiB");
  expect(rate(1_234_567)).toBe("1,230,000");
  expect(duration(950)).toBe("950 ms");
  expect(duration(61_000)).toBe("1 min 1 s");
  expect(percent(0.001)).toBe("0.1 %");
  expect(plural(1, "row")).toBe("1 row");
  expect(plural(2000, "row")).toBe("2,000 rows");
  expect(time(0)).toBe("1970-01-01 00:00:00");
});

test("errors become sentences", () => {
  expect(sentence(new Error("module imports `a.b`"))).toBe("Module imports `a.b`.");
  expect(sentence("It is empty.")).toBe("It is empty.");
});
