/** What a host tells about itself, where the page is served by one. */

/** Whether a host with a console serves the page: it says so in the document. */
export const HAS_CONSOLE = document.querySelector('meta[name="twinge-console"]') !== null;
