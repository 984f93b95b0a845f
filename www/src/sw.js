/** Answers from what was kept when there is no network. The build fills in the list and the version. */

const VERSION = "__VERSION__";
const FILES = __FILES__;
const CACHE = `twinge-${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith("twinge-") && name !== CACHE) await caches.delete(name);
    }
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  // A host's live answers are never kept.
  const isLive = url.pathname.includes("/v1/") || /\/(livez|readyz|metrics)$/.test(url.pathname);
  if (event.request.method !== "GET" || url.origin !== location.origin || isLive) return;
  event.respondWith(answer(event.request));
});

/** What is named by its content comes from the cache; all else from the network while there is one. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  if (/\/assets\//.test(request.url)) {
    const kept = await cache.match(request);
    if (kept) return kept;
  }
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
