import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./parts/icon";
import { Notice } from "./parts/notice";
import { HAS_CONSOLE } from "./console/api";
import { chooseTheme, theme, type Theme } from "./theme";

interface View {
  id: string;
  label: string;
  load: () => Promise<{ View: ComponentType }>;
}

/** Served by a host, the page is the host's console first of all. */
const VIEWS: readonly View[] = [
  ...(HAS_CONSOLE ? [{ id: "console", label: "Console", load: () => import("./console/view") }] : []),
  { id: "watch", label: "Watch", load: () => import("./watch/view") },
  { id: "try", label: "Try", load: () => import("./try/view") },
  { id: "train", label: "Train", load: () => import("./train/view") },
  { id: "prove", label: "Prove", load: () => import("./prove/view") },
];

/** The view that the address names; the first if it names none. */
function current(): View {
  const id = location.hash.replace(/^#/, "");
  return VIEWS.find((view) => view.id === id) ?? (VIEWS[0] as View);
}

export function App() {
  const [view, setView] = useState(current);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const follow = () => {
      setView(current());
      // A screen reader goes on at the new view.
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    document.title = `${view.label} · Twinge`;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to content
      </a>
      <header class="top">
        <a class="brand" href={`#${VIEWS[0]?.id}`}>
          <Icon name="mark" />
          <span>Twinge</span>
        </a>
        <nav aria-label="Views">
          {VIEWS.map(({ id, label }) => (
            <a key={id} href={`#${id}`} aria-current={id === view.id ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <ThemeButton />
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        <Loaded key={view.id} view={view} />
      </main>
      <footer class="foot">
        <p>Everything runs in this page. Files that you drop here are read by your browser and sent to nobody.</p>
      </footer>
    </>
  );
}

function Loaded({ view }: { view: View }) {
  const [content, setContent] = useState<ComponentType | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    view.load().then(
      ({ View: loaded }) => setContent(() => loaded),
      () => setError("This part of the page could not be fetched. Is its server still there? Reload to try again."),
    );
  }, [view]);
  if (error !== null) return <Notice kind="error" title="Not loaded">{error}</Notice>;
  const Content = content;
  return Content === null ? <div class="placeholder" aria-busy="true" /> : <Content />;
}

const NEXT: Record<Theme, Theme> = { system: "dark", dark: "light", light: "system" };

function ThemeButton() {
  const [chosen, setChosen] = useState(theme());
  const change = () => {
    chooseTheme(NEXT[chosen]);
    setChosen(NEXT[chosen]);
  };
  return (
    <button class="quiet icon-button" type="button" onClick={change} aria-label={`Colours: ${chosen}. Change to ${NEXT[chosen]}.`} title={`Colours: ${chosen}`}>
      <Icon name={chosen} />
    </button>
  );
}
