/** Dark or light: as the system says, unless a person chose. */

export type Theme = "system" | "light" | "dark";

const KEY = "twinge-theme";

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    // Storage may be forbidden; the system's choice will do.
    return "system";
  }
}

export function chooseTheme(chosen: Theme): void {
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // It holds for this visit then.
  }
  applyTheme(chosen);
}

export function applyTheme(chosen: Theme = theme()): void {
  document.documentElement.dataset["theme"] = chosen;
  dispatchEvent(new Event("twinge-theme"));
}

/** Calls back whenever colours may have changed; answers with the way to end that. */
export function onTheme(listener: () => void): () => void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", listener);
  addEventListener("twinge-theme", listener);
  return () => {
    media.removeEventListener("change", listener);
    removeEventListener("twinge-theme", listener);
  };
}

/** A colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
