import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icon";

/** Names and values, as a list of terms. */
export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A digest, short enough to read, whole to copy. */
export function Digest({ digest }: { digest: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(digest);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      // Without the right to the clipboard, the title still has all of it.
    }
  };
  return (
    <button type="button" class="digest" onClick={() => void copy()} title={digest}>
      <code>{`${digest.slice(0, 12)}…${digest.slice(-6)}`}</code>
      <span class="hidden">, copy the whole digest</span>
      <Icon name={isCopied ? "check" : "copy"} />
    </button>
  );
}
