import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icon";

const ICONS: Record<string, IconName> = { error: "alert", warning: "alert", good: "check", plain: "info" };

/** Something to know, in plain words. Errors are read out at once. */
export function Notice({ kind, title, children }: { kind: "error" | "warning" | "good" | "plain"; title: string; children?: ComponentChildren }) {
  return (
    <div class={`notice notice-${kind}`} role={kind === "error" ? "alert" : "status"}>
      <Icon name={ICONS[kind] ?? "alert"} />
      <div>
        <p class="notice-title">{title}</p>
        {children !== undefined && <div class="notice-text">{children}</div>}
      </div>
    </div>
  );
}
