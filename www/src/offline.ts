/** Keeps the page's files for when there is no network, by the service worker in `sw.js`. */

import { fileUrl } from "./modules";

export function keepForOffline(): void {
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return;
  // After the first view: what is fetched for later must not slow it down.
  const register = () => setTimeout(() => void navigator.serviceWorker.register(fileUrl("sw.js")).catch(() => undefined), 1500);
  if (document.readyState === "complete") register();
  else addEventListener("load", register, { once: true });
}
